"""The operator's commands for accounts, on the store's own money."""

from __future__ import annotations

import argparse
import asyncio
import re
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from pydantic import SecretStr

from coordinator import commands as running
from coordinator import money_commands
from coordinator.lifecycle.money import Bill, Price, Tokens
from coordinator.lifecycle.policy import Policy
from coordinator.protocol.ids import TaskId
from coordinator.settings import Settings, SettingsWrong
from coordinator.store.money import Purse
from coordinator.store.scripts import Scripts

TASK = TaskId("direct:00000000-0000-4000-8000-000000000001")


class Operator:
    """Types words; `settings` of nowhere, since the store is a fake."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.server = FakeServer()
        monkeypatch.setattr(running, "connect", lambda *_: FakeAsyncRedis(server=self.server))
        self._settings = Settings(redis_url=SecretStr("redis://nowhere"), catalogue="none")  # type: ignore[arg-type]
        self._capsys = capsys
        self._parser = argparse.ArgumentParser()
        money_commands.add_to(self._parser.add_subparsers())

    def types(self, *words: str) -> str:
        """What is printed."""
        arguments: Any = self._parser.parse_args(words)
        assert arguments.run(self._settings, arguments) == 0
        return self._capsys.readouterr().out.strip()


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operator:
    return Operator(monkeypatch, capsys)


async def spend(server: FakeServer) -> None:
    redis = FakeAsyncRedis(server=server)
    purse, bill = (
        Purse(redis, Scripts(redis, Policy())),
        Bill("acme", "key_1", "direct", "m", Price(1, 2), Tokens(9, 9)),
    )
    await purse.reserve(TASK, bill)
    await purse.settle(TASK, bill, Tokens(3, 4))
    await redis.aclose()


def test_an_accounts_money(operator: Operator) -> None:
    assert operator.types("credits", "acme") == "paid 0  left 0  held 0  spent 0"
    assert operator.types("credit", "acme", "12.5") == "12.5"
    assert operator.types("credit", "acme", "-0.5") == "12"
    asyncio.run(spend(operator.server))
    assert operator.types("credits", "acme") == "paid 12  left 11.999999989  held 0  spent 0.000000011"
    first, second, third = operator.types("ledger", "acme").splitlines()
    assert [re.split("  ", line, maxsplit=1)[1] for line in (first, second)] == ["credit  12.5", "credit  -0.5"]
    assert third.endswith("  charge  0.000000011  key_1  direct  m  3+4  direct:00000000-")
    assert operator.types("ledger", "acme", "--last", "1") == third
    with pytest.raises(SettingsWrong, match="nothing would be left"):
        operator.types("credit", "acme", "-12")


@pytest.mark.parametrize("amount", ["", "ten", "NaN", "1e-10", "0", "1000001", "Infinity"])
def test_no_amount(operator: Operator, amount: str) -> None:
    with pytest.raises(SystemExit):
        operator.types("credit", "acme", amount)
