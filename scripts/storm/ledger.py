"""Every request of the load and what its client saw of it. Times are seconds of the storm."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Entry:
    """One request: refused (with `refusal`), accepted (with `task_id`), or neither where the answer never came.

    No prompt is sent twice but under one Idempotency-Key, so a prompt has one task at most.
    """

    number: int
    kind: str
    key: int
    prompt: str
    sent: float
    task_id: str | None = None
    refusal: str | None = None
    ended: float | None = None
    status: str | None = None
    posts: int = 0

    @property
    def took(self) -> float | None:
        """Seconds from the call to its answer, of those that completed."""
        return self.ended - self.sent if self.ended is not None and self.status == "completed" else None


@dataclass(slots=True)
class Ledger:
    entries: list[Entry] = field(default_factory=list)

    def open(self, kind: str, key: int, prompt: str, now: float) -> Entry:
        entry = Entry(len(self.entries), kind, key, prompt, now)
        self.entries.append(entry)
        return entry

    def accepted(self) -> list[str]:
        """The ids that clients were told, oldest first."""
        return [entry.task_id for entry in self.entries if entry.task_id is not None]

    def unended(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.task_id is not None and entry.ended is None]


def code_of(status: int, body: Any) -> str:
    """A refusal in one word: status and code."""
    error = body.get("error") if isinstance(body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return f"{status} {code or 'no code'}"
