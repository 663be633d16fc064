"""What was used and what is left, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.api.shop import CREDITS, MODEL, RICH, USAGE, Shop, opened


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = await opened(enabled=True)
    yield shop
    await shop.close()


async def test_a_superkey_sees_its_account_and_a_key_itself(shop: Shop) -> None:
    await shop.purse.credit("acme", 10**9)
    for key in (shop.key, shop.boss, shop.boss):
        assert (await shop.ask(key=key)).status_code == 200
    report = (await shop.get(USAGE)).json()
    assert report["total"] == {"requests": 3, "input_tokens": 9, "output_tokens": 6, "cost": "0.000036"}
    assert [row["requests"] for row in report["usage"]] in ([1, 2], [2, 1])
    row = next(row for row in report["usage"] if row["key_id"] == shop.key_id)
    today = datetime.now(UTC).date().isoformat()
    named = {"day": today, "key_id": shop.key_id, "model": f"openai.{MODEL}", "mode": "direct"}
    assert row == named | {"requests": 1, "input_tokens": 3, "output_tokens": 2, "cost": "0.000012"}
    grouped = (await shop.get(USAGE, group_by="mode,model")).json()["usage"]
    assert grouped == [{"model": f"openai.{MODEL}", "mode": "direct", **report["total"]}]
    mine = (await shop.get(USAGE, key=shop.key)).json()
    assert mine["usage"] == [row] == (await shop.get(USAGE, key_id=shop.key_id)).json()["usage"]
    credits = (await shop.get(CREDITS)).json()
    sums = {"paid": "1", "left": "0.999964", "held": "0", "spent": "0.000036"}
    assert (credits["billing"], credits["credits"]) == (True, sums)
    own = {"key_id": shop.key_id, "budget": None, "left": None, "held": "0", "spent": "0.000012"}
    assert (await shop.get(CREDITS, key=shop.key)).json() == {**credits, "credits": None, "key": own}
    await shop.ring.top_up("acme", shop.key_id, 8_000)
    key = (await shop.get(CREDITS, key=shop.key)).json()["key"]
    assert (key["budget"], key["left"]) == ("0.00002", "0.000008")


async def test_usage_of_other_days_and_other_keys(shop: Shop) -> None:
    await shop.purse.credit("acme", RICH)
    await shop.ask()
    today = datetime.now(UTC).date()
    yesterday = (today - timedelta(1)).isoformat()
    assert (await shop.get(USAGE, to=yesterday)).json()["usage"] == []
    assert len((await shop.get(USAGE, **{"from": yesterday})).json()["usage"]) == 1
    assert (await shop.get(USAGE, key_id="key_" + "0" * 16)).json()["usage"] == []
    reply = await shop.get(USAGE, key=shop.key, key_id="key_" + "0" * 16)
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "CREDENTIAL_NOT_PERMITTED")


@pytest.mark.parametrize(
    "params",
    [
        {"from": "2026-01-02", "to": "2026-01-01"},
        {"from": "2024-01-01", "to": "2026-01-01"},
        {"from": "yesterday"},
        {"to": "0001-01-01"},
        {"to": "9999-12-31"},
        {"group_by": "account"},
        {"group_by": ""},
        {"key_id": "relay"},
    ],
)
async def test_what_makes_no_sense_is_422(shop: Shop, params: dict[str, str]) -> None:
    assert (await shop.get(USAGE, **params)).status_code == 422


async def test_guests_have_neither(shop: Shop) -> None:
    for path in (USAGE, CREDITS):
        reply = await shop.client.get(path)
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "MISSING_CREDENTIALS")
