"""What was used, by key, model, mode and day, and what became of an account's money."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final, Literal

By = Literal["day", "key", "model", "mode"]
EVERYTHING: Final[tuple[By, ...]] = ("day", "key", "model", "mode")


@dataclass(frozen=True, slots=True)
class Usage:
    """Completed requests. `nano`: nano-dollars charged for them. None: not told apart by it."""

    day: date | None
    key_id: str | None
    model: str | None
    mode: str | None
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    nano: int = 0

    def of(self, by: Sequence[By]) -> Usage:
        """Without what it is not to be told apart by."""
        return replace(
            self,
            day=self.day if "day" in by else None,
            key_id=self.key_id if "key" in by else None,
            model=self.model if "model" in by else None,
            mode=self.mode if "mode" in by else None,
        )

    def plus(self, other: Usage) -> Usage:
        return replace(
            self,
            requests=self.requests + other.requests,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            nano=self.nano + other.nano,
        )


def grouped(rows: Iterable[Usage], by: Sequence[By]) -> list[Usage]:
    """One row for each day, key, model and mode that is asked for, in this order of theirs."""
    found: dict[tuple[str, ...], Usage] = {}
    for row in rows:
        row = row.of(by)
        name = tuple(str(part or "") for part in (row.day, row.key_id, row.model, row.mode))
        found[name] = found[name].plus(row) if name in found else row
    return [found[name] for name in sorted(found)]


@dataclass(frozen=True, slots=True)
class Balance:
    """Nano-dollars: `paid` in = `left` to spend + `held` for requests that run + `spent`."""

    paid: int
    left: int
    held: int
    spent: int


@dataclass(frozen=True, slots=True)
class KeyBudget:
    """Nano-dollars. `budget` None: as much as the account has."""

    budget: int | None
    held: int
    spent: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a ledger. `nano` is what was paid in (credit; taken back: negative) or charged (charge)."""

    at: datetime
    kind: Literal["credit", "charge"]
    nano: int
    task_id: str | None = None
    key_id: str | None = None
    mode: str | None = None
    model: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
