"""What `check` says of what it sees; what it looks at for real is in tests/integration/node/test_check.py."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import pytest
from eth_keys.datatypes import PrivateKey

from coordinator.protocol.session import Admission, Condition, Network, Standing
from node.check.command import outcomes
from node.check.coordinator import CoordinatorChecks, Seen, admission, clock, models
from node.check.machine import disk, files, graphics, memory
from node.check.outcome import Level, failed, ok
from node.identity import Identity
from node.presence.line import line_transport
from node.settings import Settings

GIB = 2**30
A_NODE = "0x" + "ab" * 20


def network(**told: object) -> Network:
    known = {"chain_id": 1, "task_registry": "0x" + "5F" * 20, "node_registry": None, "admission": Admission.STAKE}
    return Network.model_validate(
        {**known, "stake_wei": 10, "broker": "rediss://b:6380", "models": ("m",), "now_ms": 1, **told}
    )


def seen(*, ahead: float, round_trip: float = 0.01) -> Seen:
    return Seen(network(), timedelta(seconds=round_trip), timedelta(seconds=ahead))


def test_a_line_and_how_to_mend_it() -> None:
    assert str(ok("key", "0xab in node.key")) == "ok       key         0xab in node.key"
    assert str(failed("key", "gone", "make one")).splitlines() == ["FAILED   key         gone", f"{'':20} → make one"]


@pytest.mark.parametrize(
    ("ahead", "round_trip", "level"),
    [
        (0.5, 0.01, Level.OK),
        (-30, 0.01, Level.WARNING),
        (61, 0.01, Level.FAILED),
        (-61, 0.01, Level.FAILED),
        (61, 4.0, Level.WARNING),  # it may be within the window
    ],
)
def test_clocks(ahead: float, round_trip: float, level: Level) -> None:
    found = clock(seen(ahead=ahead, round_trip=round_trip))
    assert found.level is level
    assert ("behind" if ahead > 0 else "ahead") in found.seen


def test_a_key_that_is_not_admitted_hears_what_the_coordinator_says() -> None:
    found = admission(Standing(admitted=False, remedy="stake 0.7 ETH more"), network(), A_NODE)
    assert (found.level, found.remedy) == (Level.FAILED, "stake 0.7 ETH more")
    by_list = admission(Standing(admitted=False), network(admission=Admission.LIST), A_NODE)
    assert A_NODE in by_list.remedy


def test_a_suspended_node_is_told_for_how_long() -> None:
    standing = Standing(admitted=True, condition=Condition.SUSPENDED, suspended_ms=42_000)
    found = admission(standing, network(), A_NODE)
    assert (found.level, "42 s" in found.seen) == (Level.WARNING, True)


@pytest.mark.parametrize(
    ("named", "level"), [(("x", "m"), Level.WARNING), (("x",), Level.FAILED), (("x", "M"), Level.FAILED)]
)
def test_a_model_that_nobody_can_ask_for(tmp_path: Path, named: tuple[str, ...], level: Level) -> None:
    """Who offers no other, for the name is misspelt, would wait for work for ever."""
    settings = Settings(
        key_file=tmp_path / "k",
        coordinator_url="http://127.0.0.1:1",
        backend_url="http://b",
        models={name: name for name in named},
    )
    found = models(settings, network())
    assert (found.level, "x" in found.seen, "m" in found.remedy) == (level, True, True)


@pytest.mark.parametrize(("slots", "limit", "level"), [(4, 1024, "ok"), (512, 1024, "FAILED"), (512, -1, "ok")])
def test_open_files(slots: int, limit: int, level: str) -> None:
    assert files(slots, limit).level == level


@pytest.mark.parametrize(("slots", "free", "level"), [(4, GIB, "ok"), (4000, GIB, "warning"), (4, None, "warning")])
def test_memory(slots: int, free: int | None, level: str) -> None:
    assert memory(slots, free).level == level


def test_a_disk_that_can_be_written(tmp_path: Path) -> None:
    assert disk(tmp_path / "not" / "yet" / "there").level is not Level.FAILED
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"


def test_a_disk_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    found = disk(tmp_path / "state")
    assert (found.level, "NODE_STATE_DIR" in found.remedy) == (Level.FAILED, True)


def test_a_disk_where_nothing_can_be_looked_up(tmp_path: Path) -> None:
    """As in a home of somebody else's."""
    found = disk(tmp_path / ("a" * 300) / "state")
    assert (found.level, "NODE_STATE_DIR" in found.remedy) == (Level.FAILED, True)


def nvidia_smi(folder: Path, printed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{printed}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_gpu_that_nothing_is_loaded_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, "NVIDIA H200, GPU-1, 570.1, 143771, 143146", monkeypatch)
    (idle,) = graphics("http://127.0.0.1:8000")
    assert (idle.level, "143,146 of 143,771 MiB free" in idle.seen) == (Level.WARNING, True)
    (elsewhere,) = graphics("http://gpu-box:8000")
    assert elsewhere.level is Level.OK
    nvidia_smi(tmp_path, "NVIDIA H200, GPU-1, 570.1, 143771, 11000", monkeypatch)
    assert graphics("http://127.0.0.1:8000")[0].level is Level.OK


def test_no_gpu_matters_only_beside_a_server_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [graphics(url)[0].level for url in (None, "http://elsewhere", "http://localhost:8000")] == [
        Level.OK,
        Level.OK,
        Level.WARNING,
    ]


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:99999", "redis://127.0.0.1:x", "redis://[::1", "redis://a..b:1", ""]
)
async def test_a_broker_s_address_that_is_none(url: str, tmp_path: Path) -> None:
    """Its coordinator's operator mistyped it."""
    found = await checks(tmp_path).broker(url)
    assert (found.level, "operator" in found.remedy) == (Level.FAILED, True)


async def test_a_broker_that_talks_without_end(tmp_path: Path) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 200_000)

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        found = await checks(tmp_path).broker(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert found.level is Level.FAILED


def checks(folder: Path) -> CoordinatorChecks:
    settings = Settings(key_file=folder / "k", coordinator_url="http://127.0.0.1:1")
    return CoordinatorChecks(settings, Identity.of(PrivateKey(b"\x01" * 32)), line_transport(1), None)


def test_settings_and_key_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("NODE_")]:
        monkeypatch.delenv(name)
    missing = outcomes()
    assert [found.name for found in missing] == ["settings", "settings"]
    assert "NODE_KEY_FILE" in missing[0].seen
    monkeypatch.setenv("NODE_KEY_FILE", str(tmp_path / "node.key"))
    monkeypatch.setenv("NODE_COORDINATOR_URL", "http://127.0.0.1:1")
    (no_key,) = outcomes()
    assert (no_key.level, "node key --out" in no_key.remedy) == (Level.FAILED, True)
