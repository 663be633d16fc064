"""`python -m coordinator stakes | slash`: what the chain writer has read of the chain's stakes; takes one."""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from coordinator.commands import address, running
from coordinator.lifecycle.stake import Registry, Stake
from coordinator.protocol.amounts import coins
from coordinator.settings import Settings, SettingsWrong
from coordinator.store.stakes import Stakes


def add_to(commands: Any) -> None:
    parser = commands.add_parser("stakes", help="list what is staked on chain for which node")
    parser.set_defaults(run=_run)
    slash = commands.add_parser("slash", help="take a part of a node's stake for the registry's treasury")
    slash.add_argument("node", type=address, metavar="NODE")
    slash.add_argument("--wei", type=_wei, required=True, metavar="N", help="how much of it")
    slash.add_argument("--reason", type=_reason, required=True, help="at most 32 ASCII characters; stands on chain")
    slash.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help="the slasher's key (default: RELAY_CHAIN_KEY_FILE; stop its writer)",
    )
    slash.set_defaults(run=_slash)


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


def _slash(settings: Settings, arguments: argparse.Namespace) -> int:
    from coordinator.chain.errors import ChainError, StartRefused
    from coordinator.chain.rpc import connect, disconnect
    from coordinator.chain.signer import read_key
    from coordinator.chain.slash import slash

    key_file = arguments.key_file or settings.chain_key_file
    if settings.node_registry is None or key_file is None:
        raise SettingsWrong("RELAY_NODE_REGISTRY and a key file: slashing needs both")

    async def take(registry: str) -> int:
        w3 = connect(settings.rpc_url)
        try:
            account = read_key(key_file, "--key-file" if arguments.key_file else "RELAY_CHAIN_KEY_FILE")
            return await slash(w3, account, registry, arguments.node, arguments.wei, arguments.reason)
        finally:
            await disconnect(w3)

    try:
        left = asyncio.run(take(settings.node_registry))
    except (ChainError, StartRefused) as error:
        raise SettingsWrong(str(error)) from None
    print(f"{coins(left)} left of the stake of {arguments.node}")  # noqa: T201 - the product of the command
    return 0


def _wei(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number of wei")
    return int(text)


def _reason(text: str) -> str:
    if not text.isascii() or not text.isprintable() or not 1 <= len(text) <= 32:
        raise argparse.ArgumentTypeError("must be 1 to 32 printable ASCII characters")
    return text


def _part(redis: Any, settings: Settings) -> Stakes:
    return Stakes(redis)
