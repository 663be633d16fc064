"""A node of our own making, as far as it keeps to the protocol: session, heartbeats, Envelopes, Reports.

What it does with an attempt is a subclass's (`hostile.py`). It runs in the storm's own process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from eth_keys.datatypes import PrivateKey
from pydantic import BaseModel
from redis.asyncio import Redis
from redis.exceptions import RedisError

from coordinator.protocol import session as wire
from coordinator.protocol import signing
from coordinator.protocol.envelope import RUN_ATTEMPT, Envelope
from coordinator.protocol.hashing import receipt_digest, salted_hash, unhex
from coordinator.protocol.report import Receipt, Report
from scripts.storm.answers import answer_for
from scripts.storm.ending import end
from scripts.storm.ledger import code_of
from scripts.storm.shapes import MODEL, completion

SLOTS = 2
BEAT_SECONDS = 1.0
PAUSE = 0.3


@dataclass
class Deeds:
    """What came of it: attempts taken, replies by kind, and what should never have been accepted."""

    taken: int = 0
    replies: Counter[str] = field(default_factory=Counter)
    breaches: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a rogue works. `accepted`: ids of tasks that clients were told."""

    base_url: str
    http: aiohttp.ClientSession
    accepted: Callable[[], list[str]]


class Rogue:
    """`run` until cancelled. `turn`: how many of this kind came before."""

    def __init__(self, setting: Setting, key: PrivateKey, turn: int = 0) -> None:
        self.setting, self.key, self.turn = setting, key, turn
        self.deeds = Deeds()
        self.address = str(key.public_key.to_checksum_address())
        self.grant: wire.SessionGrant | None = None
        self.held: dict[str, Envelope] = {}
        # what the last heartbeat's reply says is still ours, though we didn't list it; and how many there were
        self.expected: frozenset[str] = frozenset()
        self.beats = 0
        self._running: set[asyncio.Task[None]] = set()

    # what a subclass changes

    async def misbehave(self, envelope: Envelope) -> None:
        """With one attempt. When it returns, the attempt is not held any more."""

    async def meanwhile(self) -> None:
        """Beside the attempts, until cancelled."""

    def lists(self, attempt: str) -> bool:
        """Whether heartbeats name it."""
        return True

    def headers(self, path: str, body: bytes) -> dict[str, str]:
        return signed(self.key, self.setting.base_url, path, body)

    async def over(self) -> None:
        """At the end."""
        if self.grant is not None:
            await self.post(wire.LEAVE_PATH, wire.Leave(session=self.grant.session))

    # what is as the protocol has it

    async def run(self, seconds: float) -> None:
        """Never raises for the relay's sake: that it is down is what storms are for."""
        self._running = {asyncio.create_task(work) for work in (self._beat(), self._take(), self.meanwhile())}
        try:
            await asyncio.sleep(seconds)
        finally:  # also with a storm that fails: what it leaves behind would go on for ever
            await end(self._running)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self.over()

    async def post(self, path: str, message: BaseModel, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Status (0: nobody answered) and body."""
        body = message.model_dump_json(exclude_none=True).encode()
        return await self.ask("POST", path, body, headers or self.headers(path, body))

    async def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        sent = {"content-type": "application/json", **(headers or {})}
        url = f"{self.setting.base_url}{path}"
        try:
            async with self.setting.http.request(method, url, data=body, headers=sent) as answer:
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return 0, None

    async def sign_in(self) -> wire.SessionGrant | None:
        """None when the coordinator is down or doesn't want us."""
        asked = wire.ChallengeRequest(node=self.address)
        status, given = await self.post(wire.CHALLENGE_PATH, asked)
        if status != 200:
            return None
        request = wire.SessionRequest(
            node=self.address, challenge=given["challenge"], models=(MODEL,), slots=SLOTS, version="storm"
        )
        status, granted = await self.post(wire.SESSION_PATH, request)
        return wire.SessionGrant.model_validate(granted) if status == 200 else None

    async def report(self, report: Report) -> str:
        """Posts until somebody answers: `accepted`, a Refusal, or the error's status and code. Counted."""
        while True:
            status, told = await self.post(wire.REPORT_PATH, report)
            if status and status < 500:
                break
            await asyncio.sleep(PAUSE)
        said = code_of(status, told)
        if status == 200:
            said = "accepted" if told["accepted"] else str(told["refusal"])
        self.deeds.replies[said] += 1
        return said

    def answer(self, envelope: Envelope, words: list[str] | None = None, signer: PrivateKey | None = None) -> Report:
        """The right one unless other words are given; signed by us unless by somebody else."""
        if self.grant is None:
            raise RuntimeError("an Envelope comes after a session")
        request = json.loads(envelope.request)
        said = answer_for(request["messages"][-1]["content"]) if words is None else words
        text, now = completion(request, said), int(time.time() * 1000)
        receipt = Receipt(
            task=envelope.task_address,
            attempt=envelope.attempt,
            request_hash=envelope.request_hash,
            response_hash=salted_hash(unhex(envelope.salt), text.encode()),
            prompt_tokens=5,
            completion_tokens=len(said),
            started_at_ms=now,
            finished_at_ms=now,
        )
        digest = receipt_digest(self.grant.chain_id, self.grant.task_registry, receipt)
        signature = signing.sign_digest(signer or self.key, digest)
        return Report(
            task_id=envelope.task_id,
            attempt=envelope.attempt,
            answer=text,
            receipt=receipt,
            receipt_signature=signature,
        )

    async def beat(self) -> int:
        """One heartbeat; the status."""
        if self.grant is None:
            return 0
        running = tuple(attempt for attempt in self.held if self.lists(attempt))
        status, told = await self.post(wire.HEARTBEAT_PATH, wire.Heartbeat(session=self.grant.session, running=running))
        if status == 200:
            self.expected = frozenset(told["expected"])
            self.beats += 1
        return status

    async def _beat(self) -> None:
        while True:
            if self.grant is None:
                self.grant = await self.sign_in()
            if await self.beat() in (401, 409):
                self.lost_session()
            await asyncio.sleep(BEAT_SECONDS)

    def lost_session(self) -> None:
        """Or was told that our signature is none: sign in anew."""
        self.grant = None

    async def _take(self) -> None:
        while True:
            if self.grant is None:
                await asyncio.sleep(PAUSE)
                continue
            broker = self.grant.broker
            with contextlib.suppress(RedisError, OSError):
                async with Redis.from_url(broker.url, socket_timeout=5, protocol=2) as queue:
                    await self._consume(queue, f"{broker.key_prefix}{broker.queue}", self.grant)
            await asyncio.sleep(PAUSE)

    async def _consume(self, queue: Redis, name: str, grant: wire.SessionGrant) -> None:
        while self.grant is grant:
            popped = await queue.brpop([name], timeout=1)
            if popped is None:
                continue
            message = json.loads(popped[1])
            if message["headers"]["task"] == RUN_ATTEMPT:
                envelope = Envelope.model_validate(json.loads(message["body"])[0][0])
                self._running.add(asyncio.create_task(self._hold(envelope)))

    async def _hold(self, envelope: Envelope) -> None:
        self.deeds.taken += 1
        self.held[envelope.attempt_id] = envelope
        try:
            await self.misbehave(envelope)
        finally:
            self.held.pop(envelope.attempt_id, None)  # what came twice is gone already


def signed(
    key: PrivateKey, base_url: str, path: str, body: bytes, *, address: str | None = None, off_ms: int = 0
) -> dict[str, str]:
    """As `signing.sign_request`, but `address` need not be the key's, and the clock not right."""
    time_ms, nonce, audience = int(time.time() * 1000) + off_ms, secrets.token_hex(16), signing.audience(base_url)
    digest = signing.request_digest(audience, "POST", path, time_ms, nonce, body)
    return {
        signing.NODE_HEADER: address or str(key.public_key.to_checksum_address()),
        signing.AUDIENCE_HEADER: audience,
        signing.TIME_HEADER: str(time_ms),
        signing.NONCE_HEADER: nonce,
        signing.SIGNATURE_HEADER: signing.sign_digest(key, digest),
    }
