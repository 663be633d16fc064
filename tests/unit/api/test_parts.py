"""The small parts on their own: reading a body, noticing a hang-up, keeping direct calls, an answer's own fields."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive

from coordinator.api import keeping
from coordinator.api.answers import with_own_fields
from coordinator.api.app import create_app
from coordinator.api.body import read_body
from coordinator.api.hangup import ClientGone, HangUp
from coordinator.api.keeping import Keeper
from coordinator.errors import InvalidRequest, StoreUnavailable
from coordinator.lifecycle.order import Order
from coordinator.protocol.ids import new_task_id
from tests.fakes.relay import FakeClaims, FakeKeyBook, FakeRelay, FakeUpstreams
from tests.unit.api.conftest import CHAT, asking, catalogue

ORDER = Order("direct", "relay/both", b"{}", "guest")
GONE: Message = {"type": "http.disconnect"}


def chunks(*parts: bytes, then: Message | None = None) -> Receive:
    """A client that sends `parts`, the last of them as the end unless `then` comes after it."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if then is None:
        messages[-1]["more_body"] = False
    else:
        messages.append(dict(then))
    rest = iter(messages)

    async def receive() -> Message:
        return next(rest)

    return receive


async def test_a_body_in_one_part_or_many() -> None:
    assert await read_body([], chunks(b"abc"), 3) == b"abc"
    assert await read_body([], chunks(b"a", b"", b"bc"), 3) == b"abc"
    assert await read_body([], chunks(b""), 3) == b""


@pytest.mark.parametrize("parts", [(b"abcd",), (b"a", b"bcd"), (b"abcd", b"e" * 9, b"f")])
async def test_a_body_above_the_limit_is_read_to_its_end_and_refused(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(InvalidRequest, match="3 bytes") as caught:
        await read_body([], chunks(*parts), 3)
    assert caught.value.status == 413


async def test_a_client_that_asks_first_is_refused_before_it_sends() -> None:
    headers = [(b"expect", b"100-continue"), (b"content-length", b"9")]

    async def receive() -> Message:
        raise AssertionError("nothing may be read")

    with pytest.raises(InvalidRequest):
        await read_body(headers, receive, 3)


async def test_an_endless_body_is_not_read_for_ever() -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * 2**20, "more_body": True}

    with pytest.raises(InvalidRequest):
        await read_body([], receive, 3)


async def test_a_client_that_leaves_while_it_sends() -> None:
    with pytest.raises(ClientGone):
        await read_body([], chunks(b"a", then=GONE), 3)


async def test_a_hang_up_cancels() -> None:
    cancelled = asyncio.Event()

    async def serve() -> None:
        async with HangUp(chunks(b"", then=GONE)):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

    with pytest.raises(ClientGone):
        await serve()
    assert cancelled.is_set()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()  # and no cancellation is left behind
    await asyncio.sleep(0)


async def test_a_client_that_stays() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async with HangUp(receive):
        await asyncio.sleep(0)
    with pytest.raises(ZeroDivisionError):
        async with HangUp(receive):
            raise ZeroDivisionError


async def test_another_cancellation_is_not_taken_for_a_hang_up() -> None:
    async def serve() -> None:
        async with HangUp(asyncio.Event().wait):  # type: ignore[arg-type]
            await asyncio.Event().wait()

    task = asyncio.create_task(serve())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_kept_call_survives_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "_PAUSES_S", (0.0, 0.0))
    relay = FakeRelay()
    down = iter([True, True, False])
    keep = relay.keep

    async def shaky(*arguments: Any) -> None:
        if next(down):
            raise StoreUnavailable("down")
        await keep(*arguments)

    monkeypatch.setattr(relay, "keep", shaky)
    keeper = Keeper(relay)
    await keeper.keep(new_task_id("direct"), ORDER, datetime.now(UTC), b"{}")
    await keeper.drain()
    assert len(relay.kept) == 1


async def test_shutdown_stores_what_is_still_to_be_kept_before_anything_closes() -> None:
    relay, seen = FakeRelay(), []
    release = asyncio.Event()
    keep = relay.keep

    async def slow(*arguments: Any) -> None:
        await release.wait()
        await keep(*arguments)

    relay.keep = slow  # type: ignore[method-assign]

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield
        seen.append(len(relay.kept))

    app = create_app(
        relay, FakeKeyBook(), FakeClaims(), catalogue(), FakeUpstreams(), version="1", commit="c", lifespan=lifespan
    )
    async with app.app.router.lifespan_context(app.app):  # type: ignore[attr-defined]
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://relay") as client:
            assert (await client.post(CHAT, json=asking(mode="direct"))).status_code == 200
        asyncio.get_running_loop().call_later(0.01, release.set)
    assert seen == [1]


_KEYS = st.sampled_from(["id", "mode", "task_id", "task_address", "choices", "modes"])
_FIELDS = st.dictionaries(_KEYS, st.text(max_size=5) | st.lists(st.just({"mode": "x"}), max_size=2), max_size=6)


@given(fields=_FIELDS, indent=st.booleans(), space=st.sampled_from([b"", b" ", b"\n\r\t "]))
def test_own_fields_are_set_into_any_answer(fields: dict[str, Any], indent: bool, space: bytes) -> None:
    answer = orjson.dumps(fields, option=orjson.OPT_INDENT_2 if indent else 0)
    told = with_own_fields(space + answer + space, "direct:1", None, "direct")
    assert orjson.loads(told) == fields | {"task_id": "direct:1", "task_address": None, "mode": "direct"}
    assert list(orjson.loads(told))[-3:] == ["task_id", "task_address", "mode"]
    if not fields.keys() & {"task_id", "task_address", "mode"}:
        assert answer[:-1].rstrip() in told
