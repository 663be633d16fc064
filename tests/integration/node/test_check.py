"""`python -m node check` beside a real Redis, a coordinator and a backend over HTTP, well and unwell."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import SecretStr

from coordinator.protocol.session import Standing
from node.check.command import check
from node.check.outcome import Level, Outcome
from node.settings import Settings
from scripts.network.children import ROOT
from tests.fakes.backend import BackendHttp, completion
from tests.fakes.coordinator_http import CoordinatorHttp, until
from tests.integration.node.broker import Broker
from tests.parts.ports import free_port
from tests.parts.wire import Wire


@dataclass
class Place:
    """A machine with a key on it, and what it is to work with."""

    home: Path
    broker: Broker
    coordinator: CoordinatorHttp
    backend: BackendHttp

    def environment(self, **settings: str) -> dict[str, str]:
        return {
            "NODE_KEY_FILE": str(self.home / "node.key"),
            "NODE_COORDINATOR_URL": self.coordinator.url,
            "NODE_BACKEND_URL": self.backend.url,
            "NODE_MODELS": "m=own/name",
            **settings,
        }

    async def check(self, **settings: Any) -> dict[str, Outcome]:
        known = {name.removeprefix("NODE_").lower(): value for name, value in self.environment().items()}
        found = await check(Settings.model_validate({**known, **settings}), self.broker.identity)
        return {outcome.name: outcome for outcome in found}

    async def run(self, *words: str, **settings: str) -> tuple[int, str]:
        """`python -m node WORDS`: status, and what it printed."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("NODE_")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "node", *words),
            cwd=ROOT,
            env={**clean, **self.environment(**settings)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await process.communicate()
        return process.returncode or 0, printed.decode()


@pytest.fixture
async def place(tmp_path: Path, broker: Broker) -> AsyncIterator[Place]:
    key = tmp_path / "node.key"
    key.touch(0o600)
    key.write_text(str(broker.identity.key))
    async with CoordinatorHttp(broker.grant, heartbeat_ms=100) as coordinator, BackendHttp() as backend:
        one_token = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
        backend.body = json.dumps(completion("One", usage=one_token)).encode()
        coordinator.network["broker"] = f"redis://{broker.server.address}"
        yield Place(tmp_path, broker, coordinator, backend)


def bad(found: dict[str, Outcome]) -> dict[str, str]:
    assert all(outcome.remedy for outcome in found.values() if outcome.level is not Level.OK), "says how to mend it"
    return {outcome.name: outcome.remedy for outcome in found.values() if outcome.level is Level.FAILED}


async def test_all_is_well_and_the_node_that_runs_is_not_disturbed(place: Place) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node", "run"),
        cwd=ROOT,
        env={**os.environ, **place.environment()},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: place.coordinator.beats)
        code, printed = await place.run("check", "--json")
        found = json.loads(printed)
        assert (code, [one for one in found if one["level"] == "FAILED"]) == (0, [])
        names = [one["name"] for one in found]
        assert names[:2] == ["key", "disk"]
        assert {"coordinator", "clock", "admission", "chain", "broker", "backend", "model", "slots"} <= set(names)
        beats = len(place.coordinator.beats)
        await until(lambda: len(place.coordinator.beats) > beats + 2)
        assert len(place.coordinator.sessions) == 1
        assert process.returncode is None
    finally:
        process.kill()
        await process.wait()
    asked = [json.loads(request) for request in place.backend.requests]
    assert {request["model"] for request in asked} == {"own/name"}
    assert asked[0]["max_tokens"] == 1


async def test_what_fails_is_said_in_words_with_a_remedy(place: Place) -> None:
    await place.backend.stop()
    code, printed = await place.run("check")
    assert code == 1
    (line,) = [line for line in printed.splitlines() if line.startswith("FAILED")]
    assert f"{place.backend.url} does not answer" in line
    assert "→ start the model server" in printed
    assert "1 of " in printed.splitlines()[-1]
    assert "Traceback" not in printed


async def test_nobody_is_there(place: Place) -> None:
    found = bad(await place.check(coordinator_url=f"http://127.0.0.1:{free_port()}"))
    assert found.keys() == {"coordinator"}


async def test_somebody_else_is_there(place: Place) -> None:
    found = await place.check(coordinator_url=place.backend.url)
    assert bad(found).keys() == {"coordinator"}


async def test_a_stranger_is_told_how_to_join(place: Place) -> None:
    place.coordinator.standing = Standing(admitted=False, remedy="register it on chain")
    assert bad(await place.check()) == {"admission": "register it on chain"}
    code, printed = await place.run("standing")
    assert (code, json.loads(printed)["remedy"]) == (1, "register it on chain")


async def test_a_clock_that_is_off_by_minutes(place: Place) -> None:
    place.coordinator.clock_off_ms = 180_000
    found = await place.check()
    assert bad(found).keys() == {"clock"}
    seconds, behind = found["clock"].seen.split(" s ")[0], " behind" in found["clock"].seen
    assert (float(seconds), behind) == (pytest.approx(180, abs=5), True)


async def test_a_broker_that_cannot_be_reached(place: Place) -> None:
    place.broker.server.kill()
    assert bad(await place.check()).keys() == {"broker"}


async def test_what_answers_for_the_broker_is_no_redis(place: Place) -> None:
    place.coordinator.network["broker"] = f"redis://127.0.0.1:{place.backend.port}"
    found = await place.check()
    assert bad(found).keys() == {"broker"}
    assert "no Redis" in found["broker"].seen


async def test_a_backend_that_wants_a_key(place: Place) -> None:
    for _ in range(3):
        place.backend.answer(401, {"error": {"message": "no"}})
    found = await place.check()
    assert bad(found) == {"model": "set NODE_BACKEND_API_KEY_FILE to the server's key"}
    await place.check(backend_api_key=SecretStr("sk-x"))
    assert place.backend.headers[-1]["Authorization"] == "Bearer sk-x"


async def test_a_model_that_the_server_does_not_have(place: Place) -> None:
    for _ in range(3):
        place.backend.answer(404, {"error": {"message": "The model `own/name` does not exist."}})
    found = await place.check()
    assert "own/name" in bad(found)["model"]


async def test_a_server_that_only_embeds(place: Place) -> None:
    for _ in range(2):
        place.backend.answer(404, {"error": {"message": "no such path"}})
    vector = {"object": "embedding", "index": 0, "embedding": [0.5, 0.5]}
    whole = {"object": "list", "model": "m", "data": [vector], "usage": {"prompt_tokens": 5, "total_tokens": 5}}
    place.backend.body = json.dumps(whole).encode()
    found = await place.check()
    assert not bad(found)
    assert "it does not chat" in found["model"].seen


async def test_a_server_that_takes_one_after_the_other(place: Place) -> None:
    turn, answer, there = asyncio.Lock(), place.backend.body, 0

    async def slowly(_: Any) -> Any:
        from aiohttp import web

        nonlocal there
        there += 1
        async with turn:  # far slower in company: a call alone may take a busy machine long as well
            await asyncio.sleep(0.03 if there == 1 else 0.4)
            there -= 1
            return web.Response(body=answer, content_type="application/json")

    place.backend.answers = [slowly] * 20
    found = await place.check(slots=8)
    assert (found["slots"].level, "NODE_SLOTS" in found["slots"].remedy) == (Level.WARNING, True)


async def test_the_embedded_model(place: Place) -> None:
    place.coordinator.network["models"] = ("relay/tiny-chat",)
    found = await place.check(backend_url=None, models={})
    assert not bad(found)
    assert "tokens/s" in found["model"].seen


async def test_a_coordinator_without_a_chain(place: Place) -> None:
    place.coordinator.network |= {"chain_id": None, "task_registry": None}
    assert bad(await place.check()).keys() == {"chain"}


async def test_a_broker_whose_certificate_nobody_vouches_for(place: Place) -> None:
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with Wire(place.broker.server.redis.port, tls) as wire:
        place.coordinator.network["broker"] = f"rediss://{wire.address}"
        assert "NODE_CA_FILE" in bad(await place.check())["broker"]
        trusted = place.home / "ca.pem"
        authority.cert_pem.write_to_path(trusted)
        assert not bad(await place.check(ca_file=trusted))


async def test_what_everybody_on_the_way_can_read(place: Place) -> None:
    """0.0.0.0 is this machine to the kernel, and a stranger to anybody who reads the address."""
    place.coordinator.network["broker"] = place.coordinator.network["broker"].replace("127.0.0.1", "0.0.0.0")
    found = bad(await place.check(coordinator_url=place.coordinator.url.replace("127.0.0.1", "0.0.0.0")))
    assert found.keys() == {"coordinator", "admission", "broker"}, (
        "and what is signed for one name is refused by another"
    )
    assert ("https://" in found["coordinator"], "rediss://" in found["broker"]) == (True, True)
