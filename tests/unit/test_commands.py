"""The operator's commands as a shell meets them: their reader leaves early, their store is not there."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis
from pydantic import SecretStr

from coordinator import commands
from coordinator.errors import StoreUnavailable
from coordinator.settings import Settings, SettingsWrong

SETTINGS = Settings(redis_url=SecretStr("redis://nowhere"), catalogue="none")  # type: ignore[arg-type]


def run(step: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(commands, "connect", lambda *_: FakeAsyncRedis())
    return commands.running(step, lambda redis, _: redis)(SETTINGS, argparse.Namespace())


def test_a_reader_that_has_had_enough_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def many(_: Any, __: argparse.Namespace) -> list[str]:
        await asyncio.sleep(0)
        return ["a line"] * 10_000

    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert run(many, monkeypatch) == 0


def test_a_store_that_is_not_there_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(_: Any, __: argparse.Namespace) -> list[str]:
        raise StoreUnavailable("The coordinator's store can't be reached. Send the request again.")

    with pytest.raises(SettingsWrong, match=r"^RELAY_REDIS_URL: "):
        run(none, monkeypatch)
