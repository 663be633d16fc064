"""The operator's commands as a shell meets them: their reader leaves early, their store is not there."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
from fakeredis import FakeAsyncRedis
from pydantic import SecretStr

from coordinator import commands
from coordinator.__main__ import check_certificate
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


def test_a_certificate_that_cannot_serve_names_its_settings(tmp_path: Path) -> None:
    """Before uvicorn meets it, which shows a trace."""
    one, other = (trustme.CA().issue_cert("127.0.0.1") for _ in range(2))
    paths = {name: tmp_path / f"{name}.pem" for name in ("chain", "key", "other")}
    one.cert_chain_pems[0].write_to_path(paths["chain"])
    one.private_key_pem.write_to_path(paths["key"])
    other.private_key_pem.write_to_path(paths["other"])

    def check(chain: Path, key: Path) -> None:
        check_certificate(SETTINGS.model_copy(update={"tls_cert_file": chain, "tls_key_file": key}))

    check(paths["chain"], paths["key"])
    check_certificate(SETTINGS)
    for chain, key in (("chain", "other"), ("key", "chain"), ("gone", "key"), ("chain", "gone")):
        with pytest.raises(SettingsWrong, match="RELAY_TLS_CERT_FILE, RELAY_TLS_KEY_FILE: must be PEM files"):
            check(paths.get(chain, tmp_path / "gone"), paths.get(key, tmp_path / "gone"))
