"""A set-up that can't go on says what to do, in one line."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from scripts.network.children import ROOT


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """As much of the repository as scripts/setup reads."""
    for name in ("scripts/setup", "scripts/requirements.lock", "scripts/requirements-test.lock", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def set_up(clone: Path, **environment: str) -> str:
    done = subprocess.run(
        ["bash", str(clone / "scripts/setup")],
        env={"PATH": os.environ["PATH"], "SETUP_CALLER": "scripts/up", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    return line


def pip_that_says(clone: Path, words: str) -> None:
    python = clone / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exit 0\necho "{words}"\nexit 1\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("Failed to establish a new connection: [Errno -3] Temporary failure in name resolution", "check the network"),
        ("ERROR: No matching distribution found for web3==8.0.0", "check the network and the registry settings"),
        ("error: command 'gcc' failed: No such file or directory", "install gcc and Python's headers"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "not the one that was locked"),
        ("something nobody thought of", "failed: something nobody thought of"),
    ],
)
def test_pip_fails(clone: Path, said: str, line: str) -> None:
    pip_that_says(clone, said)
    printed = set_up(clone)
    assert printed.startswith("scripts/up: ")
    assert line in printed
    assert "(log: .setup/pip.log)" in printed


@pytest.mark.parametrize(
    "words", [("scripts/up", "--nodes", "many"), ("scripts/up", "--ones"), ("scripts/setup", "--tests")]
)
def test_a_wrong_option_is_refused_before_anything_is_installed(clone: Path, words: tuple[str, ...]) -> None:
    for name in ("scripts/up", "scripts/network/options.py"):
        (clone / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    done = subprocess.run(["bash", *words], cwd=clone, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert words[1] in done.stderr
    assert not (clone / ".setup").exists()


def test_no_python(clone: Path) -> None:
    tools = clone / "bin"
    tools.mkdir()
    for tool in ("bash", "dirname", "mkdir", "flock", "sha256sum", "cut", "cat", "grep", "sed", "rm", "date", "pwd"):
        if path := shutil.which(tool):
            (tools / tool).symlink_to(path)
    assert "Python 3.11 or newer is needed and was not found" in set_up(clone, PATH=str(tools))
