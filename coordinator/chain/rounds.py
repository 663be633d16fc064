"""What the chain writer does again and again: look at the chain, then send what is due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from coordinator.chain.confirmations import Confirmations
from coordinator.chain.items import Leg
from coordinator.chain.policy import WriterPolicy
from coordinator.chain.ports import Chain, Ledger, Outbox, Signer
from coordinator.chain.sender import Sender


class Rounds:
    """Two timers, one for looking and one for sending; each round serves both."""

    def __init__(
        self, chain: Chain, signer: Signer, outbox: Outbox, policy: WriterPolicy, clock: Callable[[], float]
    ) -> None:
        self._chain, self._outbox, self._policy, self._clock = chain, outbox, policy, clock
        sending = policy.sending
        self._sender = Sender(chain, signer, outbox, fees=policy.fees, policy=sending, clock=clock)
        self._confirmations = Confirmations(chain, outbox, depth=policy.confirmations, policy=sending, clock=clock)
        self._ledger: Ledger | None = None
        self._look_at = self._collect_at = 0.0
        self._clear = True
        self._noted: int | None = None

    async def round(self) -> None:
        """Whatever breaks off half-way is read back from the store in the next round."""
        ledger, self._ledger = self._ledger or await self._outbox.load(), None
        if self._clock() >= self._look_at:
            ledger, self._clear = await self._look(ledger)
            self._look_at = self._clock() + self._look_wait(ledger)
        if self._clear and self._clock() >= self._collect_at:
            ledger = await self._send(ledger)
        self._ledger = ledger

    def idle_for(self) -> float:
        """Seconds until one of the timers is over."""
        return (min(self._look_at, self._collect_at) if self._clear else self._look_at) - self._clock()

    async def _look(self, ledger: Ledger) -> tuple[Ledger, bool]:
        """False while it is in doubt whether the chain was rewound: then nothing is stored of it and nothing sent."""
        head, nonce = await asyncio.gather(self._chain.head(), self._chain.mined_nonce())
        rewound = await self._confirmations.rewound(ledger)
        if rewound is None:
            return ledger, False
        if rewound:
            await self._chain.check()
            await self._confirmations.undo(ledger)
            return await self._outbox.load(), False
        if head.number != self._noted:
            await self._outbox.note_head(head.number)
            self._noted = head.number
        ledger = await self._confirmations.read(ledger, nonce)
        ledger = await self._confirmations.confirm(ledger, head)
        return await self._sender.tend(ledger, nonce, head), True

    async def _send(self, ledger: Ledger) -> Ledger:
        before = len(ledger.flight)
        for leg in Leg:
            ledger = await self._sender.send_due(ledger, leg)
        now, full = self._clock(), len(ledger.flight) >= self._policy.sending.in_flight // 2
        wait = self._policy.batch_wait.total_seconds()
        self._collect_at = now + (wait / 4 if full else wait)
        if len(ledger.flight) > before:
            self._look_at = min(self._look_at, now + wait / 4)
        return ledger

    def _look_wait(self, ledger: Ledger) -> float:
        """Soon after sending, then ever more seldom: a block takes 12 seconds on Ethereum and none at all on anvil."""
        if not self._clear:
            return self._policy.batch_wait.total_seconds()
        waiting = ledger.flight or ledger.mined
        if not waiting:
            return self._policy.idle_look.total_seconds()
        age = self._clock() - min(batch.signed_ms for batch in waiting) / 1000
        return min(max(self._policy.batch_wait.total_seconds() / 4, age / 4), self._policy.longest_look.total_seconds())
