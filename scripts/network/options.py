"""What the user may say to scripts/up. Standard library alone: `--help` works before anything is installed."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORT = 8080
DEFAULT_STATE = Path(__file__).resolve().parents[2] / ".relay"


@dataclass(frozen=True)
class Options:
    once: bool
    port: int
    state: Path
    nodes: int
    fresh: bool


def parse(words: list[str]) -> Options:
    """Exits with one line and status 2 on what it doesn't know."""
    parser = argparse.ArgumentParser(
        prog="scripts/up",
        description="Starts the whole relay on this machine, of real parts: Redis, a chain, the contracts, the "
        "coordinator, a model server and nodes. Shows one task on it and stays until Ctrl-C.",
    )
    add = parser.add_argument
    add(
        "--once",
        action="store_true",
        help="stop after the sample task; status 0 only if it completed and its record was read back from the chain",
    )
    add("--port", type=_port, default=DEFAULT_PORT, metavar="P", help="port of the API; 0 takes a free one (8080)")
    add(
        "--state",
        type=Path,
        default=DEFAULT_STATE,
        metavar="DIR",
        help="all state: keys, tasks, chain, logs; a second start on it goes on with them (.relay in the repository)",
    )
    add("--nodes", type=_nodes, default=1, metavar="N", help="how many nodes to start (1)")
    add("--fresh", action="store_true", help="throw away what an earlier start left in the state directory")
    return Options(**vars(parser.parse_args(words)))


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)


def _nodes(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of nodes: 1 to 100")
    return int(text)


if __name__ == "__main__":
    parse(sys.argv[1:])
