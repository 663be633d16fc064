"""`scripts/bench [latency] [throughput] [direct] [--rounds N]`"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Awaitable, Callable

import uvloop

from scripts.benchmark import direct, latency, throughput
from scripts.benchmark.stage import Stage, stage
from scripts.network.children import StartFailed

MEASURES: dict[str, Callable[[Stage, int], Awaitable[list[str]]]] = {
    "latency": latency.measure,
    "throughput": throughput.measure,
    "direct": direct.measure,
}


async def run(chosen: list[str], rounds: int, nodes: int, slots: int) -> None:
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {nodes} node(s) of {slots} slots; all on this machine"
    )
    async with stage(nodes, slots) as made:
        for name in chosen:
            print(f"\n{name}")
            for line in await MEASURES[name](made, rounds):
                print(f"  {line}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="What the relay costs, beside a yardstick.")
    parser.add_argument("what", nargs="*", metavar="|".join(MEASURES), help="all of them unless named")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of each measurement (5)")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--slots", type=int, default=64, help="of each node")
    chosen = parser.parse_args()
    if unknown := set(chosen.what) - set(MEASURES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    try:
        uvloop.run(run(chosen.what or list(MEASURES), chosen.rounds, chosen.nodes, chosen.slots))
    except StartFailed as failure:
        print(f"scripts/bench: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
