"""The coordinator's settings: documented, reported all at once, and silent about secrets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coordinator.settings import Settings, SettingsWrong, load

SECRET = "hunter2-redis-password"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("RELAY_REDIS_URL", f"redis://:{SECRET}@127.0.0.1:1/0")
    monkeypatch.setenv("RELAY_CATALOGUE", "relay.toml")
    return monkeypatch


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    text = (Path(__file__).parents[2] / "coordinator" / "README.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `RELAY_")]
    documented = {name for row in rows for name in re.findall(r"`RELAY_(\w+)`", row.split(" | ")[0])}
    assert documented == {name.upper() for name in Settings.model_fields}


def test_everything_wrong_is_said_at_once_and_no_value_is_shown(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("RELAY_CATALOGUE")
    environment.setenv("RELAY_PORT", SECRET)
    environment.setenv("RELAY_TASK_REGISTRY", SECRET)
    with pytest.raises(SettingsWrong) as wrong:
        load()
    for name in ("RELAY_CATALOGUE", "RELAY_PORT", "RELAY_TASK_REGISTRY"):
        assert name in str(wrong.value)
    assert SECRET not in str(wrong.value)


def test_no_secret_is_printed(environment: pytest.MonkeyPatch) -> None:
    settings = load()
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert SECRET in settings.redis_url.get_secret_value()


def test_trusted_proxies(environment: pytest.MonkeyPatch) -> None:
    assert load().trusted_proxies == ()
    environment.setenv("RELAY_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7,fd00::/8")
    assert [str(network) for network in load().trusted_proxies] == ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"]
    environment.setenv("RELAY_TRUSTED_PROXIES", "10.0.0.1/8")
    with pytest.raises(SettingsWrong, match=r"RELAY_TRUSTED_PROXIES: .*separated by commas"):
        load()


def test_settings_are_frozen(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1  # type: ignore[misc]
