"""Client keys: who they are of, what they may, how often."""

from __future__ import annotations

import pytest

from coordinator.catalogue import Catalogue
from coordinator.errors import InvalidApiKey
from coordinator.lifecycle.caller import Credential
from coordinator.lifecycle.keys import NewKey
from coordinator.store.keybook import KeyBook
from coordinator.store.keyring import KeyRing
from tests.unit.store.network import Network

TIERS = Catalogue({}, ()).tiers
LAPTOP = NewKey("laptop", "default", "basic")


async def test_a_key_is_known_by_its_hash_alone(network: Network) -> None:
    key, row = await KeyRing(network.redis).create(LAPTOP)
    caller = await KeyBook(network.redis, TIERS).identify(Credential(key, ""))
    assert (caller.id, caller.key_id, caller.account, caller.tier) == (row.key_id, row.key_id, "default", "basic")
    for name in await network.redis.keys("relay:key:*"):
        assert key.encode() not in name + b"".join((await network.redis.hgetall(name)).values())


@pytest.mark.parametrize("bad", ["", "relay_sk_", "relay_sk_" + "x" * 40, "sk-other", "relay_sk_\n" + "x" * 40])
async def test_a_bad_key_is_refused(network: Network, bad: str) -> None:
    with pytest.raises(InvalidApiKey):
        await KeyBook(network.redis, TIERS).identify(Credential(bad, ""))
