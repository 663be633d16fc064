"""Sends: collects what is due into batches, stores each before it is broadcast, and keeps at it until it is mined."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from coordinator.chain.batch import Batch, Member, Signed
from coordinator.chain.errors import ChainRejected
from coordinator.chain.fees import FeePolicy, Fees
from coordinator.chain.items import Item, Kind, Leg, MalformedRecord, Settlement, kind_of, read_item
from coordinator.chain.patience import Alarms, Patience
from coordinator.chain.policy import SendingPolicy
from coordinator.chain.ports import Chain, Entry, Head, Ledger, Outbox, Signer, Skip

log = structlog.get_logger(__name__)

# Measured: 62,500 gas an opening, 65,500 to 86,500 a settlement (contracts/snapshots); what isn't used isn't paid.
_GAS_BASE, _GAS_AN_ITEM = 60_000, 120_000
# EIP-7825 allows no transaction more.
_GAS_MOST = 2**24
_ITEMS_MOST = (_GAS_MOST - _GAS_BASE) // _GAS_AN_ITEM


class Sender:
    """`clock`: unix seconds."""

    def __init__(
        self,
        chain: Chain,
        signer: Signer,
        outbox: Outbox,
        *,
        fees: FeePolicy,
        policy: SendingPolicy,
        clock: Callable[[], float],
    ) -> None:
        self._chain, self._signer, self._outbox = chain, signer, outbox
        self._fees, self._policy, self._clock = fees, policy, clock
        self._broadcast_at: dict[str, float] = {}
        self._refused: dict[str, int] = {}
        self._unpaid: set[str] = set()
        self._signed_at: dict[str, int] = {}
        self._gap, self._alarms = Patience(policy.patience, clock), Alarms(clock)

    async def send_due(self, ledger: Ledger, leg: Leg) -> Ledger:
        """Batches of what is due, until nothing is left or enough is in flight."""
        # settlements earn the nodes their money: a flood of openings leaves them a quarter of the room
        room = self._policy.in_flight if leg is Leg.SETTLEMENT else self._policy.in_flight * 3 // 4
        while len(ledger.flight) < room:
            flying = len(ledger.flight)
            entries = await self._outbox.due(leg, self._policy.batch_size)
            if not entries:
                return ledger
            sendable = await self._affordable(await self._readable(leg, entries))
            if sendable:
                quote = await self._quote()
                for group in _groups(sendable, self._policy.batch_size):
                    ledger = await self._send(ledger, group, quote)
            if len(entries) < self._policy.batch_size or len(ledger.flight) == flying:
                return ledger
        return ledger

    async def tend(self, ledger: Ledger, nonce: int, head: Head) -> Ledger:
        """Keeps the unmined batches going: `nonce` is the first that the chain has not used."""
        first = min((batch.nonce for batch in ledger.flight), default=nonce)
        if self._gap.outlasted(["gap"] if first > nonce else []):
            log.warning("chain_nonce_gap", chain=nonce, first=first, batches=len(ledger.flight))
            for batch in ledger.flight:
                await self._release(batch, "NONCE_GAP")
            return replace(ledger, flight=())
        kept = [
            await self._keep_going(batch, head, first_in_line=batch.nonce == nonce) if batch.nonce >= nonce else batch
            for batch in ledger.flight
        ]
        self._forget({batch.id for batch in ledger.flight})
        return replace(ledger, flight=tuple(batch for batch in kept if batch is not None))

    async def _readable(self, leg: Leg, entries: Sequence[Entry]) -> list[tuple[Entry, Item]]:
        """Entries with their items. What can never be written is given up here."""
        found = []
        for entry in entries:
            try:
                item = read_item(leg, entry.record)
            except MalformedRecord as error:
                await self._give_up(leg, entry, f"MALFORMED_RECORD: {error}")
                continue
            if self._chain.task_address(item.task_key, item.request_hash) == entry.record.get("task_address"):
                found.append((entry, item))
            else:
                await self._give_up(leg, entry, "FOREIGN_ADDRESS: of another registry, chain or coordinator key")
        return found

    async def _affordable(self, found: list[tuple[Entry, Item]]) -> list[tuple[Entry, Item]]:
        """Asks for the deposit only once something was skipped for it; then what it doesn't cover waits."""
        if not any(entry.record.get("settlement_error") == Skip.INSUFFICIENT_DEPOSIT for entry, _ in found):
            return found
        left, kept, short = await self._chain.deposit(), [], []
        for entry, item in found:
            payment = item.payment_wei if isinstance(item, Settlement) else 0
            if payment <= left:
                left -= payment
                kept.append((entry, item))
            else:
                short.append(entry.task_id)
        if short:
            if self._alarms.due("deposit"):
                remedy = "pay in: python -m coordinator deploy --deposit-wei N"
                log.error("chain_deposit_too_small", tasks=len(short), left_wei=left, remedy=remedy)
            await self._outbox.postpone(Leg.SETTLEMENT, short, self._policy.deposit_patience, Skip.INSUFFICIENT_DEPOSIT)
        return kept

    async def _quote(self) -> tuple[int, Fees]:
        """The next nonce that the chain has free, and what a gas costs now."""
        nonce, head, tip = await asyncio.gather(self._chain.mined_nonce(), self._chain.head(), self._chain.tip())
        return nonce, self._fees.fresh(head.base_fee, tip)

    async def _send(self, ledger: Ledger, group: Sequence[tuple[Entry, Item]], quote: tuple[int, Fees]) -> Ledger:
        nonce = max([quote[0], *(batch.nonce + 1 for batch in ledger.flight)])
        batch = self._build(group, nonce, quote[1])
        if not await self._outbox.seal(batch):
            return ledger
        log.debug("chain_sent", batch=batch.id, kind=batch.kind, nonce=nonce, tasks=len(batch.members))
        await self._broadcast(batch)
        return replace(ledger, flight=(*ledger.flight, batch))

    def _build(self, group: Sequence[tuple[Entry, Item]], nonce: int, fees: Fees) -> Batch:
        kind, tries = kind_of(group[0][1]), group[0][0].tries
        data = self._chain.calldata(kind, [item for _, item in group])
        gas = min((_GAS_BASE + _GAS_AN_ITEM * len(group)) * (2 if tries else 1), _GAS_MOST)
        raw, tx_hash = self._signer.sign(data, nonce, gas, fees.max_fee, fees.tip)
        now_ms = self._now_ms()
        return Batch(
            id=secrets.token_hex(8),
            kind=kind,
            nonce=nonce,
            gas=gas,
            members=tuple(Member(entry.task_id, entry.record["task_address"], entry.due_ms) for entry, _ in group),
            signed=(Signed(tx_hash, fees.max_fee, fees.tip),),
            raw=raw,
            created_ms=now_ms,
            signed_ms=now_ms,
        )

    async def _keep_going(self, batch: Batch, head: Head, *, first_in_line: bool) -> Batch | None:
        """The batch as it stands afterwards; None when it was taken apart."""
        refused = self._refused.get(batch.id, 0)
        if refused >= self._policy.refusals:
            await self._release(batch, "REFUSED_BY_ENDPOINT", counts=True)
            return None
        waited = self._clock() - self._broadcast_at.get(batch.id, 0.0)
        if waited < self._policy.rebroadcast.total_seconds():
            return batch
        if self._needs_more(batch, head, first_in_line=first_in_line) or refused:
            batch = await self._bump(batch, head)
        await self._broadcast(batch)
        return batch

    def _needs_more(self, batch: Batch, head: Head, *, first_in_line: bool) -> bool:
        """Whether higher fees would help. Not while no blocks are made, nor when the account can't pay for these."""
        passed_over = head.number > self._signed_at.setdefault(batch.id, head.number)
        stale = self._now_ms() - batch.signed_ms >= self._policy.bump.total_seconds() * 1000
        cheap = batch.newest.max_fee < head.base_fee
        return batch.id not in self._unpaid and (cheap or (stale and passed_over and first_in_line))

    async def _bump(self, batch: Batch, head: Head) -> Batch:
        """The same calls at the same nonce for higher fees; whichever form is mined, the others can't be any more."""
        fees = self._fees.bumped(batch.newest, head.base_fee, await self._chain.tip())
        if fees is None:
            if self._alarms.due(batch.id):
                log.error("chain_fee_cap_reached", batch=batch.id, nonce=batch.nonce, max_fee=batch.newest.max_fee)
                await self._outbox.resign(batch, "FEE_CAP_REACHED")
            return batch
        raw, tx_hash = self._signer.sign(
            self._signer.data_of(batch.raw), batch.nonce, batch.gas, fees.max_fee, fees.tip
        )
        batch = batch.resigned(Signed(tx_hash, fees.max_fee, fees.tip), raw, self._now_ms())
        self._signed_at[batch.id] = head.number
        stuck = len(batch.signed) > self._policy.alarm
        await self._outbox.resign(batch, "STUCK" if stuck else "")
        tell = log.error if stuck else log.warning
        tell("chain_fee_bumped", batch=batch.id, nonce=batch.nonce, form=len(batch.signed), max_fee=fees.max_fee)
        return batch

    async def _broadcast(self, batch: Batch) -> None:
        """A refusal decides nothing: the next round sees by nonce and tx_receipt what the chain has."""
        self._broadcast_at[batch.id] = self._clock()
        try:
            await self._chain.broadcast(batch.raw)
        except ChainRejected as error:
            await self._after_refusal(batch, str(error))
        else:
            self._taken(batch)

    async def _after_refusal(self, batch: Batch, why: str) -> None:
        """What the endpoint has already it refuses as known; only what it won't have at all counts as refused."""
        if any(await asyncio.gather(*(self._chain.knows(tx_hash) for tx_hash in batch.tx_hashes))):
            self._taken(batch)
            return
        if await self._chain.balance() < batch.gas * batch.newest.max_fee:
            self._unpaid.add(batch.id)
            if self._alarms.due("balance"):
                log.error("chain_account_too_poor", account=self._signer.address, remedy="send it ether for gas")
            return
        if (await self._chain.head()).base_fee > batch.newest.max_fee:
            return
        self._refused[batch.id] = self._refused.get(batch.id, 0) + 1
        log.warning("chain_refused", batch=batch.id, nonce=batch.nonce, tries=self._refused[batch.id], why=why)

    async def _give_up(self, leg: Leg, entry: Entry, reason: str) -> None:
        await self._outbox.give_up(leg, entry.task_id, reason)
        log.error("chain_given_up", task=entry.task_id[:16], leg=leg, reason=reason)

    async def _release(self, batch: Batch, reason: str, *, counts: bool = False) -> None:
        for task_id in await self._outbox.release(batch, reason, counts=counts):
            log.error("chain_given_up", task=task_id[:16], leg=batch.kind.leg, reason=reason)

    def _taken(self, batch: Batch) -> None:
        self._refused.pop(batch.id, None)
        self._unpaid.discard(batch.id)

    def _forget(self, flying: set[str]) -> None:
        self._broadcast_at = {key: at for key, at in self._broadcast_at.items() if key in flying}
        self._refused = {key: count for key, count in self._refused.items() if key in flying}
        self._signed_at = {key: block for key, block in self._signed_at.items() if key in flying}
        self._unpaid &= flying

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def _groups(found: Sequence[tuple[Entry, Item]], most: int) -> list[list[tuple[Entry, Item]]]:
    """One list a batch. What came back undone goes in ever smaller batches, so that a bad item can't hold up others."""
    groups: dict[tuple[Kind, int], list[list[tuple[Entry, Item]]]] = {}
    for entry, item in found:
        lists = groups.setdefault((kind_of(item), entry.tries), [[]])
        if len(lists[-1]) >= max(1, min(most, _ITEMS_MOST) >> (2 * entry.tries)):
            lists.append([])
        lists[-1].append((entry, item))
    return [group for lists in groups.values() for group in lists]
