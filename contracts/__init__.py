"""The contracts as Python sees them: what was compiled, and where it is deployed. Needs no compiler and no Node.js."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["Artifact", "artifact", "deployment"]

ROOT = Path(__file__).resolve().parent
NAMES = ("NodeRegistry", "Task", "TaskRegistry")


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract; code is hex with 0x. Written by ``scripts/contracts build``.

    ``deployed_bytecode`` has zeros where the constructor writes immutables: ``immutable_references`` are those places
    as (first byte, number of bytes), to be left out of a comparison with the code on a chain.
    """

    name: str
    abi: list[dict[str, Any]]
    bytecode: str
    deployed_bytecode: str
    immutable_references: tuple[tuple[int, int], ...]
    compiler: dict[str, Any]


@cache
def artifact(name: str) -> Artifact:
    """The committed artifact of a contract, shared, so read it only. Raises LookupError for another name."""
    if name not in NAMES:
        raise LookupError(f"no contract {name!r}: there are {', '.join(NAMES)}")
    stored = json.loads((ROOT / "artifacts" / f"{name}.json").read_text(encoding="utf-8"))
    return Artifact(
        name=stored["contractName"],
        abi=stored["abi"],
        bytecode=stored["bytecode"],
        deployed_bytecode=stored["deployedBytecode"],
        immutable_references=tuple((start, length) for start, length in stored["immutableReferences"]),
        compiler=stored["compiler"],
    )


def deployment(chain_id: int, folder: Path = ROOT / "deployments") -> dict[str, str] | None:
    """Contract name to address on that chain, from ``{folder}/{chain_id}.json``; None where nothing is recorded."""
    path = folder / f"{chain_id}.json"
    if not path.exists():
        return None
    stored: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return stored
