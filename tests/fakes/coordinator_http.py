"""The node-facing side of a coordinator over real HTTP: checks signatures, keeps what comes, says what it is told.

async with CoordinatorHttp(credential) as coordinator:
    ...
    await until(lambda: coordinator.reports)
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from coordinator.protocol import session as wire
from coordinator.protocol import signing
from coordinator.protocol.envelope import RUN_ATTEMPT, Envelope, key_prefix, queue_name
from coordinator.protocol.hashing import new_salt, salted_hash
from coordinator.protocol.report import Report, ReportReply

CHAIN_ID = 31337
TASK_REGISTRY = "0x" + "5F" * 20
PATIENCE = 60.0  # seconds

Credentials = Callable[[str], wire.BrokerCredential]  # of a node's address


async def until(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Waits for the thing, with a deadline."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        await asyncio.sleep(0.005)


def no_broker(node: str) -> wire.BrokerCredential:
    return wire.BrokerCredential(
        url="redis://nobody:x@127.0.0.1:1/0", queue=queue_name(node), key_prefix=key_prefix(node)
    )


def envelope(request: dict[str, Any] | None = None, *, attempt: int = 1, model: str = "m") -> Envelope:
    """A genuine one, due in a minute."""
    body = json.dumps(request or {"model": model, "messages": [{"role": "user", "content": "Hello!"}]})
    salt = new_salt()
    now = int(time.time() * 1000)
    return Envelope(
        task_id=f"opengpu:{uuid.uuid4()}",
        attempt=attempt,
        model=model,
        task_address="0x" + secrets.token_hex(20),
        salt="0x" + salt.hex(),
        request_hash=salted_hash(salt, body.encode()),
        request=body,
        assigned_at_ms=now,
        deadline_ms=now + 60_000,
    )


def celery_message(attempt: Envelope, queue: str, *, base64_body: bool = False) -> str:
    """As the coordinator's Lua writes it (protocol 2); `base64_body`: as kombu would."""
    import base64

    body = json.dumps([[attempt.model_dump()], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    name = attempt.attempt_id
    properties = {
        "correlation_id": name,
        "reply_to": "",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "priority": 0,
        "delivery_tag": name,
    }
    if base64_body:
        body, properties["body_encoding"] = base64.b64encode(body.encode()).decode(), "base64"
    headers = {
        "lang": "py",
        "task": RUN_ATTEMPT,
        "id": name,
        "root_id": name,
        "parent_id": None,
        "group": None,
        "retries": 0,
        "eta": None,
        "expires": None,
        "timelimit": [None, None],
        "argsrepr": "",
        "kwargsrepr": "",
        "origin": "coordinator",
        "ignore_result": True,
    }
    return json.dumps(
        {
            "body": body,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": properties,
        }
    )


@dataclass
class CoordinatorHttp:
    """`sessions`, `beats`, `reports`, `left`: what came. `expected`, `cancelled`, `verdicts`, `refusals`: to say."""

    credentials: Credentials = no_broker
    heartbeat_ms: int = 50
    expires_ms: int = 3_600_000
    port: int = 0
    sessions: list[wire.SessionRequest] = field(default_factory=list)
    beats: list[wire.Heartbeat] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    # per path: answered once each, before anything else
    refusals: dict[str, deque[tuple[int, str]]] = field(default_factory=dict)
    verdicts: deque[ReportReply] = field(default_factory=deque)
    # an unanswered Report hangs until this is set
    open: asyncio.Event = field(default_factory=asyncio.Event)
    session: str = ""
    # the one that is renewed, until the first heartbeat of the new one
    _previous: str = ""
    # what strangers are told
    network: dict[str, Any] = field(default_factory=dict)
    standing: wire.Standing = field(default_factory=lambda: wire.Standing(admitted=True))
    clock_off_ms: int = 0
    _challenges: set[str] = field(default_factory=set)
    _previous: str = ""
    _superseded: set[str] = field(default_factory=set)
    _nonces: set[str] = field(default_factory=set)
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        self.open.set()
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.open.set()
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """On the port it had before, if it was stopped."""
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post(wire.CHALLENGE_PATH, self._challenge)
        app.router.add_get(wire.NETWORK_PATH, self._network)
        for path, answer in (
            (wire.SESSION_PATH, self._session),
            (wire.HEARTBEAT_PATH, self._heartbeat),
            (wire.REPORT_PATH, self._report),
            (wire.LEAVE_PATH, self._leave),
            (wire.STANDING_PATH, self._stand),
        ):
            app.router.add_post(path, self._signed(answer))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def refuse(self, path: str, status: int, code: str, times: int = 1) -> None:
        self.refusals.setdefault(path, deque()).extend([(status, code)] * times)

    def end_session(self) -> None:
        self.session = self._previous = ""

    async def _challenge(self, request: web.Request) -> web.Response:
        if refused := self._refusal(request.path):
            return refused
        wire.ChallengeRequest.model_validate_json(await request.read())
        challenge = secrets.token_hex(32)
        self._challenges.add(challenge)
        return _json(wire.Challenge(challenge=challenge, expires_in_s=60))

    async def _session(self, body: bytes, node: str) -> web.Response:
        asked = wire.SessionRequest.model_validate_json(body)
        if asked.challenge not in self._challenges or asked.node != node:
            return _error(401, "CHALLENGE_UNKNOWN")
        self._challenges.remove(asked.challenge)
        self.sessions.append(asked)
        if asked.previous is not None and asked.previous not in (self.session, self._previous) and self.session:
            return _error(409, "SESSION_SUPERSEDED")
        renews = bool(self.session) and asked.previous is not None
        self._superseded |= {self.session, self._previous}
        self._previous = asked.previous or "" if renews else ""
        self._superseded.discard(self._previous)
        self.session = secrets.token_hex(16)
        grant = wire.SessionGrant(
            session=self.session,
            broker=self.credentials(node),
            heartbeat_ms=self.heartbeat_ms,
            lease_ms=5 * self.heartbeat_ms,
            expires_ms=self.expires_ms,
            chain_id=CHAIN_ID,
            task_registry=TASK_REGISTRY,
        )
        return _json(grant)

    async def _network(self, _: web.Request) -> web.Response:
        told: dict[str, Any] = {
            "chain_id": CHAIN_ID,
            "task_registry": TASK_REGISTRY,
            "node_registry": TASK_REGISTRY,
            "admission": wire.Admission.OPEN,
            "stake_wei": None,
            "broker": "redis://127.0.0.1:1",
            "models": ("m",),
            "now_ms": round(time.time() * 1000) + self.clock_off_ms,
        }
        return _json(wire.Network.model_validate({**told, **self.network}))

    async def _stand(self, _: bytes, __: str) -> web.Response:
        return _json(self.standing)

    async def _heartbeat(self, body: bytes, _: str) -> web.Response:
        beat = wire.Heartbeat.model_validate_json(body)
        if beat.session not in (self.session, self._previous or self.session):
            return _error(409, "SESSION_SUPERSEDED" if beat.session in self._superseded else "SESSION_ENDED")
        if beat.session == self.session and self._previous:
            self._superseded.add(self._previous)
            self._previous = ""
        self.beats.append(beat)
        missed = [attempt for attempt in self.expected if attempt not in beat.running]
        return _json(wire.HeartbeatReply(cancelled=tuple(self.cancelled), expected=tuple(missed)))

    async def _report(self, body: bytes, _: str) -> web.Response:
        await self.open.wait()
        report = Report.model_validate_json(body)
        self.reports.append(report)
        return _json(self.verdicts.popleft() if self.verdicts else ReportReply(accepted=True))

    async def _leave(self, body: bytes, _: str) -> web.Response:
        self.left.append(wire.Leave.model_validate_json(body).session)
        return web.json_response({})

    def _signed(self, answer: Callable[[bytes, str], Any]) -> Callable[[web.Request], Any]:
        async def handler(request: web.Request) -> web.Response:
            body = await request.read()
            node = self._signer(request, body)
            if node is None:
                return _error(401, "BAD_SIGNATURE")
            return self._refusal(request.path) or await answer(body, node)

        return handler

    def _signer(self, request: web.Request, body: bytes) -> str | None:
        said, nonce = request.headers[signing.NODE_HEADER], request.headers[signing.NONCE_HEADER]
        time_ms = int(request.headers[signing.TIME_HEADER])
        said_for = request.headers[signing.AUDIENCE_HEADER]
        digest = signing.request_digest(said_for, "POST", request.path, time_ms, nonce, body)
        if (
            said_for != signing.audience(self.url)
            or nonce in self._nonces
            or signing.recover(digest, request.headers[signing.SIGNATURE_HEADER]) != said
        ):
            self.wrong.append(request.path)
            return None
        self._nonces.add(nonce)
        return said

    def _refusal(self, path: str) -> web.Response | None:
        waiting = self.refusals.get(path)
        return _error(*waiting.popleft()) if waiting else None


def _json(message: Any) -> web.Response:
    return web.Response(body=message.model_dump_json().encode(), content_type="application/json")


def _error(status: int, code: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": "The fake coordinator says no."}}, status=status)
