"""Writes contracts/artifacts from what forge compiled, or checks that they are what it compiles to.

    python -m contracts.compilation [--check]

Called by ``scripts/contracts``, which runs forge first.
"""

import hashlib
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from contracts import NAMES, ROOT

#: What of foundry.toml changes the code that comes out.
_SETTINGS = ("bytecode_hash", "cbor_metadata", "evm_version", "optimizer", "optimizer_runs", "via_ir")


def sources_sha256() -> str:
    """One hash over all that goes into an artifact: sources, settings, the versions of compiler and library."""
    profile = tomllib.loads((ROOT / "foundry.toml").read_text(encoding="utf-8"))["profile"]["default"]
    versions = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    pinned = [profile[key] for key in _SETTINGS] + [versions["solc"], versions["@openzeppelin/contracts"]]
    digest = hashlib.sha256(json.dumps(pinned).encode())
    for path in sorted((ROOT / "src").rglob("*.sol")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def compiled(name: str) -> str:
    """The text of the artifact file as forge's last build says it should be."""
    built: dict[str, Any] = json.loads((ROOT / "out" / f"{name}.sol" / f"{name}.json").read_text(encoding="utf-8"))
    references = built["deployedBytecode"].get("immutableReferences", {}).values()
    artifact = {
        "contractName": name,
        "abi": built["abi"],
        "bytecode": built["bytecode"]["object"],
        "deployedBytecode": built["deployedBytecode"]["object"],
        "immutableReferences": sorted([place["start"], place["length"]] for places in references for place in places),
        "compiler": _compiler(built["metadata"]),
    }
    return json.dumps(artifact, indent=1, sort_keys=True) + "\n"


def _compiler(metadata: dict[str, Any]) -> dict[str, Any]:
    settings = metadata["settings"]
    return {
        "evmVersion": settings["evmVersion"],
        "optimizerRuns": settings["optimizer"]["runs"],
        "solc": metadata["compiler"]["version"],
        "sourcesSha256": sources_sha256(),
        "viaIR": settings.get("viaIR", False),
    }


def differences(name: str, committed: Path) -> list[str]:
    """The keys in which the committed file differs; empty when it is the same byte for byte."""
    if not committed.exists():
        return ["missing"]
    old, new = committed.read_text(encoding="utf-8"), compiled(name)
    if old == new:
        return []
    before, after = json.loads(old), json.loads(new)
    return [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)] or ["formatting"]


def main(check: bool) -> int:
    """Returns the exit status: 1 when a committed artifact differs."""
    status = 0
    for name in NAMES:
        path = ROOT / "artifacts" / f"{name}.json"
        if not check:
            path.write_text(compiled(name), encoding="utf-8")
        elif found := differences(name, path):
            sys.stderr.write(f"{name}: differs from its source in {', '.join(found)}; run scripts/contracts build\n")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
