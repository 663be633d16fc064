"""Client keys."""

from __future__ import annotations

import pytest

from coordinator.errors import InvalidApiKey
from coordinator.store.keybook import KeyBook
from tests.unit.store.network import Network


async def test_a_key_is_known_by_its_hash_alone(network: Network) -> None:
    book = KeyBook(network.redis)
    key = await book.create("laptop")
    assert (await book.caller(key)).startswith("key_")
    for name in await network.redis.keys("*"):
        assert key.encode() not in name + b"".join((await network.redis.hgetall(name)).values())


@pytest.mark.parametrize("bad", ["", "relay_sk_", "relay_sk_" + "x" * 40, "sk-other", "relay_sk_\n" + "x" * 40])
async def test_a_bad_key_is_refused(network: Network, bad: str) -> None:
    with pytest.raises(InvalidApiKey):
        await KeyBook(network.redis).caller(bad)
