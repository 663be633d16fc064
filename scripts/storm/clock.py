"""Seconds since the storm began, and until it has to be over."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Clock:
    """Begins when it is made. `began_ms`: that moment in unix milliseconds, as the store counts."""

    began: float = field(default_factory=time.monotonic)
    began_ms: int = field(default_factory=lambda: int(time.time() * 1000))

    def now(self) -> float:
        return time.monotonic() - self.began

    def of_ms(self, unix_ms: int) -> float:
        """A moment of the store's, which runs on this machine."""
        return (unix_ms - self.began_ms) / 1000
