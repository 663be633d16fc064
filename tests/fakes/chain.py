"""A chain in memory, with the TaskRegistry's rules, that can be reorganised, rewound, cut off and made expensive.

The same contract tests run on it and on anvil with the real contracts (tests/integration/chain).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from eth_utils.crypto import keccak

from coordinator.chain.errors import ChainRejected, ChainUnavailable
from coordinator.chain.fees import GWEI
from coordinator.chain.items import Failure, Item, Kind, Leg, Opening, Settlement, code_bytes
from coordinator.chain.ports import Head, Place, Skip, TaskOnChain, TaskStatus, TxReceipt
from coordinator.protocol.hashing import TaskSpace, unhex

SPACE = TaskSpace(31337, "0x" + "1a" * 20, "0x" + "1b" * 20, "0x" + "c0" * 20)
# A settlement of this attempt number counts as badly signed: the fake checks no signatures.
FORGED_ATTEMPT = 666
_ITEMS = {Kind.OPEN: Opening, Kind.SETTLE: Settlement, Kind.FAIL: Failure}


class FakeSigner:
    address = SPACE.coordinator

    def sign(self, data: str, nonce: int, gas: int, max_fee: int, tip: int) -> tuple[str, str]:
        raw = json.dumps({"data": data, "nonce": nonce, "gas": gas, "max_fee": max_fee, "tip": tip})
        return raw, "0x" + keccak(text=raw).hex()

    def data_of(self, raw: str) -> str:
        return str(json.loads(raw)["data"])


@dataclass
class State:
    """What a block leaves behind."""

    nonce: int = 0
    deposit: int = 10**18
    tasks: dict[str, TaskOnChain] = field(default_factory=dict)
    credit: dict[str, int] = field(default_factory=dict)
    receipts: dict[str, TxReceipt] = field(default_factory=dict)
    # how often each task was truly opened and closed: never more than once, whatever happens
    writes: list[tuple[str, Leg]] = field(default_factory=list)
    places: dict[tuple[str, Leg], Place] = field(default_factory=dict)

    def copy(self) -> State:
        return State(
            self.nonce,
            self.deposit,
            dict(self.tasks),
            dict(self.credit),
            dict(self.receipts),
            list(self.writes),
            dict(self.places),
        )


@dataclass
class Block:
    hash: str
    after: State


class FakeChain:
    """Mines at once unless `automine` is off. `unreachable` refuses every call; `revert_next` reverts once."""

    def __init__(self) -> None:
        self.blocks = [Block(self._hash(0, 0), State())]
        self.mempool: dict[int, tuple[str, str]] = {}
        self.base_fee, self.suggested_tip, self.wealth = GWEI, GWEI, 10**22
        self.automine, self.unreachable, self.revert_next, self.refuse_all = True, False, False, False
        # anvil refuses what can't be mined at today's price, geth lets it wait
        self.picky = False
        self.checked, self.broadcasts, self.forks = 0, 0, 0
        self._sent: dict[int, tuple[str, str]] = {}

    # ── chain.ports.Chain ───────────────────────────────────────────────────

    async def close(self) -> None:
        return None

    async def check(self) -> None:
        self._reach()
        self.checked += 1

    async def head(self) -> Head:
        self._reach()
        return Head(len(self.blocks) - 1, self.blocks[-1].hash, self.base_fee)

    async def block_hash(self, number: int) -> str | None:
        self._reach()
        return self.blocks[number].hash if number < len(self.blocks) else None

    async def mined_nonce(self) -> int:
        self._reach()
        return self.state.nonce

    async def tip(self) -> int:
        self._reach()
        return self.suggested_tip

    async def balance(self) -> int:
        self._reach()
        return self.wealth

    async def deposit(self) -> int:
        self._reach()
        return self.state.deposit

    def task_address(self, task_key: str, request_hash: str) -> str:
        return SPACE.task_address(task_key, request_hash)

    def calldata(self, kind: Kind, items: Sequence[Item]) -> str:
        return json.dumps([kind, [asdict(item) for item in items]])

    async def broadcast(self, raw: str) -> None:
        self._reach()
        self.broadcasts += 1
        transaction, tx_hash = json.loads(raw), "0x" + keccak(text=raw).hex()
        self._admit(transaction, tx_hash)
        self.mempool[transaction["nonce"]] = (raw, tx_hash)
        if self.automine:
            self.mine()

    async def knows(self, tx_hash: str) -> bool:
        self._reach()
        return tx_hash in self.state.receipts or any(tx_hash == known for _, known in self.mempool.values())

    async def tx_receipt(self, tx_hash: str) -> TxReceipt | None:
        self._reach()
        return self.state.receipts.get(tx_hash)

    async def task(self, address: str) -> TaskOnChain:
        self._reach()
        return self.state.tasks.get(address, TaskOnChain(TaskStatus.NONE, bytes(32)))

    async def place_of(self, address: str, leg: Leg) -> Place | None:
        self._reach()
        return self.state.places.get((address, leg))

    # ── what happens to chains ──────────────────────────────────────────────

    @property
    def state(self) -> State:
        return self.blocks[-1].after

    def mine(self) -> None:
        """One block a transaction, as anvil does; those that pay too little, or whose turn it isn't, stay."""
        while (waiting := self.mempool.get(self.state.nonce)) is not None:
            transaction = json.loads(waiting[0])
            if transaction["max_fee"] < self.base_fee:
                return
            del self.mempool[self.state.nonce]
            self._execute(transaction, waiting[1])

    def mine_empty(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self._append(self.state.copy())

    def reorganise(self, depth: int, *, forget: bool) -> None:
        """The newest blocks are gone; their transactions return to the pool, or with `forget` to nowhere."""
        depth = min(depth, len(self.blocks) - 1)
        kept = self.blocks[: len(self.blocks) - depth]
        if not forget:
            self._return_to_pool(kept[-1].after)
        self.blocks = kept
        self.forks += 1
        self.mine_empty()

    def rewind(self, depth: int) -> None:
        """As a development chain killed and restored from an older file: blocks and pool are gone."""
        self.blocks = self.blocks[: max(1, len(self.blocks) - depth)]
        self.mempool = {}
        self.forks += 1

    def foreign_transaction(self) -> None:
        """Somebody else signs with the same key."""
        state = self.state.copy()
        self.mempool.pop(state.nonce, None)
        state.nonce += 1
        self._append(state)

    # ── the rules of a node and of the contract ─────────────────────────────

    def _reach(self) -> None:
        if self.unreachable:
            raise ChainUnavailable("the fake chain is cut off")

    def _admit(self, transaction: dict[str, int], tx_hash: str) -> None:
        if self.refuse_all:
            raise ChainRejected("no")
        if transaction["nonce"] < self.state.nonce:
            raise ChainRejected("nonce too low")
        if self.wealth < transaction["gas"] * transaction["max_fee"]:
            raise ChainRejected("insufficient funds")
        if self.picky and transaction["max_fee"] < self.base_fee:
            raise ChainRejected("max fee per gas less than block base fee")
        known = self.mempool.get(transaction["nonce"])
        if known is None:
            return
        if known[1] == tx_hash:
            raise ChainRejected("already known")
        if transaction["max_fee"] * 100 < json.loads(known[0])["max_fee"] * 110:
            raise ChainRejected("replacement transaction underpriced")

    def _return_to_pool(self, kept: State) -> None:
        gone = {r for r in self.state.receipts if r not in kept.receipts}
        for nonce, (raw, tx_hash) in self._sent.items():
            if tx_hash in gone:
                self.mempool.setdefault(nonce, (raw, tx_hash))

    def _execute(self, transaction: dict[str, str], tx_hash: str) -> None:
        self._sent[int(transaction["nonce"])] = (json.dumps(transaction), tx_hash)
        state = self.state.copy()
        state.nonce += 1
        name, rows = json.loads(transaction["data"])
        kind, outcomes = Kind(name), {}
        succeeded, self.revert_next = not self.revert_next, False
        block = len(self.blocks)
        if succeeded:
            for row in rows:
                item = _ITEMS[kind](**row)
                address = SPACE.task_address(item.task_key, item.request_hash)
                outcomes[address] = _apply(state, address, item)
                if outcomes[address] is None:
                    state.writes.append((address, kind.leg))
                    state.places[address, kind.leg] = Place(tx_hash, block)
        block_hash = self._hash(block, self.forks)
        state.receipts[tx_hash] = TxReceipt(tx_hash, block, block_hash, 60_000 * len(rows), succeeded, outcomes)
        self._append(state)

    def _append(self, state: State) -> None:
        self.blocks.append(Block(self._hash(len(self.blocks), self.forks), state))

    def _hash(self, number: int, fork: int) -> str:
        return "0x" + keccak(text=f"{number}/{fork}").hex()


def _apply(state: State, address: str, item: Item) -> Skip | None:
    """As TaskRegistry does it, in its order of checks."""
    known = state.tasks.get(address)
    if isinstance(item, Opening):
        if known is not None:
            return Skip.ALREADY_OPEN
        state.tasks[address] = TaskOnChain(TaskStatus.OPEN, bytes(32))
        return None
    if known is not None and known.status is not TaskStatus.OPEN:
        return Skip.ALREADY_SETTLED
    if known is None:
        return Skip.NOT_OPEN
    if isinstance(item, Failure):
        state.tasks[address] = TaskOnChain(TaskStatus.FAILED, code_bytes(item.code))
        return None
    if item.attempt == FORGED_ATTEMPT:
        return Skip.BAD_SIGNATURE
    if item.payment_wei > state.deposit:
        return Skip.INSUFFICIENT_DEPOSIT
    state.deposit -= item.payment_wei
    state.credit[item.node] = state.credit.get(item.node, 0) + item.payment_wei
    state.tasks[address] = TaskOnChain(TaskStatus.COMPLETED, unhex(item.response_hash))
    return None
