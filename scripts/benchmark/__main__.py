"""`scripts/bench [latency] [throughput] [direct] [assemble] [nodes] [affinity] [--rounds N]`"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Awaitable, Callable

import uvloop

from scripts.benchmark import affinity, assemble, direct, latency, nodes, throughput
from scripts.benchmark.stage import Stage, stage
from scripts.network.children import StartFailed

MEASURES: dict[str, Callable[[Stage, int], Awaitable[list[str]]]] = {
    "latency": latency.measure,
    "throughput": throughput.measure,
    "direct": direct.measure,
}
# These bring what they need themselves, and are run when they are named.
ALONE: dict[str, Callable[[int], Awaitable[list[str]]]] = {
    "assemble": assemble.measure,
    "nodes": nodes.measure,
    "affinity": affinity.measure,
}


async def run(chosen: list[str], rounds: int, nodes: int, slots: int) -> None:
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {nodes} node(s) of {slots} slots; all on this machine"
    )
    for name in chosen:
        if name in ALONE:
            _show(name, await ALONE[name](rounds))
    if any(name in MEASURES for name in chosen):
        async with stage(nodes, slots) as made:
            for name in chosen:
                if name in MEASURES:
                    _show(name, await MEASURES[name](made, rounds))


def _show(name: str, lines: list[str]) -> None:
    print(f"\n{name}")
    for line in lines:
        print(f"  {line}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="What the relay costs, beside a yardstick.")
    known = [*MEASURES, *ALONE]
    parser.add_argument("what", nargs="*", metavar="|".join(known), help=f"{', '.join(MEASURES)} unless named")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of each measurement (5)")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--slots", type=int, default=64, help="of each node")
    chosen = parser.parse_args()
    if unknown := set(chosen.what) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    try:
        uvloop.run(run(chosen.what or list(MEASURES), chosen.rounds, chosen.nodes, chosen.slots))
    except StartFailed as failure:
        print(f"scripts/bench: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
