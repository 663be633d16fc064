"""The operator's view of the nodes."""

from __future__ import annotations

import argparse
import asyncio
import re
from datetime import timedelta
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from pydantic import SecretStr

from coordinator import commands, node_commands
from coordinator.errors import UpstreamError
from coordinator.settings import Settings
from tests.unit.store.ageing import took
from tests.unit.store.network import MODEL, Network


async def work(server: FakeServer) -> tuple[str, str, str]:
    """One node that has done well, one that has not, and one that nobody knows."""
    redis = FakeAsyncRedis(server=server)
    network = Network(redis)
    broken = await network.sign_in(2, slots=1)
    for _ in range(5):
        task = await network.submit()
        await network.tasks.give_up_attempt(task, 1, broken, "fault", UpstreamError("broken"))
        await network.redis.zadd("relay:deadlines", {task: 0})
        await network.tasks.sweep()
    good = await network.sign_in(1, slots=4)
    task = await network.submit()
    await took(network, f"{task}#1", timedelta(seconds=20))
    await network.complete(f"{task}#1", good)
    new = await network.sign_in(3, slots=2, models=("relay/new",))
    await redis.aclose()
    return good, broken, new


def test_what_was_seen_of_each_node(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    server = FakeServer()
    good, broken, new = asyncio.run(work(server))
    monkeypatch.setattr(commands, "connect", lambda *_: FakeAsyncRedis(server=server))
    parser = argparse.ArgumentParser()
    node_commands.add_to(parser.add_subparsers())
    asked: Any = parser.parse_args(["nodes"])
    known = Settings(redis_url=SecretStr("redis://nowhere"), catalogue="none")  # type: ignore[arg-type]
    assert asked.run(known, asked) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    seen = rf"alive  0/4  trusted  1 well, 0 faulty, 0 late  {MODEL} \(0\.2 tokens/s, first token after 2\d\.\d\d s\)$"
    assert re.search(seen, lines[good])
    assert re.search(r"0/1  suspended for (2\d|30) s more  0 well, 5 faulty, 0 late", lines[broken])
    assert lines[new].endswith("0/2  trusted  0 well, 0 faulty, 0 late  relay/new (nothing measured)")
