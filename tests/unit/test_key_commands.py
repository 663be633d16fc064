"""The operator's key commands, on the store's own keys; what is mistyped is refused before anything is asked."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from pydantic import SecretStr

from coordinator import commands as running
from coordinator import key_commands
from coordinator.settings import Settings, SettingsWrong


class Operator:
    """Types words; `settings` of nowhere, since the store is a fake."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        server = FakeServer()
        monkeypatch.setattr(running, "connect", lambda *_: FakeAsyncRedis(server=server))
        self._settings = Settings(redis_url=SecretStr("redis://nowhere"), catalogue="none")  # type: ignore[arg-type]
        self._capsys = capsys
        self._parser = argparse.ArgumentParser()
        key_commands.add_to(self._parser.add_subparsers())

    def types(self, *words: str) -> str:
        """What is printed."""
        arguments: Any = self._parser.parse_args(["key", *words])
        assert arguments.run(self._settings, arguments) == 0
        return self._capsys.readouterr().out.strip()


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operator:
    return Operator(monkeypatch, capsys)


def test_a_keys_whole_life(operator: Operator) -> None:
    scope = "opengpu.openai.relay/tiny-chat"
    full = operator.types("create", "--name", "laptop", "--scope", scope, "--limit", "direct=5", "--budget", "0.1")
    assert full.startswith("relay_sk_")
    line = operator.types("list")
    assert full not in line
    key_id, *words = line.split("  ")
    assert words == ["active", "key", "basic", "default", "0/0.1", "never", "laptop", scope, "direct=5"]
    assert "0/0.3" in operator.types("topup", key_id, "0.2")
    changed = operator.types("change", key_id, "--tier", "max", "--unrestricted", "--no-budget", "--name", "desk")
    assert changed.split("  ")[1:] == ["active", "key", "max", "default", "0/-", "never", "desk"]
    with pytest.raises(SettingsWrong, match="revoke it first"):
        operator.types("delete", key_id)
    assert "revoked" in operator.types("revoke", key_id)
    assert "active" in operator.types("unrevoke", key_id)
    operator.types("revoke", key_id)
    assert operator.types("delete", key_id) == ""
    assert operator.types("list") == ""
    with pytest.raises(SettingsWrong, match="no such key"):
        operator.types("revoke", key_id)


def test_superkeys_and_accounts(operator: Operator) -> None:
    operator.types("create", "--name", "boss", "--super", "--account", "acme", "--tier", "pro")
    operator.types("create", "--name", "other", "--account", "elsewhere")
    assert operator.types("list", "--account", "acme").split("  ")[2:5] == ["superkey", "pro", "acme"]
    assert len(operator.types("list").splitlines()) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["--budget", "much"], ["--budget", "NaN"], ["--budget", "-1"], ["--budget", "1e-10"], ["--budget", "1000001"],
        ["--scope", "relay/tiny-chat"], ["--limit", "direct"], ["--limit", "direct=0"], ["--limit", "hourly=3"],
        ["--tier", "guest"],
    ],
)  # fmt: skip
def test_what_is_mistyped(operator: Operator, words: list[str]) -> None:
    with pytest.raises(SystemExit):
        operator.types("create", "--name", "laptop", *words)
