"""A storm from beginning to end: ground, load and strikes side by side, settling, audit, report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from scripts.storm.audit import Audit
from scripts.storm.clock import Clock
from scripts.storm.ending import end
from scripts.storm.ground import SETTINGS, Ground, ground, standing
from scripts.storm.injector import Injector
from scripts.storm.ledger import Ledger
from scripts.storm.leftovers import leftovers
from scripts.storm.load import Load, demand
from scripts.storm.options import Options
from scripts.storm.report import Report
from scripts.storm.rogue import Setting
from scripts.storm.schedule import Parts, Strike, schedule
from scripts.storm.verdict import judge
from scripts.storm.watch import Watch

# What was accepted with the last request ends by its deadline at the latest; then its record is confirmed.
SETTLING_SECONDS = float(SETTINGS["RELAY_TASK_TIMEOUT_SECONDS"]) + 15


async def storm(options: Options, tell: Callable[[str], None]) -> Report:
    """Raises StartFailed when the network doesn't come up."""
    strikes = schedule(options.seed, options.seconds, options.nodes, options.faults)
    started = time.monotonic()
    tell(f"starting {options.nodes} nodes, a backend each, and what they need ...")
    async with ground(options, strikes, tell) as made:
        tell(f"ready after {time.monotonic() - started:.1f} s; {options.seconds:g} s of load, {len(strikes)} faults")
        return await _rage(options, strikes, made, tell)


async def _rage(options: Options, strikes: tuple[Strike, ...], made: Ground, tell: Callable[[str], None]) -> Report:
    ledger, clock = Ledger(), Clock()
    async with aclosing(Watch(made.redis, clock)) as watch:
        setting = Setting(made.front, made.stranger, ledger.accepted)
        injector = Injector(made.network, made.addresses, made.backends, watch, setting, options.seed)
        load = Load(made.doors, made.sessions, ledger, clock)
        async with asyncio.TaskGroup() as group:  # when the one fails, the other ends with it, not with the ground
            clients = group.create_task(load.run(demand(options.seed, options.seconds, options.rate)))
            await injector.run(strikes, clock, made.redis)
            await injector.heal()
            await asyncio.sleep(max(0.0, options.seconds - clock.now()))
            tell(f"the storm is over: {len(ledger.entries)} requests, {len(ledger.unended())} under way")
            over = clock.now()
            await _settle(clients)
        settled = clock.now() - over
        audit = Audit(made.up, made.sessions, made.redis, asyncio.get_running_loop().time() + SETTLING_SECONDS)
        tasks = await audit.tasks(ledger.accepted())
        verdict = judge(ledger, tasks, await audit.chain(tasks), _breaches(injector), await leftovers(made.redis))
        standings = [await _standing(options, made, number) for number in range(1, options.nodes + 1)]
    return Report(
        options.command, options.seed, options.nodes, options.seconds, SETTINGS, settled, verdict, ledger,
        injector.struck, watch.seen, standings,
    )  # fmt: skip


async def _settle(clients: asyncio.Task[None]) -> None:
    """Until every client has its answer; whoever has none by then shows in the audit."""
    await asyncio.wait({clients}, timeout=SETTLING_SECONDS)
    await end({clients})


async def _standing(options: Options, made: Ground, number: int) -> dict[str, Any]:
    parts = Parts.of(options.nodes)
    part = "unlucky" if number in parts.unlucky else "mortal" if number in parts.mortal else "sound"
    return {"node": number, "part": part, **await standing(made, number)}


def _breaches(injector: Injector) -> list[str]:
    return [
        f"{each.strike.fault.name} at {each.at:.0f} s: {breach}" for each in injector.struck for breach in each.breaches
    ]
