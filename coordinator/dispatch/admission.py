"""Which node keys may sign in, and what the owner of one that may not can do about it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog
from eth_utils.address import is_hex_address, to_checksum_address

from coordinator.lifecycle.stake import Seen, Stake
from coordinator.protocol.amounts import coins
from coordinator.protocol.session import Admission as Rule

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Admitted:
    """May sign in, and work."""


@dataclass(frozen=True, slots=True)
class Refused:
    """`remedy`: whole sentences for the node's operator: what is wrong, and what to do."""

    remedy: str


@dataclass(frozen=True, slots=True)
class NeedsStake:
    """Admitted while the chain, as mirrored in the store, has at least so much staked for the node, in wei."""

    wei: int


class Admission(Protocol):
    """`check` decides. `at_once` is for heartbeats: what needs no store is decided, and what does is left to the
    heartbeat's own script, so that a heartbeat is one round trip; a node refused there is told what `check` says.
    """

    @property
    def rule(self) -> Rule: ...

    @property
    def stake_wei(self) -> int | None:
        """The least stake that the operator asks for; None where stakes don't count."""

    def at_once(self, node: str) -> Admitted | Refused | NeedsStake: ...

    async def check(self, node: str) -> Admitted | Refused:
        """Raises StoreUnavailable."""


class EveryKey:
    """An open network: whoever signs a challenge may work."""

    rule, stake_wei = Rule.OPEN, None

    def at_once(self, node: str) -> Admitted:
        return Admitted()

    async def check(self, node: str) -> Admitted:
        return Admitted()


class AllowFile:
    """One address a line, `#` starts a comment. Read again when it changes, so that no restart is needed."""

    rule, stake_wei = Rule.LIST, None

    def __init__(self, path: Path) -> None:
        self._path, self._read, self._nodes, self._lost = path, (0, 0, 0), frozenset[str](), ""
        self._look()

    def at_once(self, node: str) -> Admitted | Refused:
        if self.lists(node):
            return Admitted()
        return Refused(f"The coordinator's operator has not admitted this node. Ask for {node} to be put on the list.")

    async def check(self, node: str) -> Admitted | Refused:
        return self.at_once(node)

    def lists(self, node: str) -> bool:
        """False for everybody while the file can't be read: a lost list must not open the network."""
        return self._look() and node in self._nodes

    def _look(self) -> bool:
        """Whether it could be read; what is wrong with it is said once."""
        try:
            now = self._path.stat()
            # its time alone would not do: what empties a file and writes it does both within a tick of the clock
            if (version := (now.st_mtime_ns, now.st_size, now.st_ino)) != self._read:
                self._nodes, self._read = self._parse(), version
        except OSError as error:
            why = error.strerror or type(error).__name__
            if why != self._lost:
                remedy = "let the coordinator read it, or unset RELAY_NODE_ALLOW_FILE"
                log.error("allow_file_lost", path=str(self._path), why=why, remedy=remedy)
            self._lost = why
            return False
        self._lost = ""
        return True

    def _parse(self) -> frozenset[str]:
        words = (line.split("#", 1)[0].strip() for line in self._path.read_text(errors="replace").splitlines())
        nodes = set()
        for word in filter(None, words):
            if is_hex_address(word):
                nodes.add(to_checksum_address(word))
            else:
                log.error("allow_file_line_ignored", path=str(self._path), remedy="0x and 40 hexadecimal digits a line")
        return frozenset(nodes)


class StakeBook(Protocol):
    """Where the chain writer leaves what it has read."""

    async def look_up(self, node: str) -> tuple[Seen | None, Stake | None]: ...


class ByStake:
    """Nodes registered on chain with at least `stake_wei`, and those on the operator's list where there is one."""

    def __init__(self, stake_wei: int, stakes: StakeBook, listed: AllowFile | None = None) -> None:
        self.stake_wei: int | None = stake_wei
        self._least, self._stakes, self._listed = stake_wei, stakes, listed

    @property
    def rule(self) -> Rule:
        return Rule.LIST_OR_STAKE if self._listed else Rule.STAKE

    def at_once(self, node: str) -> Admitted | NeedsStake:
        return Admitted() if self._listed and self._listed.lists(node) else NeedsStake(self._least)

    async def check(self, node: str) -> Admitted | Refused:
        if isinstance(self.at_once(node), Admitted):
            return Admitted()
        seen, stake = await self._stakes.look_up(node)
        if seen is None:
            return Refused("The coordinator has not read the chain's stakes yet, which its chain writer does. Wait.")
        least = max(self._least, seen.registry.min_stake_wei)
        if stake is not None and stake.suffices(least):
            return Admitted()
        why = _shortfall(stake, least)
        listed = " Or ask the coordinator's operator to put it on the list." if self._listed else ""
        return Refused(
            f"{why} (Node {node}, registry {seen.registry.address} on chain {seen.registry.chain_id}.){listed}"
        )


def _shortfall(stake: Stake | None, least: int) -> str:
    """What is wrong and what its provider does about it; of a stake that doesn't suffice."""
    register = f"python -m node register --provider-key FILE --stake-wei {least}"
    if stake is None:
        return f"The node is not registered on chain. Its provider stakes {coins(least)} for it: run {register}."
    if stake.unbonds_at:
        left = max(stake.unbonds_at - time.time(), 0)
        wait = f"in {_hours(left)}" if left else "now"
        return (
            f"The node's stake of {coins(stake.wei)} is being withdrawn, so it may not work. To come back: "
            f"run python -m node withdraw --provider-key FILE, which is possible {wait}, then {register}."
        )
    if stake.wei == 0:
        return f"The node has no stake any more. Its provider registers it again: run {register}."
    missing = least - stake.wei
    return (
        f"The node is registered, but {coins(stake.wei)} of {coins(least)} is staked: "
        f"run python -m node add-stake --provider-key FILE --stake-wei {missing}."
    )


def _hours(seconds: float) -> str:
    minutes = -(-seconds // 60)
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"
