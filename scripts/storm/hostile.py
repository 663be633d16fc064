"""What hostile nodes do, one class a fault. Whatever of it is accepted that should not be is a breach."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from eth_keys.datatypes import PrivateKey
from eth_utils.crypto import keccak

from coordinator.protocol import session as wire
from coordinator.protocol.envelope import Envelope
from scripts.storm.ledger import code_of
from scripts.storm.rogue import PAUSE, Rogue, Setting, signed

MINUTES_OFF = (5, -5, 61, -2)
WORK_SECONDS = 0.3
ACCEPTED = "accepted"


class Silent(Rogue):
    """Every second attempt is listed, so that its lease is renewed: a stage's deadline has to end it."""

    def lists(self, attempt: str) -> bool:
        return list(self.held).index(attempt) % 2 == 0

    async def misbehave(self, envelope: Envelope) -> None:
        await asyncio.Event().wait()

    async def over(self) -> None:
        """Without a word."""


class DoublePost(Rogue):
    async def misbehave(self, envelope: Envelope) -> None:
        await asyncio.sleep(WORK_SECONDS)
        right, other = self.answer(envelope), self.answer(envelope, ["another", " answer"])
        said = await asyncio.gather(self.report(right), self.report(right))
        if said.count(ACCEPTED) > 1:
            self.deeds.breaches.append("the same Report was accepted twice")
        if await self.report(other) == ACCEPTED:
            self.deeds.breaches.append("another answer was accepted after the first Report was settled")


class LatePost(Rogue):
    """Unlisted from the start; reported once a heartbeat's reply doesn't expect it any more."""

    def lists(self, attempt: str) -> bool:
        return False

    async def misbehave(self, envelope: Envelope) -> None:
        report, taken = self.answer(envelope), self.beats
        while self.beats < taken + 2 or envelope.attempt_id in self.expected:
            await asyncio.sleep(PAUSE)
        if await self.report(report) == ACCEPTED:
            self.deeds.breaches.append("a Report was accepted after its attempt was lost")


class WrongSignature(Rogue):
    """A Receipt of another key; before it the whole request signed by another key, or for another coordinator."""

    stranger = PrivateKey(keccak(text="storm stranger"))

    async def misbehave(self, envelope: Envelope) -> None:
        await asyncio.sleep(WORK_SECONDS)
        await self._foreign_request(envelope)
        if await self.report(self.answer(envelope, signer=self.stranger)) == ACCEPTED:
            self.deeds.breaches.append("a Receipt of another key was accepted")

    async def _foreign_request(self, envelope: Envelope) -> None:
        report, url = self.answer(envelope), self.setting.base_url
        body = report.model_dump_json(exclude_none=True).encode()
        if self.deeds.taken % 2:
            headers = signed(self.stranger, url, wire.REPORT_PATH, body, address=self.address)
        else:
            headers = signed(self.key, "https://relay.example.org", wire.REPORT_PATH, body)
        status, told = await self.post(wire.REPORT_PATH, report, headers)
        self._refused(status, told, "a request of another key, or for another coordinator, was accepted")

    def _refused(self, status: int, told: Any, breach: str) -> None:
        if status == 200:
            self.deeds.breaches.append(breach)
        elif status:
            self.deeds.replies[code_of(status, told)] += 1


class ClockOff(WrongSignature):
    """Its clock is right until it holds two attempts, and then off by minutes: nothing it says is believed."""

    off = False

    def headers(self, path: str, body: bytes) -> dict[str, str]:
        minutes = MINUTES_OFF[self.turn % len(MINUTES_OFF)] if self.off else 0
        return signed(self.key, self.setting.base_url, path, body, off_ms=minutes * 60_000)

    def lost_session(self) -> None:
        """It goes on with the one that it has."""
        if not self.off:
            self.grant = None

    async def misbehave(self, envelope: Envelope) -> None:
        await asyncio.sleep(2 * WORK_SECONDS)
        self.off = True
        report = self.answer(envelope)
        while True:
            self._refused(*await self.post(wire.REPORT_PATH, report), "a Report with a wrong clock was accepted")
            if await self.beat() == 200:
                self.deeds.breaches.append("a heartbeat with a wrong clock was accepted")
            await asyncio.sleep(1)


class ForeignReport(Rogue):
    """Works honestly, and reports what others were given: it knows task ids, as their clients do."""

    async def misbehave(self, envelope: Envelope) -> None:
        await asyncio.sleep(WORK_SECONDS)
        await self.report(self.answer(envelope))

    async def meanwhile(self) -> None:
        rng = random.Random(self.address)
        while True:
            await asyncio.sleep(PAUSE)
            known = self.setting.accepted()[-60:]  # the newest may have no node yet
            if known and self.grant is not None:
                await self._steal(rng.choice(known))

    async def _steal(self, task_id: str) -> None:
        status, proof = await self.ask("GET", f"/v2/tasks/{task_id}/proof")
        # one that nobody has yet might become our own
        if status != 200 or not proof.get("task_address") or not proof["attempt"] or proof["node"] == self.address:
            return
        envelope = Envelope(
            task_id=task_id,
            attempt=proof["attempt"],
            model="",
            task_address=proof["task_address"],
            salt=proof["salt"],
            request_hash=proof["request_hash"],
            request=proof["request"],
            assigned_at_ms=0,
            deadline_ms=0,
        )
        if await self.report(self.answer(envelope, ["stolen"])) == ACCEPTED:
            self.deeds.breaches.append("another node's attempt was reported and accepted")


HOSTILE: dict[str, type[Rogue]] = {
    "silent": Silent,
    "double_post": DoublePost,
    "late_post": LatePost,
    "wrong_signature": WrongSignature,
    "clock_off": ClockOff,
    "foreign_report": ForeignReport,
}


def key_of(seed: int, strike: int) -> PrivateKey:
    """Each hostile node of a storm has a key of its own, known beforehand: it has to be admitted."""
    return PrivateKey(keccak(text=f"storm {seed} {strike}"))


def rogue(name: str, setting: Setting, seed: int, strike: int, turn: int) -> Rogue:
    return HOSTILE[name](setting, key_of(seed, strike), turn)
