"""kill -9, or something else, between any two effects of the chain writer: at the n-th call into a port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any


class Killed(Exception):
    """The writer is gone. What it had in memory is lost."""


@dataclass
class Fuse:
    """Counts down over all ports that share it; -1 never burns. `after`: that call still takes effect.

    With `accident` that happens, and the writer lives on; without it the writer is dead.
    """

    left: int = -1
    after: bool = False
    accident: Callable[[], object] | None = None
    dead: bool = False

    def burns(self) -> bool:
        if self.dead:
            raise Killed("long ago")
        if self.left < 0:
            return False
        self.left -= 1
        return self.left < 0

    def go_off(self, where: str) -> None:
        if self.accident is None:
            self.dead = True
            raise Killed(where)
        self.accident()


class Mortal:
    """A port whose caller may be killed in any call."""

    def __init__(self, port: Any, fuse: Fuse) -> None:
        self._port, self._fuse = port, fuse

    def __getattr__(self, name: str) -> Any:
        target: Callable[..., Any] = getattr(self._port, name)
        if not callable(target) or name in ("task_address", "calldata", "close"):
            return target

        async def call(*args: Any, **kwargs: Any) -> Any:
            burns = self._fuse.burns()
            if burns and not self._fuse.after:
                self._fuse.go_off(f"before {name}")
            answer: Awaitable[Any] = target(*args, **kwargs)
            result = await answer
            if burns and self._fuse.after:
                self._fuse.go_off(f"after {name}")
            return result

        return call
