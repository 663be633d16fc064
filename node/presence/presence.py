"""Signs in by challenge, beats, and signs in anew whenever a session ends or a new one is wanted.

signing in ──grant──► beating ──SESSION_ENDED──► signing in
                        │  └── SESSION_SUPERSEDED ──► Superseded: another process has this node's key
                        └── in time, or renew() ──grant──► beating
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

import structlog
from pydantic import BaseModel, ValidationError

from coordinator.protocol.ids import AttemptId
from coordinator.protocol.session import (
    CHALLENGE_PATH,
    HEARTBEAT_PATH,
    LEAVE_PATH,
    SESSION_PATH,
    Challenge,
    ChallengeRequest,
    Hardware,
    Heartbeat,
    HeartbeatReply,
    Leave,
    SessionGrant,
    SessionId,
    SessionRequest,
)
from node.presence.line import CoordinatorUnreachable, Line, Reply
from node.presence.renewal import Renewal

log = structlog.get_logger()
Message = TypeVar("Message", bound=BaseModel)

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_SIGN_IN_TIMEOUT = timedelta(seconds=10)
_LEAVE_TIMEOUT = timedelta(seconds=2)
_HEARTBEAT_TIMEOUT = timedelta(seconds=4)
# A heartbeat may list no more (protocol.session). What runs comes first, then Reports long past their leases.
_MOST_LISTED = 4096


class Superseded(Exception):
    """Another process signed in with the same key: this one has to go."""


class NotYet(Exception):
    """The coordinator can't be reached, or says no; `reason` is for the operator. Trying again may help."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SessionOver(Exception):
    """The coordinator doesn't know the session any more."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What the node signs in with."""

    node: str
    models: tuple[str, ...]
    slots: int
    version: str
    hardware: Hardware


class Listener(Protocol):
    """Port: what presence serves."""

    def held(self) -> tuple[AttemptId, ...]:
        """The attempts whose leases a heartbeat renews."""

    def answering(self) -> tuple[AttemptId, ...]:
        """Those of them whose first token has come."""

    def granted(self, grant: SessionGrant) -> None:
        """A session has begun."""

    def heard(self, reply: HeartbeatReply) -> None:
        """A heartbeat was answered."""


class Presence:
    """`run` until it raises Superseded or is cancelled; then `leave`."""

    def __init__(self, line: Line, offer: Offer, listener: Listener) -> None:
        self._line = line
        self._offer = offer
        self._listener = listener
        self._grant: SessionGrant | None = None
        self._trouble: str | None = None
        self._unrenewed: str | None = None
        self._wake = asyncio.Event()
        self._renewal: str | None = None
        self._hasten = False
        self._draining = self._paused = False

    @property
    def grant(self) -> SessionGrant | None:
        """Of the latest session; its chain doesn't change while the coordinator lives."""
        return self._grant

    def renew(self, reason: str) -> None:
        """Signs in anew as soon as possible: for a new broker credential."""
        if self._renewal is None:
            log.info("signing in anew", reason=reason)
        self._renewal, self._hasten = reason, True
        self._wake.set()

    def beat(self) -> None:
        """At once, not only when it is time."""
        self._wake.set()

    def drain(self) -> None:
        """Tells the coordinator at once, and with every heartbeat from now on, to send nothing more."""
        self._draining = True
        self._wake.set()

    def pause(self, paused: bool) -> None:
        """The same for a while: there is no backend to run anything on."""
        self._paused = paused
        self._wake.set()

    async def run(self) -> None:
        """Raises Superseded."""
        grant = await self._sign_in(None)
        while True:
            self._grant, self._renewal, self._unrenewed = grant, None, None
            self._listener.granted(grant)
            grant = await self._beat(grant) or await self._sign_in(grant.session)

    async def leave(self) -> None:
        """Ends the session, as far as the coordinator can be reached."""
        if self._grant is None:
            return
        body = Leave(session=self._grant.session).model_dump_json().encode()
        try:
            await self._line.post(LEAVE_PATH, body, _LEAVE_TIMEOUT)
        except CoordinatorUnreachable:
            log.info("left without a word: the coordinator can't be reached")

    async def _sign_in(self, previous: SessionId | None) -> SessionGrant:
        """Tries until it is let in. `previous`: the session that this process had, whatever became of it."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                grant = await self._try_to_sign_in(previous)
            except NotYet as refusal:
                self._note_trouble(refusal.reason)
                await asyncio.sleep(pause * random.uniform(0.5, 1))
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                self._note_trouble(None)
                log.info("signed in", session=grant.session[:8], chain_id=grant.chain_id)
                return grant

    async def _try_to_sign_in(self, previous: SessionId | None) -> SessionGrant:
        """Raises NotYet or Superseded."""
        asked = ChallengeRequest(node=self._offer.node)
        challenge = await self._ask(CHALLENGE_PATH, asked, Challenge)
        offer = self._offer
        request = SessionRequest(
            node=offer.node,
            challenge=challenge.challenge,
            models=offer.models,
            slots=offer.slots,
            version=offer.version,
            hardware=offer.hardware,
            previous=previous,
        )
        try:
            return await self._ask(SESSION_PATH, request, SessionGrant)
        except SessionOver:
            raise NotYet("the session ended while it began") from None

    async def _beat(self, grant: SessionGrant) -> SessionGrant | None:
        """Until the session is renewed, returning the new one, or is over."""
        renewal = Renewal(lambda: self._try_to_sign_in(grant.session), grant.expires_ms / 1000, self._wake.set)
        pause = interval = grant.heartbeat_ms / 1000
        try:
            while True:
                self._wake.clear()
                if (fresh := self._renewed(renewal)) is not None:
                    return fresh
                try:
                    reply = await self._heartbeat(grant)
                except NotYet as refusal:
                    self._note_trouble(refusal.reason)
                    pause = _FIRST_PAUSE_SECONDS if pause == interval else min(pause * 2, interval)
                else:
                    self._note_trouble(None)
                    pause = interval
                    self._listener.heard(reply)
                await self._sleep(min(pause, renewal.due_in))
        except SessionOver:
            log.info("the session is over, signing in anew")
            return None
        finally:
            await renewal.close()

    def _renewed(self, renewal: Renewal) -> SessionGrant | None:
        """Raises Superseded. What fails is tried again: the heartbeats say whether there is trouble."""
        if self._hasten:
            self._hasten = False
            renewal.hasten()
        try:
            return renewal.look()
        except NotYet as refusal:
            if refusal.reason != self._unrenewed:
                log.warning("the session is not renewed yet, trying on", reason=refusal.reason)
            self._unrenewed = refusal.reason
            return None

    async def _heartbeat(self, grant: SessionGrant) -> HeartbeatReply:
        held = self._listener.held()[:_MOST_LISTED]
        answering = self._listener.answering()[:_MOST_LISTED]
        draining = self._draining or self._paused
        beat = Heartbeat(session=grant.session, running=held, answering=answering, draining=draining)
        return await self._ask(HEARTBEAT_PATH, beat, HeartbeatReply, _HEARTBEAT_TIMEOUT)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _ask(
        self, path: str, asked: BaseModel, answer: type[Message], timeout: timedelta = _SIGN_IN_TIMEOUT
    ) -> Message:
        """Raises NotYet, SessionOver or Superseded unless the answer is the one expected."""
        try:
            reply = await self._line.post(path, asked.model_dump_json().encode(), timeout)
        except CoordinatorUnreachable as error:
            raise NotYet(f"the coordinator can't be reached ({error})") from error
        if not reply.ok:
            raise _refusal(reply)
        try:
            return answer.model_validate_json(reply.body)
        except ValidationError as error:
            raise NotYet("the coordinator's answer makes no sense to this version of the node") from error

    def _note_trouble(self, trouble: str | None) -> None:
        """One line a change of state, not one an attempt."""
        if trouble == self._trouble:
            return
        if trouble is None:
            log.info("the coordinator answers again")
        else:
            log.warning("no session for now, trying on", reason=trouble)
        self._trouble = trouble


def _refusal(reply: Reply) -> Exception:
    if reply.code == "SESSION_SUPERSEDED":
        return Superseded("another process signed in with this node's key")
    if reply.code == "SESSION_ENDED":
        return SessionOver()
    code = reply.code or f"HTTP {reply.status}"
    return NotYet(f"{code}: {reply.message}" if reply.message else code)
