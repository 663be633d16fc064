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


@pytest.mark.parametrize("where", ["redis.example.org:6380", "rediss://redis.example.org:6380", "rediss://[::1]:6380"])
def test_where_nodes_reach_the_broker(environment: pytest.MonkeyPatch, where: str) -> None:
    environment.setenv("RELAY_NODE_REDIS", where)
    assert load().node_redis == where


@pytest.mark.parametrize("where", ["redis.example.org", "http://x:1", f"rediss://:{SECRET}@x:1", "x:1/0", "x:port"])
def test_a_broker_address_that_is_none_or_holds_a_password(environment: pytest.MonkeyPatch, where: str) -> None:
    environment.setenv("RELAY_NODE_REDIS", where)
    with pytest.raises(SettingsWrong, match="RELAY_NODE_REDIS") as wrong:
        load()
    assert SECRET not in str(wrong.value)


def test_a_certificate_needs_its_key(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("RELAY_TLS_CERT_FILE", "cert.pem")
    environment.setenv("RELAY_PORT", "none")  # said beside what is wrong with a single setting
    with pytest.raises(SettingsWrong, match=r"(?s)RELAY_PORT.*RELAY_TLS_CERT_FILE and RELAY_TLS_KEY_FILE"):
        load()


@pytest.mark.parametrize("url", [SECRET, f"http://:{SECRET}@x:1", f"redis://:{SECRET}@", f"redis://:{SECRET}@x:port"])
def test_a_store_that_is_no_redis(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("RELAY_REDIS_URL", url)
    with pytest.raises(SettingsWrong, match=r"RELAY_REDIS_URL: .*redis://") as wrong:
        load()
    assert SECRET not in str(wrong.value)


@pytest.mark.parametrize(
    ("name", "seconds", "said"),
    [
        ("RELAY_HEARTBEAT_SECONDS", "5", "RELAY_HEARTBEAT_SECONDS: .*less than half of RELAY_LEASE_SECONDS"),
        ("RELAY_LEASE_SECONDS", "4", "RELAY_HEARTBEAT_SECONDS: .*less than half of RELAY_LEASE_SECONDS"),
        ("RELAY_TAKEN_SECONDS", "2", "RELAY_TAKEN_SECONDS: .*more than RELAY_HEARTBEAT_SECONDS"),
        ("RELAY_TASK_TIMEOUT_SECONDS", "inf", "RELAY_TASK_TIMEOUT_SECONDS: .*finite"),
    ],
)
def test_times_that_no_node_could_keep(environment: pytest.MonkeyPatch, name: str, seconds: str, said: str) -> None:
    environment.setenv(name, seconds)
    with pytest.raises(SettingsWrong, match=said):
        load()


def test_public_urls(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("RELAY_PUBLIC_URL", "https://relay.example.org/, http://10.0.0.1:8080")
    assert load().public_url == ("https://relay.example.org", "http://10.0.0.1:8080")
    environment.setenv("RELAY_PUBLIC_URL", "relay.example.org")
    with pytest.raises(SettingsWrong, match="RELAY_PUBLIC_URL"):
        load()


def test_settings_are_frozen(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1  # type: ignore[misc]
