from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from node.settings import TINY_MODEL, Settings, SettingsError, load_settings
from node.staking.settings import StakingSettings

SECRET = "sk-do-not-print-me"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("NODE_")]:
        monkeypatch.delenv(name)


def load(monkeypatch: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in {"KEY_FILE": "/k/node.key", "COORDINATOR_URL": "https://relay.example", **values}.items():
        monkeypatch.setenv(f"NODE_{name}", value)
    return load_settings()


def test_the_least_that_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)
    assert settings.served == {TINY_MODEL: TINY_MODEL}
    assert settings.slots == 4
    assert settings.state == Path("/k/node.key.state")
    assert settings.api_key() is None


def test_everything_missing_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_BACKEND_URL", "http://127.0.0.1:8000")
    monkeypatch.setenv("NODE_SLOTS", "0")
    with pytest.raises(SettingsError) as missing:
        load_settings()
    lines = str(missing.value).splitlines()
    assert [line.split()[0].rstrip(":") for line in lines] == [
        "NODE_KEY_FILE",
        "NODE_COORDINATOR_URL",
        "NODE_MODELS",
        "NODE_SLOTS",
    ]
    assert "python -m node key" in lines[0]


def test_models_map_relay_names_to_the_backends_own(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, BACKEND_URL="http://b:1/v1/", MODELS=" a/b , c = own:name,")
    assert settings.served == {"a/b": "a/b", "c": "own:name"}
    assert settings.backend_url == "http://b:1/v1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COORDINATOR_URL", "relay.example"),
        ("COORDINATOR_URL", "ftp://relay.example"),
        ("COORDINATOR_URL", "http://[::1"),
        ("COORDINATOR_URL", "https://relay.example:https"),
        ("COORDINATOR_URL", "https://relay.example:84430"),
        ("COORDINATOR_URL", "https://relay..example"),
        ("COORDINATOR_URL", "https://relay example"),
        ("COORDINATOR_URL", "https://xn--/"),
        ("COORDINATOR_URL", f"https://{'a' * 64}.example"),
        ("BACKEND_URL", "http://127.0.0.1:84430"),
        ("BACKEND_URL", "http://user:pass@b"),
        ("MODELS", "a,b,a"),
        ("SLOTS", "many"),
        ("LOG_LEVEL", "loud"),
        ("REQUEST_TIMEOUT_SECONDS", "-7"),
    ],
)
def test_what_is_wrong_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(SettingsError) as wrong:
        load(monkeypatch, **{"MODELS": "a", name: value})
    assert str(wrong.value).startswith(f"NODE_{name}: ")
    assert value not in str(wrong.value).removeprefix(f"NODE_{name}")


def test_no_secret_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, BACKEND_API_KEY=SECRET)
    assert settings.api_key() == SECRET
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in shown
    with pytest.raises(SettingsError) as wrong:
        load(monkeypatch, BACKEND_API_KEY=SECRET, BACKEND_API_KEY_FILE="/f", SLOTS="x")
    assert SECRET not in str(wrong.value)


def test_a_secret_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    assert load(monkeypatch, BACKEND_API_KEY_FILE=str(tmp_path / "secret")).api_key() == SECRET
    with pytest.raises(SettingsError, match="can't be read"):
        load(monkeypatch, BACKEND_API_KEY_FILE=str(tmp_path / "none")).api_key()
    with pytest.raises(SettingsError, match="choose one"):
        load(monkeypatch, BACKEND_API_KEY_FILE="/f", BACKEND_API_KEY=SECRET)


@pytest.mark.parametrize("key", ["two\nlines", "a\0b", "ключ"])
def test_a_key_that_fits_no_header_is_a_wrong_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str
) -> None:
    (tmp_path / "secret").write_text(key)
    with pytest.raises(SettingsError, match="NODE_BACKEND_API_KEY_FILE must hold a key alone") as wrong:
        load(monkeypatch, BACKEND_API_KEY_FILE=str(tmp_path / "secret")).api_key()
    assert key not in str(wrong.value)


def test_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(monkeypatch).slots = 5  # type: ignore[misc]
    assert load(monkeypatch, LOG_LEVEL="WARNING").log_level == "warning"


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    text = (Path(__file__).parents[3] / "node" / "README.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `NODE_")]
    documented = {name for row in rows for name in re.findall(r"`NODE_(\w+)`", row.split(" | ")[0])}
    assert documented == {name.upper() for name in (*Settings.model_fields, *StakingSettings.model_fields)}
