"""Limits as clients meet them: headers, 429 with an honest Retry-After, guests by address, modes by scope."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import httpx
import pytest

from coordinator.api.credentials import Origins
from coordinator.api.limits import duration
from coordinator.errors import UpstreamError
from coordinator.lifecycle.keys import NewKey, Restrictions
from tests.fakes.relay import FakeFrames
from tests.fakes.upstream import ANSWER
from tests.unit.api.keyed import keyed
from tests.unit.api.test_keys import code

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def said(reply: httpx.Response) -> tuple[str | None, ...]:
    return tuple(reply.headers.get(f"x-ratelimit-{name}-requests") for name in ("limit", "remaining", "reset"))


async def test_headers_on_every_answer_and_a_refusal_that_says_when() -> None:
    async with keyed({"basic": {"direct": 3, "global": 100}}) as world:
        ok = await world.ask(world.ordinary)
        assert (ok.status_code, said(ok)[:2]) == (200, ("3", "2"))
        reset = said(ok)[2]
        assert reset is not None
        assert 19 < float(reset.removesuffix("s")) <= 20
        accepted = await world.ask(world.ordinary, asynchronous=True, mode="direct")
        assert (accepted.status_code, said(accepted)[:2]) == (202, ("3", "1"))
        await world.ask(world.ordinary)
        refused = await world.ask(world.ordinary)
        assert code(refused) == (429, "RATE_LIMITED")
        assert said(refused)[:2] == ("3", "0")
        assert refused.headers["retry-after"] == "20"
        error = refused.json()["error"]
        assert (error["type"], error["source"]) == ("rate_limit", "relay")
        assert "3 requests in direct mode" in error["message"]
        assert len(world.relay.orders) == 1  # the asynchronous one; nothing came of the last


async def test_the_document_tells_of_the_headers() -> None:
    async with keyed() as world:
        paths = (await world.client.get("/v2/openapi-public.json")).json()["paths"]
    for path in ("chat/completions", "completions", "embeddings"):
        headers = paths[f"/v2/openai/v1/{path}"]["post"]["responses"]["429"]["headers"]
        assert {"Retry-After", "x-ratelimit-remaining-requests"} <= set(headers)
    assert {"get", "post"} <= set(paths["/v2/customer/keys"])


async def test_the_tighter_limit_is_said() -> None:
    async with keyed({"basic": {"direct": 10, "opengpu": 2, "global": 100}}) as world:
        assert said(await world.ask(world.ordinary))[0] == "10"
        assert said(await world.ask(world.ordinary, mode="opengpu"))[0] == "2"


async def test_what_can_not_be_served_counts_nothing_and_a_bad_key_comes_first() -> None:
    async with keyed({"basic": {"direct": 1}}) as world:
        for fields in ({"temperature": 9}, {"model": "nobody/has-this"}, {"mode": "direct", "model": "relay/network"}):
            assert (await world.ask(world.ordinary, **fields)).status_code in (403, 404, 422)
            assert code(await world.ask("relay_sk_" + "x" * 40, **fields)) == (401, "INVALID_API_KEY")
        assert (await world.ask(world.ordinary)).status_code == 200


async def test_a_direct_call_takes_up_room_until_it_is_answered_however_it_ends() -> None:
    async with keyed({"guest": {"concurrent": 1}}) as world:
        world.upstreams.gate.clear()
        first = asyncio.create_task(world.ask())
        await world.upstreams.called.wait()
        refused = await world.ask()
        assert code(refused) == (429, "RATE_LIMITED")
        assert refused.headers["retry-after"] == "5"
        assert (await world.ask(mode="opengpu")).status_code == 200  # room for tasks is the store's to judge
        world.upstreams.gate.set()
        assert (await first).status_code == 200
        world.upstreams.outcome = UpstreamError("broken")
        for _ in range(3):
            assert (await world.ask()).status_code == 502
        for _ in range(3):
            assert (await world.ask(stream=True)).status_code == 502
        world.upstreams.outcome, world.upstreams.frames = b"", FakeFrames([b"data: [DONE]\n\n"])
        assert (await world.ask(stream=True)).status_code == 200
        world.upstreams.outcome = ANSWER
        assert (await world.ask()).status_code == 200


async def test_a_key_that_may_not_use_direct_mode_gets_the_network_for_auto() -> None:
    async with keyed() as world:
        restricted = Restrictions(("opengpu.openai.relay/both",))
        key, _ = await world.ring.create(NewKey("network", "acme", "pro", restrictions=restricted))
        assert (await world.ask(key)).json()["mode"] == "opengpu"
        assert (await world.ask(world.ordinary)).json()["mode"] == "direct"
        for fields in ({"mode": "direct"}, {"stream": True}, {"model": "relay/network"}):
            denied = await world.ask(key, **fields)
            assert code(denied) == (403, "SCOPE_DENIED")
            assert denied.json()["error"]["type"] == "authorization"


async def test_a_key_wins_over_the_address_and_x_api_key_over_bearer() -> None:
    async with keyed({"guest": {"direct": 1}, "basic": {"direct": 1}, "pro": {"direct": 1}}) as world:
        for headers in ({}, {"Authorization": f"Bearer {world.ordinary}"}):
            assert (await world.ask(headers=headers)).status_code == 200
            assert code(await world.ask(headers=headers))[0] == 429
        both = {"X-API-Key": world.superkey, "Authorization": f"Bearer {world.ordinary}"}
        assert (await world.ask(headers=both)).status_code == 200


async def test_guests_behind_a_trusted_proxy_have_limits_of_their_own() -> None:
    async with keyed({"guest": {"direct": 1}}, PROXIES, peer="10.0.0.9") as world:
        for client in ("192.0.2.1", "192.0.2.2"):
            forwarded = {"X-Forwarded-For": f"203.0.113.7, {client}"}  # the left one is the client's own claim
            assert (await world.ask(headers=forwarded)).status_code == 200
            forged = {"X-Forwarded-For": f"198.51.100.1, {client}, 10.1.1.1"}
            assert code(await world.ask(headers=forged)) == (429, "RATE_LIMITED")


async def test_nobody_else_is_believed() -> None:
    async with keyed({"guest": {"direct": 1}}, peer="192.0.2.1") as world:
        assert (await world.ask(headers={"X-Forwarded-For": "198.51.100.1"})).status_code == 200
        assert code(await world.ask(headers={"X-Forwarded-For": "198.51.100.2"}))[0] == 429


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["1.1.1.1"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", ["192.0.2.1:5555"], "192.0.2.1"),
        ("10.0.0.1", ["8.8.8.8, 192.0.2.1,10.0.0.2"], "192.0.2.1"),
        ("10.0.0.1", ["8.8.8.8", "192.0.2.1", "10.0.0.2"], "192.0.2.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["192.0.2.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"),
        ("fd00::1", ["2001:db8:1:2::9"], "2001:db8:1:2::/64"),
        ("fd00::1", ["[2001:db8:1:2::9]:443"], "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", ["::ffff:192.0.2.1"], "192.0.2.1"),
        ("fe80::1%eth0", [], "fe80::/64"),
        (None, ["192.0.2.1"], "unknown"),
    ],
)
def test_where_a_request_comes_from(peer: str | None, forwarded: list[str], address: str) -> None:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    scope: dict[str, Any] = {"client": (peer, 1) if peer else None, "headers": headers}
    assert Origins(PROXIES).address(scope) == address


@pytest.mark.parametrize(
    ("span", "text"),
    [(0, "0s"), (0.0000001, "1ms"), (0.12, "120ms"), (1, "1s"), (7.5, "7.5s"), (59.9991, "1m0s"), (60, "1m0s"),
     (61.5, "1m1.5s")],
)  # fmt: skip
def test_durations_as_openai_writes_them(span: float, text: str) -> None:
    assert duration(max(timedelta(seconds=span), timedelta(microseconds=span > 0))) == text
