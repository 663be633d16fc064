"""Reads back what became of batches: mined, skipped, deep enough, or gone with a block that left the chain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from coordinator.chain.batch import Batch, Member, Mined
from coordinator.chain.items import Leg, MalformedRecord, read_item, same_result
from coordinator.chain.patience import Patience
from coordinator.chain.policy import SendingPolicy
from coordinator.chain.ports import Chain, Head, Ledger, Move, Outbox, Place, Skip, TxReceipt, Verdict
from coordinator.protocol.ids import TaskId

log = structlog.get_logger(__name__)

_PAGE = 50


class Confirmations:
    """`depth`: in how many blocks, its own included, a batch must be buried to be confirmed. `clock` in seconds."""

    def __init__(
        self, chain: Chain, outbox: Outbox, *, depth: int, policy: SendingPolicy, clock: Callable[[], float]
    ) -> None:
        self._chain, self._outbox, self._depth, self._policy = chain, outbox, depth, policy
        self._lost, self._gone = Patience(policy.patience, clock), Patience(policy.patience, clock)

    async def read(self, ledger: Ledger, nonce: int) -> Ledger:
        """Looks for the batches whose nonce is used up. One that isn't there was overtaken by a foreign transaction."""
        used = [batch for batch in ledger.flight if batch.nonce < nonce]
        receipts = await asyncio.gather(*(self._find(batch) for batch in used))
        # asked after the receipts: else a batch of the new chain could vouch for the batches of the old one
        if used and await self.rewound(ledger) is not False:
            return ledger
        mined = [
            await self._mine(batch, receipt)
            for batch, receipt in zip(used, receipts, strict=True)
            if receipt is not None
        ]
        missing = {batch.id: batch for batch, receipt in zip(used, receipts, strict=True) if receipt is None}
        taken = self._lost.outlasted(missing)
        for batch_id in taken:
            log.error(
                "chain_nonce_taken", batch=batch_id, nonce=missing[batch_id].nonce, remedy="the key signs elsewhere"
            )
            await self._release(missing[batch_id], "NONCE_TAKEN")
        settled = {batch.id for batch in mined} | taken
        return Ledger(
            flight=tuple(batch for batch in ledger.flight if batch.id not in settled),
            mined=ledger.mined + tuple(batch for batch in mined if batch.members),
        )

    async def confirm(self, ledger: Ledger, head: Head) -> Ledger:
        deep = [batch for batch in ledger.mined if self._deep_enough(batch, head)]
        confirmed = [batch for batch, stands in zip(deep, await self._stand(deep), strict=True) if stands]
        for batch in confirmed:
            await self._outbox.confirm(batch)
            log.debug("chain_confirmed", batch=batch.id, kind=batch.kind, tasks=len(batch.members))
        return replace(ledger, mined=tuple(batch for batch in ledger.mined if batch not in confirmed))

    def _deep_enough(self, batch: Batch, head: Head) -> bool:
        return batch.mined is not None and head.number - batch.mined.block_number + 1 >= self._depth

    async def rewound(self, ledger: Ledger) -> bool | None:
        """Whether the block of a batch has gone from the chain; None while that is in doubt.

        Every block names the one before it, so the newest confirmed batch vouches for those before it.
        """
        watched = ledger.mined or await self._outbox.remembered(0, 1)
        if all(await self._stand(watched)):
            self._gone.outlasted(())
            return False
        return True if self._gone.outlasted(["block"]) else None

    async def undo(self, ledger: Ledger) -> None:
        """Takes back every batch whose block is gone; one that was mined again is moved there. Load anew after it."""
        gone = await self._fallen(ledger)
        log.warning("chain_rewound", batches=len(gone), tasks=sum(len(batch.members) for batch in gone))
        for batch in sorted(gone, key=lambda batch: batch.nonce):
            receipt = await self._find(batch)
            if receipt is None:
                await self._release(batch, "REWOUND")
            else:
                await self._mine(batch, receipt)

    async def _fallen(self, ledger: Ledger) -> list[Batch]:
        standing = await self._stand(ledger.mined)
        gone = [batch for batch, stands in zip(ledger.mined, standing, strict=True) if not stands]
        first = 0
        while page := await self._outbox.remembered(first, _PAGE):
            standing = await self._stand(page)
            gone += page[: standing.index(True)] if True in standing else page
            if True in standing:
                return gone
            first += _PAGE
        if gone:
            log.warning("chain_rewound_to_the_first_batch", remembered=len(gone))
        return gone

    async def _stand(self, batches: Sequence[Batch]) -> list[bool]:
        """Of each, whether its block is part of the chain. Asks once for a block, however many batches it has."""
        places = [batch.mined for batch in batches]
        numbers = list({place.block_number for place in places if place is not None})
        hashes = dict(zip(numbers, await asyncio.gather(*map(self._chain.block_hash, numbers)), strict=True))
        return [place is not None and hashes[place.block_number] == place.block_hash for place in places]

    async def _find(self, batch: Batch) -> TxReceipt | None:
        for tx_hash in batch.tx_hashes:
            receipt = await self._chain.tx_receipt(tx_hash)
            if receipt is not None:
                return receipt
        return None

    async def _mine(self, batch: Batch, receipt: TxReceipt) -> Batch:
        verdicts = [await self._verdict(batch, member, receipt) for member in batch.members]
        done = {verdict.task_id for verdict in verdicts if verdict.move is Move.DONE}
        place = Mined(receipt.tx_hash, receipt.block_number, receipt.block_hash, receipt.gas_used)
        mined = batch.as_mined(place, tuple(member for member in batch.members if member.task_id in done))
        failed = await self._outbox.mine(mined, verdicts)
        log.info(
            "chain_mined", batch=batch.id, kind=batch.kind, block=receipt.block_number, tx=receipt.tx_hash,
            tasks=len(batch.members), done=len(done), gas=receipt.gas_used,
        )  # fmt: skip
        _report(batch, verdicts, failed)
        return mined

    async def _verdict(self, batch: Batch, member: Member, receipt: TxReceipt) -> Verdict:
        if not receipt.succeeded:
            return Verdict(member.task_id, Move.RETRY, reason="TRANSACTION_REVERTED", counts=True)
        if member.task_address not in receipt.outcomes:
            return Verdict(member.task_id, Move.RETRY, reason="NO_EVENT", counts=True)
        skip = receipt.outcomes[member.task_address]
        gas = receipt.gas_used // len(batch.members)
        if skip is None:
            return _done(member, Place(receipt.tx_hash, receipt.block_number), gas)
        if skip is Skip.INSUFFICIENT_DEPOSIT:
            return Verdict(member.task_id, Move.RETRY, reason=skip, delay=self._policy.deposit_patience)
        if skip is Skip.NOT_OPEN:
            return Verdict(member.task_id, Move.REOPEN, reason=skip)
        if skip is Skip.ALREADY_OPEN or (skip is Skip.ALREADY_SETTLED and await self._as_wanted(member)):
            place = await self._chain.place_of(member.task_address, batch.kind.leg)
            return _done(member, place or Place(receipt.tx_hash, receipt.block_number), gas)
        reason = "SETTLED_DIFFERENTLY" if skip is Skip.ALREADY_SETTLED else skip
        return Verdict(member.task_id, Move.FAILED, reason=reason)

    async def _as_wanted(self, member: Member) -> bool:
        """Whether a task that was settled before holds what we would have written."""
        try:
            item = read_item(Leg.SETTLEMENT, await self._outbox.record(member.task_id))
        except MalformedRecord:
            return False
        return same_result(item, (await self._chain.task(member.task_address)).result)

    async def _release(self, batch: Batch, reason: str) -> None:
        _log_failed(batch, await self._outbox.release(batch, reason), reason)


def _done(member: Member, place: Place, gas: int) -> Verdict:
    return Verdict(member.task_id, Move.DONE, tx_hash=place.tx_hash, block=place.block_number, gas=gas)


def _report(batch: Batch, verdicts: Sequence[Verdict], failed: Sequence[TaskId]) -> None:
    """What an operator has to know of a mined batch."""
    reasons = {verdict.task_id: verdict.reason for verdict in verdicts}
    short = sum(verdict.reason == Skip.INSUFFICIENT_DEPOSIT for verdict in verdicts)
    if short:
        log.error("chain_deposit_too_small", tasks=short, remedy="pay in: python -m coordinator deploy --deposit-wei N")
    for verdict in verdicts:
        if verdict.move in (Move.RETRY, Move.REOPEN) and verdict.reason != Skip.INSUFFICIENT_DEPOSIT:
            log.warning("chain_retry", task=verdict.task_id[:16], leg=batch.kind.leg, reason=verdict.reason)
    for task_id in failed:
        _log_failed(batch, [task_id], reasons.get(task_id, ""))


def _log_failed(batch: Batch, failed: Sequence[TaskId], reason: str) -> None:
    for task_id in failed:
        log.error("chain_given_up", task=task_id[:16], leg=batch.kind.leg, reason=reason)
