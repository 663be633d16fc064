"""Child processes: started and awaited until ready, watched, started again when they die, stopped in reverse order.

Each child leads a process group of its own, so that Ctrl-C in the terminal reaches the supervisor alone and a child's
own children go when it goes. The kernel kills each child when the supervisor dies, however it dies (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FIRST_BACKOFF, LONGEST_BACKOFF = 0.1, 5.0  # seconds before a dead child is started again; doubled while it keeps dying
STEADY_AFTER = 10.0  # seconds alive after which a death counts as the first again
POLL = 0.03  # seconds between two looks at whether a child is ready

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class StartFailed(Exception):
    """A child died or was not ready in time; the message is for the user and names the log."""


async def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to run one child. Times in seconds.

    `prepare` runs and `command` is asked before every start; `ready` is asked until it says so.
    """

    name: str
    command: Callable[[], Sequence[str]]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], Awaitable[bool]] = _always
    prepare: Callable[[], None] = lambda: None
    before_stop: Callable[[], Awaitable[None]] | None = None
    patience: float = 60.0  # a machine that is busy with other things takes half of it
    grace: float = 10.0


class Child:
    """One run of a Recipe."""

    def __init__(self, recipe: Recipe, process: subprocess.Popen[bytes]) -> None:
        self.recipe = recipe
        self.pid = process.pid
        self.started = time.monotonic()
        self._process = process
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._pidfd = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    @classmethod
    def spawn(cls, recipe: Recipe) -> Child:
        recipe.prepare()
        recipe.log.parent.mkdir(parents=True, exist_ok=True)
        with recipe.log.open("ab") as log:
            process = subprocess.Popen(
                recipe.command(),
                cwd=ROOT,
                env={**inherited(), "PYTHONUNBUFFERED": "1", **recipe.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with(os.getpid()),
            )
        return cls(recipe, process)

    def _reap(self) -> None:
        """The leader is dead but not yet waited for, so the group's number is still its own: end the rest of it."""
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.signal(signal.SIGKILL)
        code = self._process.wait()
        if not self.ended.done():
            self.ended.set_result(code)

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def end(self) -> None:
        """At once, unless it has ended."""
        if not self.ended.done():
            self.signal(signal.SIGKILL)

    async def until_ready(self) -> None:
        """Raises StartFailed when it dies or is not ready in time."""
        name, log, patience = self.recipe.name, self.recipe.log, self.recipe.patience
        deadline = time.monotonic() + patience
        while not await self.recipe.ready():
            if self.ended.done():
                raise StartFailed(f"{name} ended {describe(self.ended.result())} at its start: {last_line(log)}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{name} is not ready after {patience:.0f} s: {last_line(log)}")
            await asyncio.sleep(POLL)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when its grace is over; returns when it is gone."""
        if not self.ended.done():
            self.signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self.ended), self.recipe.grace)
        self.end()
        await self.ended


def die_with(parent: int) -> Callable[[], None]:
    """For the child, between fork and exec: be killed when the supervisor's main thread ends, or be gone if it has."""

    def arrange() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return arrange


def inherited() -> dict[str, str]:
    """Our environment without settings of coordinators and nodes: the user's shell may hold another network's."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "NODE_"))}


def describe(code: int) -> str:
    """An exit status in words."""
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"


async def together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """Like asyncio.gather, but when one fails the others are cancelled and awaited before its exception goes up."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def last_line(log: Path) -> str:
    """What a failed program said last, and where the rest is."""
    with contextlib.suppress(OSError):
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        if lines:
            return f"{lines[-1].strip()[:300]} (log: {log})"
    return f"its log says nothing (log: {log})"


class Family:
    """All children, healed until `stop`. `tell` gets a line for the user a death, `changed` runs when a pid is new."""

    def __init__(self, tell: Callable[[str], None], changed: Callable[[], None] = lambda: None) -> None:
        self.children: dict[str, Child] = {}
        self._tell = tell
        self._changed = changed
        self._watchers: list[asyncio.Task[None]] = []
        self._layers: list[list[str]] = []
        self._mortal: set[str] = set()
        self._down_until: dict[str, float] = {}
        self._stopping = False

    def pid(self, name: str) -> int:
        return self.children[name].pid

    def let_die(self, name: str) -> None:
        """From now on that child's death is left alone."""
        self._mortal.add(name)

    def kill_one(self, name: str, down: float = 0.0) -> int:
        """kill -9, for tests and storms; started again after `down` seconds at the earliest. Returns the pid it had."""
        self._down_until[name] = time.monotonic() + down
        child = self.children[name]
        child.end()
        return child.pid

    async def start(self, *recipes: Recipe) -> None:
        """Starts them all at once, as one layer, and returns when each is ready. Raises StartFailed."""
        self._layers.append([recipe.name for recipe in recipes])
        for recipe in recipes:
            self.children[recipe.name] = Child.spawn(recipe)
        await together(*(self.children[recipe.name].until_ready() for recipe in recipes))
        self._watchers += [asyncio.create_task(self._heal(recipe)) for recipe in recipes]

    async def _heal(self, recipe: Recipe) -> None:
        backoff = FIRST_BACKOFF
        while True:
            child = self.children[recipe.name]
            code = await asyncio.shield(child.ended)
            if self._stopping or recipe.name in self._mortal:
                return
            if time.monotonic() - child.started > STEADY_AFTER:
                backoff = FIRST_BACKOFF
            died = time.monotonic()
            await asyncio.sleep(max(backoff, self._down_until.pop(recipe.name, 0.0) - died))
            backoff = min(2 * backoff, LONGEST_BACKOFF)
            again = self.children[recipe.name] = Child.spawn(recipe)
            outcome = "ready"
            try:
                await again.until_ready()
            except StartFailed as failure:
                outcome = f"but {failure}"
                again.end()
            took = time.monotonic() - died
            self._tell(
                f"{recipe.name} (pid {child.pid}) ended {describe(code)}: "
                f"started again as pid {again.pid}, {outcome} after {took:.1f} s"
            )
            self._changed()

    async def stop(self) -> None:
        """Stops all, the last layer first, each before the one it leans on."""
        self._stopping = True
        for watcher in self._watchers:
            watcher.cancel()
        for layer in reversed(self._layers):
            await asyncio.gather(*(self._stop(self.children[name]) for name in layer if name in self.children))

    @staticmethod
    async def _stop(child: Child) -> None:
        if child.recipe.before_stop is not None and not child.ended.done():
            await child.recipe.before_stop()
        await child.stop()

    def kill(self) -> None:
        """At once, all."""
        self._stopping = True
        for child in self.children.values():
            child.end()
