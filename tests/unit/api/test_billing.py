"""What calls cost, from the request to the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest

from coordinator.errors import StoreUnavailable, UpstreamError
from coordinator.lifecycle.keys import NewKey
from coordinator.lifecycle.usage import Balance
from tests.fakes.relay import FakeFrames
from tests.fakes.upstream import DONE, chunk, usage_chunk
from tests.unit.api.conftest import CHAT, asking
from tests.unit.api.shop import COST, CREDITS, MODEL, RICH, USAGE, Shop, opened


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = await opened(enabled=True)
    yield shop
    await shop.close()


async def test_a_call_is_charged_before_it_is_answered(shop: Shop) -> None:
    await shop.purse.credit("acme", RICH)
    reply = await shop.ask()
    assert reply.status_code == 200
    [charge] = await shop.charges()
    assert (charge.nano, charge.task_id, charge.key_id) == (COST, reply.json()["task_id"], shop.key_id)
    assert (charge.model, charge.mode) == (f"openai.{MODEL}", "direct")
    assert await shop.balance() == Balance(RICH, RICH - COST, 0, COST)


async def test_what_is_not_affordable_is_402_and_reaches_nobody(shop: Shop) -> None:
    for streamed in (False, True):
        reply = await shop.ask(stream=streamed)
        assert reply.status_code == 402
        assert "US dollars" in reply.json()["error"]["message"]
    assert (await shop.ask()).json()["error"]["code"] == "INSUFFICIENT_CREDITS"
    assert shop.upstreams.calls == []
    await shop.purse.credit("acme", RICH)
    poor, _ = await shop.ring.create(NewKey("poor", "acme", "pro", budget_nano=10_000))
    reply = await shop.ask(key=poor)
    assert (reply.status_code, reply.json()["error"]["code"]) == (402, "KEY_BUDGET_EXHAUSTED")
    assert reply.headers["x-request-id"] == reply.json()["error"]["request_id"]
    assert (await shop.ask(key=poor, max_tokens=1)).status_code == 402  # the prompt alone is too dear


async def test_max_tokens_bounds_what_is_set_aside_as_the_context_does(shop: Shop) -> None:
    reply = await shop.ask()
    assert f"{shop.upstreams.calls}" == "[]"
    sent = len(orjson.dumps({name: value for name, value in asking(model=MODEL).items()}))
    assert _dollars(reply) == sent * 2000 + 1000 * 3000
    two = {"max_tokens": 5, "n": 2}
    sent = len(orjson.dumps(asking(model=MODEL, **two)))
    assert _dollars(await shop.ask(**two)) == sent * 2000 + 2 * 5 * 3000


def _dollars(reply: httpx.Response) -> int:
    message = reply.json()["error"]["message"]
    return round(float(message.partition("up to ")[2].partition(" US")[0]) * 10**9)


async def test_a_failure_costs_nothing_and_a_retry_finds_the_money(shop: Shop) -> None:
    await shop.purse.credit("acme", RICH)
    shop.upstreams.outcome = UpstreamError("It broke.")
    for streamed in (False, True):
        assert (await shop.ask(stream=streamed)).status_code == 502
        assert await shop.balance() == Balance(RICH, RICH, 0, 0)
    assert await shop.charges() == []


async def test_guests_are_never_charged(shop: Shop) -> None:
    reply = await shop.client.post(CHAT, json=asking(model=MODEL))
    assert reply.status_code == 200
    assert await shop.redis.keys("relay:usage:*") == []


async def test_without_billing_nothing_is_refused_and_all_is_counted() -> None:
    shop = await opened(enabled=False)
    assert (await shop.ask()).status_code == 200
    shop.upstreams.frames = FakeFrames([chunk("Hello"), usage_chunk(), DONE])
    assert (await shop.ask(stream=True)).status_code == 200
    async with asyncio.timeout(5):
        while (total := (await shop.get(USAGE)).json()["total"])["requests"] < 2:
            await asyncio.sleep(0.005)
    assert total == {"requests": 2, "input_tokens": 6, "output_tokens": 4, "cost": "0"}
    assert (await shop.balance(), await shop.charges()) == (Balance(0, 0, 0, 0), [])
    assert (await shop.get(CREDITS)).json()["billing"] is False
    await shop.close()


async def test_a_stream_is_counted_by_the_upstream_and_charged_before_its_end(shop: Shop) -> None:
    await shop.purse.credit("acme", RICH)

    async def between() -> None:
        seen.append((await shop.balance()).spent)

    seen: list[int] = []
    shop.upstreams.frames = FakeFrames([chunk("Hello"), usage_chunk() + DONE], between)
    reply = await shop.ask(stream=True)
    assert reply.content == chunk("Hello") + DONE
    assert orjson.loads(shop.upstreams.calls[0][1])["stream_options"] == {"include_usage": True}
    assert seen[:2] == [0, 0]
    assert await shop.balance() == Balance(RICH, RICH - COST, 0, COST)


async def test_a_client_that_asks_for_the_count_sees_it(shop: Shop) -> None:
    await shop.purse.credit("acme", RICH)
    frames = [chunk("Hello"), usage_chunk(), DONE]
    shop.upstreams.frames = FakeFrames(list(frames))
    reply = await shop.ask(stream=True, stream_options={"include_usage": True})
    assert reply.content == b"".join(frames)
    assert (await shop.balance()).spent == COST


async def test_a_stream_without_a_count_is_charged_by_its_text(shop: Shop) -> None:
    await shop.purse.credit("acme", RICH)
    shop.upstreams.frames = FakeFrames([chunk("Hello"), chunk(" you"), DONE])
    sent = len(orjson.dumps(asking(model=MODEL, stream=True)))
    assert (await shop.ask(stream=True)).status_code == 200
    assert (await shop.balance()).spent == -(-sent // 4) * 2000 + 3 * 3000


async def test_llama_cpp_counts_each_choice_of_a_stream_for_itself(shop: Shop) -> None:
    await shop.purse.credit("acme", RICH)
    one = orjson.loads(usage_chunk().removeprefix(b"data: ")) | {"timings": {}}
    count = b"data: " + orjson.dumps(one) + b"\n\n"
    shop.upstreams.frames = FakeFrames([chunk("Hello"), count + chunk("you"), count, DONE])
    assert (await shop.ask(stream=True, n=2)).content == chunk("Hello") + chunk("you") + DONE
    assert (await shop.balance()).spent == 3 * 2000 + 4 * 3000


async def test_a_stream_that_fails_costs_nothing(shop: Shop) -> None:
    await shop.purse.credit("acme", RICH)
    error = b'data: {"error":{"message":"It broke.","type":"unavailable","code":502}}\n\n'
    shop.upstreams.frames = FakeFrames([chunk("Hello"), error])
    assert (await shop.ask(stream=True)).content == chunk("Hello") + error
    assert await shop.balance() == Balance(RICH, RICH, 0, 0)


async def hang_up(shop: Shop, at: int | asyncio.Event, **fields: Any) -> list[bytes]:
    """Asks, and is gone once `at` messages have come, or when it happens."""
    body, sent = orjson.dumps(asking(model=MODEL, **fields)), list[bytes]()
    gone = asyncio.Event() if isinstance(at, int) else at
    asked = iter([{"type": "http.request", "body": body}])

    async def receive() -> Any:
        for message in asked:
            return message
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        if len(sent) == at:
            gone.set()

    if at == 0:
        asyncio.get_running_loop().call_later(0.01, gone.set)
    headers = [(b"x-api-key", shop.key.encode()), (b"content-type", b"application/json")]
    place = {"path": CHAT, "raw_path": CHAT.encode(), "query_string": b"", "client": ("192.0.2.1", 1)}
    scope = {"type": "http", "method": "POST", "headers": headers, **place}
    await shop.app(scope, receive, send)
    return sent


async def test_a_client_that_hangs_up_pays_for_what_was_streamed(shop: Shop) -> None:
    await shop.purse.credit("acme", RICH)
    left = iter([b"Hello", b"you"])

    async def between() -> None:
        if next(left, None) is None:
            await asyncio.Event().wait()

    shop.upstreams.frames = FakeFrames([chunk("Hello"), chunk("you"), chunk("never"), DONE], between)
    await hang_up(shop, 3, stream=True)
    prompt = -(-len(orjson.dumps(asking(model=MODEL, stream=True))) // 4) * 2000
    assert (await shop.settled()).spent == prompt + 2 * 3000
    assert shop.upstreams.frames.closed


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_client_that_is_gone_before_the_answer_pays_nothing(shop: Shop, streamed: bool) -> None:
    await shop.purse.credit("acme", RICH)
    shop.upstreams.gate.clear()
    await hang_up(shop, 0, stream=streamed)
    assert shop.upstreams.cancelled.is_set()
    assert await shop.settled() == Balance(RICH, RICH, 0, 0)


async def test_a_store_that_is_down_at_the_end_is_told_later(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop.purse.credit("acme", RICH)
    settle, down = shop.purse.settle, iter([True])

    async def unlucky(*args: Any) -> None:
        if next(down, False):
            raise StoreUnavailable("gone for a moment")
        await settle(*args)

    monkeypatch.setattr(shop.purse, "settle", unlucky)
    shop.upstreams.frames = FakeFrames([chunk("Hello"), usage_chunk(), DONE])
    assert (await shop.ask(stream=True)).content.endswith(DONE)
    assert (await shop.settled()).spent == COST


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_a_lost_answer_may_have_set_aside_is_let_go(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    await shop.purse.credit("acme", RICH)
    reserve = shop.purse.reserve

    async def lost(*args: Any) -> None:
        await reserve(*args)
        raise StoreUnavailable("gone for a moment")

    monkeypatch.setattr(shop.purse, "reserve", lost)
    assert (await shop.ask(stream=streamed)).status_code == 503
    assert await shop.settled() == Balance(RICH, RICH, 0, 0)


async def test_hanging_up_at_the_last_moment_saves_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop.purse.credit("acme", RICH)
    settle, begun, gone = shop.purse.settle, asyncio.Event(), asyncio.Event()

    async def slow(*args: Any) -> None:
        begun.set()
        await gone.wait()
        await settle(*args)

    monkeypatch.setattr(shop.purse, "settle", slow)
    shop.upstreams.frames = FakeFrames([chunk("Hello"), usage_chunk() + DONE])
    async with asyncio.timeout(5):
        await hang_up(shop, begun, stream=True)
    gone.set()
    assert (await shop.settled()).spent == COST
