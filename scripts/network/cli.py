"""What `scripts/up` does after the set-up: start, show one task, stay until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any

from scripts.network.announce import announcement
from scripts.network.children import StartFailed
from scripts.network.home import Home, Unusable
from scripts.network.network import Network, Plan
from scripts.network.options import Options, parse
from scripts.network.sample import SampleFailed, show_sample


def say(line: str) -> None:
    """Nobody may listen any more (a closed terminal, a pipe to `head`): that is no reason to leave children behind."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


async def run(chosen: Options) -> int:
    """The exit status. Raises StartFailed, Unusable."""
    home = Home(chosen.state, fresh=chosen.fresh)
    try:
        network = Network(home, Plan(chosen.port, chosen.nodes), lambda line: say(f"{_clock()} {line}"))
        told = _on_signals(network)
        try:
            return await _show(network, told, once=chosen.once)
        finally:
            say("stopping: nodes finish their work first (Ctrl-C again: at once)" if not chosen.once else "stopping")
            await network.stop()
    finally:
        home.close()


async def _show(network: Network, told: asyncio.Event, *, once: bool) -> int:
    started = time.monotonic()
    say("starting Redis, chain, contracts, model server, API, chain writer, nodes ...")
    up = await _unless(told, network.start())
    if up is None:
        return 130
    say(f"all ready after {time.monotonic() - started:.1f} s")
    say(announcement(up))
    status = 0
    try:
        await _unless(told, show_sample(up, say))
    except SampleFailed as failure:
        say(f"the sample task went wrong: {failure}")
        status = 1
    if not once and not told.is_set():
        say("\nIt stays up until Ctrl-C.")
        await told.wait()
    return 130 if once and told.is_set() else status


async def _unless(told: asyncio.Event, work: Coroutine[Any, Any, Any]) -> Any:
    """What `work` returns, or None when we are told to stop before."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(told.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if task.done():
        return task.result()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return None


def _on_signals(network: Network) -> asyncio.Event:
    """Set at the first Ctrl-C, SIGTERM or SIGHUP; the second one ends all children at once."""
    told = asyncio.Event()

    def stop() -> None:
        if told.is_set():
            network.family.kill()
        told.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return told


def _clock() -> str:
    return time.strftime("%H:%M:%S")


def main() -> int:
    try:
        return asyncio.run(run(parse(sys.argv[1:])))
    except (StartFailed, Unusable) as error:
        print(f"scripts/up: {error}", file=sys.stderr)
        return 1
