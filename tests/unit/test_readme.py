"""The README's map is true: the seven steps of a task, and every path it names."""

from __future__ import annotations

import re

import pytest

from scripts.network.children import ROOT

README = ROOT / "README.md"
TOP = ("coordinator", "node", "contracts", "tests", "scripts", "pyproject.toml", ".ci")


def words() -> list[str]:
    return re.findall(r"`([^`\n]+)`", README.read_text())


def paths() -> list[str]:
    """What stands in backticks and reads like a path in this repository."""
    found = {word.split(":")[0].rstrip("/") for word in words() if re.fullmatch(r"[\w./:-]+", word)}
    return sorted(path for path in found if path.split("/")[0] in TOP)


def test_there_are_seven_steps_in_files_that_exist() -> None:
    rows = re.findall(r"^\| *([1-7]) *\|.*$", README.read_text(), re.MULTILINE)
    assert rows == list("1234567")


def test_it_names_paths() -> None:
    assert len(paths()) >= 10


@pytest.mark.parametrize("path", paths() if README.exists() else [])
def test_every_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_its_commands_exist() -> None:
    text = README.read_text()
    named = set(re.findall(r"(?<![\w/])scripts/[\w-]+", text))
    assert {"scripts/up", "scripts/test"} <= named
    for script in named:
        assert (ROOT / script).exists(), script


def test_scripts_can_be_run() -> None:
    for script in ("up", "setup", "test", "lock", "contracts"):
        assert (ROOT / "scripts" / script).stat().st_mode & 0o111, script
