"""Children of scripts/up get the settings that they are given, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.network.children import Child, Recipe


async def test_settings_in_the_users_shell_are_another_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_PUBLIC_URL", "https://relay.example.org")
    monkeypatch.setenv("NODE_MODELS", "Qwen/Qwen3-Coder")
    monkeypatch.setenv("LANGUAGE", "eo")
    log = tmp_path / "log"
    child = Child.spawn(Recipe("env", lambda: ["env"], log, {"NODE_SLOTS": "7"}))
    assert await child.ended == 0
    seen = {line.partition("=")[0]: line.partition("=")[2] for line in log.read_text().splitlines()}
    assert (seen["NODE_SLOTS"], seen["LANGUAGE"]) == ("7", "eo")
    assert not {"RELAY_PUBLIC_URL", "NODE_MODELS"} & seen.keys()
