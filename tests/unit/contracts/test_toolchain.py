"""A missing tool says what installs it; a present one is the binary and not npm's start script."""

import subprocess
from pathlib import Path

import pytest

from contracts import toolchain


def test_node_is_the_one_of_the_wheel() -> None:
    assert toolchain.node_binary().is_file()
    assert toolchain.npm_script().name == "npm-cli.js"


def test_a_missing_anvil_names_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(toolchain.ToolMissing, match="scripts/up"):
        toolchain.anvil_binary(modules=tmp_path)


def test_anvil_on_the_path_is_the_last_resort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anvil = tmp_path / "anvil"
    anvil.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert toolchain.anvil_binary(modules=tmp_path / "none") == anvil


def test_the_installed_anvil_is_the_pinned_version() -> None:
    try:
        anvil = toolchain.anvil_binary()
    except toolchain.ToolMissing as missing:
        pytest.skip(str(missing))
    version = subprocess.run([anvil, "--version"], check=True, capture_output=True, text=True, timeout=10).stdout
    assert "1.7.1" in version
