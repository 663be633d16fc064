"""The supervisor's promise: while it lives every child lives, and when it is gone, however it went, so are they all."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from scripts.network.children import ROOT, Family, Recipe, StartFailed
from tests.parts.network import alive, descendants, eventually


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.changes = 0

    def changed(self) -> None:
        self.changes += 1


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def family(told: Told) -> AsyncIterator[Family]:
    made = Family(told.lines.append, told.changed)
    yield made
    await made.stop()


def recipe(tmp_path: Path, script: str = "exec sleep 1000", name: str = "sleeper", **more: object) -> Recipe:
    return Recipe(name, lambda: ["sh", "-c", script], tmp_path / f"{name}.log", **more)  # type: ignore[arg-type]


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not look():
            await asyncio.sleep(0.01)


async def test_a_killed_child_is_started_again(tmp_path: Path, family: Family, told: Told) -> None:
    await family.start(recipe(tmp_path))
    for death in (1, 2):
        pid = family.pid("sleeper")
        os.kill(pid, signal.SIGKILL)
        await until(lambda death=death: told.changes == death)
        assert alive(family.pid("sleeper"))
        assert told.lines[-1].startswith(f"sleeper (pid {pid}) ended by SIGKILL: started again as pid ")
    assert len(told.lines) == 2


async def test_what_a_dead_child_left_behind_goes_too(tmp_path: Path, family: Family, told: Told) -> None:
    await family.start(recipe(tmp_path, "sleep 1000 & sleep 1000; true"))
    await until(lambda: len(descendants(family.pid("sleeper"))) == 2)
    below = descendants(family.pid("sleeper"))
    os.kill(family.pid("sleeper"), signal.SIGKILL)
    await until(lambda: told.changes)
    await until(lambda: not any(alive(pid) for pid in below))


async def test_who_hangs_at_its_second_start_gets_a_third(tmp_path: Path, family: Family, told: Told) -> None:
    starts: list[int] = []

    async def is_ready() -> bool:
        return len(starts) != 2

    await family.start(recipe(tmp_path, ready=is_ready, prepare=lambda: starts.append(1), patience=0.2))
    os.kill(family.pid("sleeper"), signal.SIGKILL)
    await until(lambda: told.changes == 2)
    assert "but sleeper is not ready" in told.lines[0]
    assert "ready after" in told.lines[1]
    assert len(starts) == 3


async def test_layers_stop_in_reverse(tmp_path: Path, family: Family) -> None:
    ended = tmp_path / "ended"
    for name in ("first", "second"):
        ready = tmp_path / f"{name}.ready"
        script = f"trap 'echo {name} >>{ended}; exit' TERM; touch {ready}; while :; do sleep 0.01; done"

        async def is_ready(path: Path = ready) -> bool:
            return path.exists()

        await family.start(recipe(tmp_path, script, name, ready=is_ready))
    await family.stop()
    assert ended.read_text().split() == ["second", "first"]


async def test_who_does_not_listen_is_killed(tmp_path: Path, family: Family) -> None:
    ready = tmp_path / "ready"

    async def is_ready() -> bool:
        return ready.exists()

    await family.start(recipe(tmp_path, f"trap '' TERM; touch {ready}; sleep 1000", grace=0.05, ready=is_ready))
    pid = family.pid("sleeper")
    await family.stop()
    assert not alive(pid)


async def test_a_failed_start_says_why(tmp_path: Path, family: Family) -> None:
    async def never() -> bool:
        return False

    with pytest.raises(StartFailed, match=r"ended with status 3 at its start: no such thing \(log: .*sleeper\.log\)"):
        await family.start(recipe(tmp_path, "echo no such thing >&2; exit 3", ready=never))


async def test_a_start_that_takes_too_long_says_so(tmp_path: Path, family: Family) -> None:
    async def never() -> bool:
        return False

    with pytest.raises(StartFailed, match="is not ready after 0 s"):
        await family.start(recipe(tmp_path, ready=never, patience=0.05))


SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from scripts.network.children import Family, Recipe
async def main():
    family = Family(print)
    await family.start(Recipe("sleeper", lambda: ["sleep", "1000"], Path(sys.argv[1])))
    print(family.pid("sleeper"), flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""


def test_no_orphan_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path / "log")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        child = int(supervisor.stdout.readline())
        assert alive(child)
        supervisor.kill()
    eventually(lambda: not alive(child), 60, "the child's end")
