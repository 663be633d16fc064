"""One room, one foreign library: `.importlinter` says which, and leaves no room out."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# what a room may know beside the libraries of its own
KNOWN = {
    "node": {"protocol"},
    "protocol": {"protocol"},
    "lifecycle": {"protocol", "lifecycle", "errors"},
}


def rooms() -> set[str]:
    entries = (ROOT / "coordinator").iterdir()
    return {entry.stem for entry in entries if entry.suffix == ".py" or (entry / "__init__.py").exists()} - {"__init__"}


def test_the_rules_hold() -> None:
    script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("contract", KNOWN)
def test_every_room_is_named(contract: str) -> None:
    rules = configparser.ConfigParser()
    rules.read(ROOT / ".importlinter")
    forbidden = rules[f"importlinter:contract:{contract}"]["forbidden_modules"].split()
    named = {module.removeprefix("coordinator.") for module in forbidden if module.startswith("coordinator.")}
    assert named == rooms() - KNOWN[contract]
