"""The API on fakes, in this process: no sockets, no store, no model server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from coordinator.api.app import create_app
from coordinator.api.front_door import FrontDoor
from coordinator.api.webhooks import Webhooks
from coordinator.catalogue import Catalogue, parse
from coordinator.webhooks.submitting import Targets
from tests.fakes.relay import FakeClaims, FakeKeyBook, FakeRelay, FakeUpstreams
from tests.fakes.upstream import ANSWER
from tests.fakes.webhooks import FakeNames

CHAT = "/v2/openai/v1/chat/completions"
_PRICE = {"per_1m_input_tokens": "0.08", "per_1m_output_tokens": "0.48"}
CATALOGUE = {
    "models": [
        {"name": "relay/both", "display_name": "Both", "modes": ["opengpu", "direct"], "context_length": 2048},
        {"name": "relay/network", "modes": ["opengpu"]},
        {"name": "direct-only", "modes": ["direct"]},
        {"name": "relay/vectors", "modes": ["opengpu", "direct"], "endpoints": ["embeddings"]},
    ],
    "upstreams": [
        {
            "name": "one",
            "base_url": "http://one.example/v1",
            "models": {"relay/both": "x", "direct-only": "y", "relay/vectors": "v"},
        }
    ],
}


def catalogue() -> Catalogue:
    models = [model | {"prices": dict.fromkeys(model["modes"], _PRICE)} for model in CATALOGUE["models"]]
    return parse(CATALOGUE | {"models": models}, {})


def asking(**fields: Any) -> dict[str, Any]:
    """A good request, with `fields` over it; `asynchronous` stands for `async`."""
    if "asynchronous" in fields:
        fields["async"] = fields.pop("asynchronous")
    return {"model": "relay/both", "messages": [{"role": "user", "content": "Hello!"}], **fields}


@dataclass
class World:
    relay: FakeRelay
    upstreams: FakeUpstreams
    claims: FakeClaims
    app: FrontDoor
    client: httpx.AsyncClient

    async def ask(self, **fields: Any) -> httpx.Response:
        return await self.client.post(CHAT, json=asking(**fields))

    @property
    def untouched(self) -> bool:
        """Nothing was submitted, called or kept."""
        return not (self.relay.orders or self.relay.kept or self.upstreams.calls)


class Stand:
    """Whatever stands on it at the moment: FastAPI takes 25 ms to build an app, so all tests share one."""

    def __init__(self) -> None:
        self.now: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now, name)


@pytest.fixture(scope="session")
def standing() -> tuple[FrontDoor, Stand, Stand, Stand]:
    relay, upstreams, claims = Stand(), Stand(), Stand()
    # the routes of keys are in the document; tests/unit/api/test_keys.py puts a store behind them
    webhooks = Webhooks(Targets(FakeNames(), allow_private=False), Stand())
    app = create_app(
        relay, FakeKeyBook(), claims, catalogue(), upstreams,
        version="1.2.3", commit="abc", ring=Stand(), webhooks=webhooks,
    )  # fmt: skip
    return app, relay, upstreams, claims


@pytest.fixture
async def world(standing: tuple[FrontDoor, Stand, Stand, Stand]) -> AsyncIterator[World]:
    app, relay_stand, upstreams_stand, claims_stand = standing
    relay, upstreams, claims = FakeRelay(at_once=ANSWER), FakeUpstreams(), FakeClaims()
    relay_stand.now, upstreams_stand.now, claims_stand.now = relay, upstreams, claims
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://relay") as client:
        yield World(relay, upstreams, claims, app, client)
