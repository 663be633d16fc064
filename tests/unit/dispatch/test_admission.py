"""The allow-list, stakes, and what a refused node's owner is told."""

from __future__ import annotations

import os
import time
from pathlib import Path

from structlog.testing import capture_logs

from coordinator.dispatch.admission import Admission, Admitted, AllowFile, ByStake, EveryKey, NeedsStake, Refused
from coordinator.lifecycle.stake import Registry, Seen, Stake
from coordinator.protocol.session import Admission as Rule
from tests.unit.store.network import node_address

A, B = node_address(1), node_address(2)


async def admits(admission: Admission, node: str) -> bool:
    return not isinstance(await admission.check(node), Refused)


async def test_listed_nodes_may_in_whatever_case_and_a_change_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "nodes.allow"
    path.write_text(f"# ours\n{A.lower()}  # first\n\nnonsense\n")
    allowed = AllowFile(path)
    assert await admits(allowed, A)
    verdict = await allowed.check(B)
    assert isinstance(verdict, Refused)
    assert B in verdict.remedy
    path.write_text(f"{B}\n")
    os.utime(path, ns=(1, 1))
    assert (await admits(allowed, A), await admits(allowed, B)) == (False, True)


async def test_a_lost_list_opens_nothing_and_is_told_once(tmp_path: Path) -> None:
    """At the start, and again only when it has been there since: nodes ask every two seconds."""
    path = tmp_path / "nodes.allow"
    with capture_logs() as logs:
        allowed = AllowFile(path)
        for _ in range(3):
            assert not await admits(allowed, A)
        assert [line["event"] for line in logs] == ["allow_file_lost"]
        path.write_text(A)
        assert await admits(allowed, A)
        path.unlink()
        for _ in range(3):
            assert not await admits(allowed, A)
    assert [line["event"] for line in logs] == ["allow_file_lost"] * 2


async def test_a_list_that_changes_within_a_tick_of_the_clock_is_read_again(tmp_path: Path) -> None:
    """A program that writes it empties it first: both may bear one time, and a heartbeat may come between them."""
    path = tmp_path / "nodes.allow"
    allowed = AllowFile(path)
    for text, admitted in (("", False), (f"{A}\n", True), (f"# {A}\n", False)):
        path.write_text(text)
        os.utime(path, ns=(1, 1))
        assert await admits(allowed, A) == admitted
    other = tmp_path / "other"
    other.write_text(f"{A} #\n")
    assert other.stat().st_size == path.stat().st_size
    os.utime(other, ns=(1, 1))
    other.rename(path)
    assert await admits(allowed, A)


async def test_a_list_that_is_none_opens_nothing(tmp_path: Path) -> None:
    """And is no error to the node that asks."""
    assert not await admits(AllowFile(tmp_path), A)
    assert not await admits(AllowFile(tmp_path / "file" / "in-a-file"), A)
    path = tmp_path / "nodes.allow"
    path.write_bytes(b"\xff\xfe\n" + A.encode())
    assert await admits(AllowFile(path), A)


async def test_without_a_list_every_key_may() -> None:
    assert await admits(EveryKey(), A)


ETH = 10**18
REGISTRY = Registry(31337, node_address(9), min_stake_wei=ETH // 100, unbonding_seconds=604_800)


class Book:
    """Stands in for the store's copy of the chain."""

    def __init__(self, stake: Stake | None, *, read: bool = True) -> None:
        self._stake, self._seen = stake, Seen(REGISTRY, 5, "0x01") if read else None

    async def look_up(self, node: str) -> tuple[Seen | None, Stake | None]:
        return self._seen, self._stake


async def remedy(stake: Stake | None, least: int = ETH, *, read: bool = True) -> str:
    """What a refused node's owner is told; empty for an admitted one."""
    verdict = await ByStake(least, Book(stake, read=read)).check(A)
    return verdict.remedy if isinstance(verdict, Refused) else ""


async def test_what_is_staked_decides() -> None:
    assert await remedy(Stake(B, ETH)) == ""
    assert "0.3 ETH of 1 ETH is staked: run python -m node add-stake" in await remedy(Stake(B, 3 * ETH // 10))
    assert f"--stake-wei {7 * ETH // 10}." in await remedy(Stake(B, 3 * ETH // 10))
    register = f"run python -m node register --provider-key FILE --stake-wei {ETH}"
    assert f"is not registered on chain. Its provider stakes 1 ETH for it: {register}" in await remedy(None)
    assert "has no stake any more" in await remedy(Stake(B, 0))
    assert f"(Node {A}, registry {REGISTRY.address} on chain 31337.)" in await remedy(None)


async def test_a_stake_on_its_way_out_does_not_count() -> None:
    assert "is being withdrawn" in await remedy(Stake(B, ETH, 5))
    assert "which is possible now" in await remedy(Stake(B, ETH, 5))
    assert "which is possible in 72 h" in await remedy(Stake(B, ETH, int(time.time()) + 3 * 86_400 - 5))


async def test_the_stricter_of_operator_and_contract_counts() -> None:
    assert await remedy(Stake(B, ETH // 100), least=0) == ""
    assert "of 0.01 ETH is staked" in await remedy(Stake(B, ETH // 100 - 10**9), least=0)


async def test_nobody_is_let_in_before_the_chain_was_read() -> None:
    assert "has not read the chain's stakes yet" in await remedy(Stake(B, ETH), read=False)


async def test_list_or_stake(tmp_path: Path) -> None:
    path = tmp_path / "nodes.allow"
    path.write_text(A)
    either = ByStake(ETH, Book(None), AllowFile(path))
    assert (either.rule, ByStake(ETH, Book(None)).rule) == (Rule.LIST_OR_STAKE, Rule.STAKE)
    assert await admits(either, A)
    assert not await admits(either, B)
    assert (either.at_once(A), either.at_once(B)) == (Admitted(), NeedsStake(ETH))
