"""What one check found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"  # it will run, less well than it could
    FAILED = "FAILED"  # it won't run, or earn nothing


@dataclass(frozen=True, slots=True)
class Outcome:
    """One line: what was looked at, what was seen, and where it is not as it should be, how to mend it."""

    name: str
    level: Level
    seen: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        line = f"{self.level:<8} {self.name:<11} {self.seen}"
        return f"{line}\n{'':<20} → {self.remedy}" if self.remedy else line


def ok(name: str, seen: str) -> Outcome:
    return Outcome(name, Level.OK, seen)


def warning(name: str, seen: str, remedy: str) -> Outcome:
    return Outcome(name, Level.WARNING, seen, remedy)


def failed(name: str, seen: str, remedy: str) -> Outcome:
    return Outcome(name, Level.FAILED, seen, remedy)
