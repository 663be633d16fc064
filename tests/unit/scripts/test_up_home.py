"""The state directory belongs to one supervisor at a time, hides its secrets, and survives."""

from __future__ import annotations

import json
import socket
import stat
from pathlib import Path

import pytest

from scripts.network import keys
from scripts.network.home import Home, Unusable, is_free
from scripts.network.options import parse


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_the_owners_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "state")
    home.write("up.json", {"api_key": "x"})
    keys.account(home.path / "keys/coordinator.key")
    keys.password(home.path / "keys/redis.password")
    assert mode(home.path) == 0o700
    assert {mode(home.up_json), *(mode(path) for path in (home.path / "keys").iterdir())} == {0o600}
    home.close()


def test_a_second_start_finds_the_same_keys(tmp_path: Path) -> None:
    key, secret = tmp_path / "key", tmp_path / "password"
    assert keys.account(key) == keys.account(key)
    assert keys.password(secret) == keys.password(secret)
    assert len(key.read_text().strip()) == 66


def test_one_supervisor_at_a_time(tmp_path: Path) -> None:
    first = Home(tmp_path / "state")
    with pytest.raises(Unusable, match=r"in use by another scripts/up \(pid \d+\).*--state"):
        Home(tmp_path / "state")
    first.close()
    Home(tmp_path / "state").close()


def test_up_json_is_there_only_while_it_runs(tmp_path: Path) -> None:
    (tmp_path / "up.json").write_text("{}")
    home = Home(tmp_path)
    assert not home.up_json.exists()
    home.write("up.json", {"a": 1})
    assert json.loads(home.up_json.read_text()) == {"a": 1}
    home.close()
    assert not home.up_json.exists()


def test_fresh_takes_away_only_what_is_ours(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "chain").mkdir()
    (tmp_path / "chain/state.json").write_text("{}")
    Home(tmp_path).close()
    Home(tmp_path, fresh=True).close()
    assert (tmp_path / "letters").exists()
    assert not (tmp_path / "chain/state.json").exists()


def test_fresh_takes_away_nothing_where_no_supervisor_has_been(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/house").write_text("the user's own")
    Home(tmp_path, fresh=True).close()
    assert (tmp_path / "keys/house").read_text() == "the user's own"


def test_a_directory_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unusable, match="choose another with --state"):
        Home(tmp_path / "file/state")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (tmp_path / "ports.json").write_text("{")
    with pytest.raises(Unusable, match=r"ports\.json is not readable as JSON.*--fresh"):
        home.port("redis")
    home.close()


def test_ports_are_taken_again_when_free(tmp_path: Path) -> None:
    home = Home(tmp_path)
    port = home.port("redis")
    assert home.port("redis") == port
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert not is_free(port)
        assert home.port("redis") != port
        with pytest.raises(Unusable, match=f"port {port} is taken.*--port"):
            home.api_port(port)
    home.close()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--port", "70000"], "'70000' is no port: 0 to 65535"),
        (["--port", "http"], "'http' is no port"),
        (["--nodes", "0"], "'0' is no number of nodes: 1 to 100"),
        (["--hurry"], "unrecognized arguments: --hurry"),
    ],
)
def test_options_that_make_no_sense(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse(words)
    assert exit_.value.code == 2
    assert complaint in capsys.readouterr().err


def test_defaults() -> None:
    chosen = parse([])
    assert (chosen.once, chosen.port, chosen.nodes, chosen.fresh) == (False, 8080, 1, False)
    assert chosen.state.name == ".relay"
