"""What the user may say to scripts/chaos."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from scripts.storm.faults import FAULTS


@dataclass(frozen=True, slots=True)
class Options:
    nodes: int = 6
    seconds: float = 60.0
    seed: int = 1
    faults: tuple[str, ...] = tuple(FAULTS)
    rate: float = 8.0
    slots: int = 4
    report: Path | None = None
    state: Path | None = None

    @property
    def command(self) -> str:
        some = "" if self.faults == tuple(FAULTS) else f" --faults {','.join(self.faults) or 'none'}"
        length = f"{self.seconds:g}"
        return f"scripts/chaos --nodes {self.nodes} --seconds {length} --seed {self.seed} --rate {self.rate:g}{some}"


def parse(words: list[str]) -> Options | None:
    """None when only the list of faults was asked for. Exits with status 2 on what it doesn't know."""
    usual = Options()
    parser = argparse.ArgumentParser(
        prog="scripts/chaos",
        description="Brings up a network of real nodes and hostile ones, drives load, injects faults on a seeded "
        "schedule, and says what became of every request. Status 1 when anything was lost, doubled, wrong or "
        "failed without a reason.",
    )
    add = parser.add_argument
    add("--nodes", type=int, default=usual.nodes, metavar="N", help=f"real nodes, at least 3 ({usual.nodes})")
    add("--seconds", type=float, default=usual.seconds, metavar="S", help=f"of load ({usual.seconds:g})")
    add("--seed", type=int, default=usual.seed, metavar="K", help=f"the same seed, the same storm ({usual.seed})")
    add("--faults", type=_faults, default=usual.faults, metavar="A,B", help="these alone; `none` for none (all)")
    add(
        "--rate", type=float, default=usual.rate, metavar="R", help=f"requests a second, beside bursts ({usual.rate:g})"
    )
    add("--slots", type=int, default=usual.slots, help=f"of each node ({usual.slots})")
    add("--report", type=Path, metavar="FILE", help="Markdown to FILE, and JSON beside it; the terminal gets it anyway")
    add("--state", type=Path, metavar="DIR", help="keep state and logs there (a directory that is thrown away)")
    add("--list", action="store_true", help="name the faults and leave")
    chosen = vars(parser.parse_args(words))
    if chosen.pop("list"):
        return None
    if chosen["nodes"] < 3:
        parser.error("--nodes: 3 at least: one to fail, one to die, and one to work meanwhile")
    return Options(**chosen)


def _faults(text: str) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name and name != "none")
    if unknown := set(names) - set(FAULTS):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    return names
