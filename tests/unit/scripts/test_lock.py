"""The lock files are those of pyproject.toml and name no registry and no machine."""

from __future__ import annotations

import re
import subprocess
import sys

from scripts.network.children import ROOT


def test_the_locks_agree_with_pyproject() -> None:
    done = subprocess.run([sys.executable, "scripts/lock", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_dependency_says_why_it_is_here() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    entries = re.findall(r'^    "[A-Za-z0-9_.\[\]-]+(?:[=><~].*)?",.*$', text, re.MULTILINE)
    assert len(entries) > 20
    assert not [entry for entry in entries if "#" not in entry]


def test_the_npm_lock_names_no_registry() -> None:
    text = (ROOT / "contracts/package-lock.json").read_text()
    assert '"resolved"' not in text
    assert '"integrity"' in text
