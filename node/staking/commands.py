"""`python -m node register | add-stake | unbond | withdraw | stake | collect | consent`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eth_utils.address import is_hex_address, to_checksum_address

from coordinator.protocol.ids import SIGNATURE
from node.identity import Identity, load_key
from node.staking.errors import Interrupted, Refused, StakingError
from node.staking.settings import StakingSettings, load_staking_settings, needed

if TYPE_CHECKING:  # web3 takes a second to import, which `python -m node --help` need not wait for
    from eth_account.signers.local import LocalAccount

    from node.staking.chain import EvmNode
    from node.staking.place import Place
    from node.staking.registry import NodeRegistry

_FAILED, _INTERRUPTED = 1, 130


def add_to(commands: Any) -> None:
    """The commands of a provider, beside those of a node."""
    register = _command(commands, "register", "register the node on chain with a stake", _register, pays=True)
    _amount(register, "what to stake (default: what the coordinator asks for)")
    register.add_argument(
        "--consent", type=_signature, metavar="SIGNATURE", help="as `consent` printed it on the node's machine"
    )
    add = _command(commands, "add-stake", "add to the node's stake", _add_stake, pays=True)
    _amount(add, "what to add (default: what is missing)")
    _command(commands, "unbond", "begin to take the stake back: the node stops working", _unbond, pays=True)
    _command(commands, "withdraw", "take the stake back, once its delay is over", _withdraw, pays=True)
    _command(commands, "stake", "show what is staked for the node; status 0 when it suffices", _stake)
    _command(commands, "collect", "pay out what the node has earned to its provider", _collect, pays=True)
    consent = commands.add_parser("consent", help="on the node's machine: let a provider's cold key register it")
    consent.add_argument("--provider", type=_address, required=True, metavar="ADDRESS", help="whose stake it will be")
    _registry(consent)
    consent.set_defaults(command=partial(_run, _consent))


def _command(commands: Any, name: str, what: str, step: Step, *, pays: bool = False) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=what)
    if pays:
        parser.add_argument(
            "--provider-key",
            type=Path,
            required=True,
            metavar="FILE",
            help="hex of mode 0600, or an encrypted keystore",
        )
    parser.add_argument("--node", type=_address, metavar="ADDRESS", help="which node (default: that of NODE_KEY_FILE)")
    _registry(parser)
    parser.set_defaults(command=partial(_run, step))
    return parser


def _registry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--registry", type=_address, metavar="ADDRESS", help="default: the one the coordinator names")
    parser.add_argument("--chain-id", type=int, metavar="N", help="which chain it must be")


def _amount(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--stake-wei", type=_wei, metavar="N", help=what)


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command works with."""

    asked: argparse.Namespace
    settings: StakingSettings
    place: Place

    def node(self) -> str:
        if getattr(self.asked, "node", None):
            return str(self.asked.node)
        return self.identity("the node's key file; or name its address by --node").address

    def identity(self, remedy: str = "the node's key file") -> Identity:
        return load_key(needed(self.settings.key_file, "key_file", remedy))

    def account(self) -> LocalAccount:
        from node.staking.account import load_account

        return load_account(self.asked.provider_key, self.settings.provider_password_file)


Step = Callable[[Desk], Awaitable[int]]


def _run(step: Step, asked: argparse.Namespace) -> int:
    """0 when all went well, 1 or 130 (Ctrl-C) with the reason on stderr. Raises SettingsError, KeyFileError."""
    from node.staking.words import in_words

    async def work() -> int:
        from node.staking.place import find_place

        settings = load_staking_settings()
        place = await find_place(settings, asked.registry, asked.chain_id)
        if place.remark and hasattr(asked, "stake_wei"):  # what pays in
            _say(place.remark)
        return await step(Desk(asked, settings, place))

    status = _FAILED
    try:
        return asyncio.run(work())
    except Refused as refusal:
        said = in_words(refusal)
    except StakingError as error:
        said, status = str(error), _INTERRUPTED if isinstance(error, Interrupted) else _FAILED
    print(said, file=sys.stderr)  # noqa: T201 - the command's answer
    return status


async def _on_chain(desk: Desk, step: Callable[[NodeRegistry], Awaitable[Any]]) -> Any:
    from node.staking.registry import NodeRegistry

    async with _chain(desk) as chain:
        return await step(await NodeRegistry.open(chain, desk.place.registry, desk.place.chain_id))


@asynccontextmanager
async def _chain(desk: Desk) -> AsyncIterator[EvmNode]:
    from node.staking.chain import EvmNode

    chain = EvmNode(needed(desk.settings.rpc_url, "rpc_url", "an EVM JSON-RPC endpoint of the chain, that you trust"))
    try:
        yield chain
    finally:
        await chain.close()


async def _register(desk: Desk) -> int:
    from node.staking import steps

    account, node = desk.account(), desk.node()

    async def step(registry: NodeRegistry) -> None:
        consented = desk.asked.consent or _own_consent(desk, registry, account.address, node)
        asked, least = desk.asked.stake_wei, desk.place.stake_wei
        await steps.register(registry, account, node, consented, asked, least, _say)

    await _on_chain(desk, step)
    return 0


def _own_consent(desk: Desk, registry: NodeRegistry, provider: str, node: str) -> str:
    from node.staking import steps

    identity = desk.identity("the node's key file; without it, pass its --consent")
    if identity.address != node:
        raise StakingError(
            f"NODE_KEY_FILE is the key of {identity.address}, not of {node}: pass that node's --consent."
        )
    return steps.consent(identity, registry.chain_id, registry.address, provider)


async def _add_stake(desk: Desk) -> int:
    from node.staking import steps

    account, node = desk.account(), desk.node()
    least = desk.place.stake_wei
    await _on_chain(desk, lambda registry: steps.add_stake(registry, account, node, desk.asked.stake_wei, least, _say))
    return 0


async def _unbond(desk: Desk) -> int:
    from node.staking import steps

    account, node = desk.account(), desk.node()
    await _on_chain(desk, lambda registry: steps.unbond(registry, account, node, _say))
    return 0


async def _withdraw(desk: Desk) -> int:
    from node.staking import steps

    account, node = desk.account(), desk.node()
    await _on_chain(desk, lambda registry: steps.withdraw(registry, account, node, _say))
    return 0


async def _collect(desk: Desk) -> int:
    """`--registry` is the TaskRegistry here: it holds what nodes earn."""
    from node.staking import steps
    from node.staking.registry import TaskRegistry

    account, node, place = desk.account(), desk.node(), desk.place
    async with _chain(desk) as chain:
        registry = await TaskRegistry.open(chain, place.task_registry or place.registry, place.chain_id)
        await steps.collect(registry, account, node, _say)
    return 0


async def _stake(desk: Desk) -> int:
    from node.staking import steps

    node = desk.node()
    enough = await _on_chain(desk, lambda registry: steps.show(registry, node, desk.place.stake_wei, _say))
    return 0 if enough else _FAILED


async def _consent(desk: Desk) -> int:
    """The signature alone on stdout, to be piped; the rest for people."""
    from node.staking import steps

    if desk.place.chain_id is None:
        raise StakingError("With --registry, say which chain it is on by --chain-id.")
    identity = desk.identity()
    _say(steps.consent(identity, desk.place.chain_id, desk.place.registry, desk.asked.provider))
    print(  # noqa: T201 - the command's answer
        f"on the provider's machine: python -m node register --provider-key FILE --node {identity.address} "
        f"--registry {desk.place.registry} --chain-id {desk.place.chain_id} --stake-wei N --consent (the above)",
        file=sys.stderr,
    )
    return 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the command's answer


def _address(text: str) -> str:
    if not is_hex_address(text):
        raise argparse.ArgumentTypeError("must be an address: 0x and 40 hexadecimal digits")
    return to_checksum_address(text)


def _signature(text: str) -> str:
    if not SIGNATURE.fullmatch(text):
        raise argparse.ArgumentTypeError("must be a signature: 0x and 130 hexadecimal digits")
    return text


def _wei(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number of wei, 10^18 of which are 1 ETH")
    return int(text)
