"""The operator's view of the stakes."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from pydantic import SecretStr

from coordinator import commands, stake_commands
from coordinator.lifecycle.stake import Registry, Seen, Stake
from coordinator.settings import Settings
from coordinator.store.stakes import Stakes
from tests.unit.store.network import node_address

A, B, C, D, PROVIDER, REGISTRY = (node_address(number) for number in range(1, 7))
ETH = 10**18


def says(settings: dict[str, Any], server: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> list[str]:
    monkeypatch.setattr(commands, "connect", lambda *_: FakeAsyncRedis(server=server))
    parser = argparse.ArgumentParser()
    stake_commands.add_to(parser.add_subparsers())
    asked: Any = parser.parse_args(["stakes"])
    known = Settings(redis_url=SecretStr("redis://nowhere"), catalogue="none", **settings)  # type: ignore[arg-type]
    assert asked.run(known, asked) == 0
    return list(capsys.readouterr().out.splitlines())


async def stake(server: FakeServer) -> None:
    redis = FakeAsyncRedis(server=server)
    stakes = {
        A: Stake(PROVIDER, ETH),
        B: Stake(PROVIDER, ETH // 2),
        C: Stake(PROVIDER, ETH, 86_400),
        D: Stake(PROVIDER, 0),
    }
    await Stakes(redis).put(Seen(Registry(5, REGISTRY, ETH // 100, 60), 9, "0x1"), stakes, whole=True)
    await redis.aclose()


def test_who_has_staked_what(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    server = FakeServer()
    assert says({}, server, monkeypatch, capsys) == ["stakes don't count: RELAY_NODE_STAKE_WEI is not set"]
    [line] = says({"node_stake_wei": ETH}, server, monkeypatch, capsys)
    assert "has not been read yet" in line
    asyncio.run(stake(server))
    head, *rows = says({"node_stake_wei": ETH}, server, monkeypatch, capsys)
    assert head == f"registry {REGISTRY} on chain 5, block 9; least stake 1 ETH"
    by = f"  by {PROVIDER}"
    wanted = {
        A: "admitted  1 ETH",
        B: "too small 0.5 ETH",
        C: "leaving   1 ETH from 1970-01-02T00:00:00Z",
        D: "withdrawn",
    }
    assert rows == [f"{node}  {wanted[node]}{by}" for node in sorted(wanted)]
