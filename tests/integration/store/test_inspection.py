"""What a Redis that was told nothing costs is said when an API process starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from structlog.testing import capture_logs

from coordinator.store import inspection
from coordinator.store.connection import connect
from coordinator.store.inspection import Inspection, clock_off_ms
from scripts.network.redis import binary
from tests.parts.ports import free_port
from tests.parts.servers import RedisServer, Server


async def told(redis: Redis) -> list[dict[str, object]]:
    with capture_logs() as logs:
        await Inspection(redis).run()
    return [dict(line) for line in logs]


async def test_one_that_is_as_it_should_be(redis: Redis) -> None:
    assert await told(redis) == []


async def test_one_that_was_told_nothing(tmp_path: Path) -> None:
    port = free_port()
    command = [str(binary()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    log = tmp_path / "log"
    server = Server(lambda: command, lambda: "Ready to accept" in log.read_text(), log)
    server.start()
    async with connect(SecretStr(f"redis://127.0.0.1:{port}/0")) as redis:
        wants = [str(line["wants"]).split()[0] for line in await told(redis)]
        assert wants == ["appendonly", "appendfsync", "aclfile", "user"]
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        assert "maxmemory-policy noeviction" in [line["wants"] for line in await told(redis)]
        await redis.config_set("requirepass", "secret")
        assert "user" not in [str(line["wants"]).split()[0] for line in await told(redis)]
    server.stop()


async def test_one_that_hides_them(redis_server: RedisServer, redis: Redis) -> None:
    await redis.execute_command("ACL", "SETUSER", "managed", "on", ">pass", "~*", "+@all", "-@admin")  # type: ignore[no-untyped-call]
    async with connect(SecretStr(f"redis://managed:pass@{redis_server.address}/0")) as theirs:
        assert [line["event"] for line in await told(theirs)] == ["store_settings_unseen"]


async def test_one_that_comes_later(redis_server: RedisServer, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "_AGAIN_S", 0.01)
    redis_server.kill()
    seen = 0

    async def look(asked: Redis) -> int:
        nonlocal seen
        seen += 1
        if seen == 2:
            redis_server.start()
        return await clock_off_ms(asked)

    monkeypatch.setattr(inspection, "clock_off_ms", look)
    assert await told(redis) == []
    assert seen >= 2


async def test_a_clock_that_is_off(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes are judged by this machine's clock, leases by Redis's."""
    assert abs(await clock_off_ms(redis)) < inspection._CLOCK_MS
    now = inspection.time.time
    monkeypatch.setattr(inspection.time, "time", lambda: now() + 300)
    (line,) = await told(redis)
    assert (line["event"], line["log_level"]) == ("clock_off_store", "warning")
    assert int(str(line["off_ms"])) == pytest.approx(300_000, abs=inspection._CLOCK_MS)
