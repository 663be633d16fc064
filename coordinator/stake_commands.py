"""`python -m coordinator stakes`: what the chain writer has read of the chain's stakes, and whom they let in."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from coordinator.commands import running
from coordinator.lifecycle.stake import Registry, Stake
from coordinator.protocol.amounts import coins
from coordinator.settings import Settings
from coordinator.store.stakes import Stakes


def add_to(commands: Any) -> None:
    parser = commands.add_parser("stakes", help="list what is staked on chain for which node")
    parser.set_defaults(run=_run)


def _run(settings: Settings, arguments: argparse.Namespace) -> int:
    async def lines(stakes: Stakes, _: argparse.Namespace) -> list[str]:
        return await _lines(stakes, settings.node_stake_wei)

    return running(lines, _part)(settings, arguments)


async def _lines(stakes: Stakes, asked_wei: int | None) -> list[str]:
    seen = await stakes.seen()
    if asked_wei is None:
        return ["stakes don't count: RELAY_NODE_STAKE_WEI is not set"]
    if seen is None:
        return ["the chain has not been read yet: python -m coordinator chain does it, with RELAY_NODE_STAKE_WEI set"]
    least = max(asked_wei, seen.registry.min_stake_wei)
    rows = [f"{node}  {_state(stake, least)}  by {stake.provider}" for node, stake in (await stakes.all()).items()]
    return [_head(seen.registry, least, seen.block), *rows]


def _head(registry: Registry, least: int, block: int) -> str:
    return f"registry {registry.address} on chain {registry.chain_id}, block {block}; least stake {coins(least)}"


def _state(stake: Stake, least: int) -> str:
    if stake.unbonds_at:
        return f"leaving   {coins(stake.wei)} from {datetime.fromtimestamp(stake.unbonds_at, UTC):%Y-%m-%dT%H:%M:%SZ}"
    if stake.wei == 0:
        return "withdrawn"
    return f"{'admitted ' if stake.suffices(least) else 'too small'} {coins(stake.wei)}"


def _part(redis: Any, settings: Settings) -> Stakes:
    return Stakes(redis)
