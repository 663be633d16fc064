"""Many nodes in one process: real keys, signatures, sessions, heartbeats, credentials and Reports, over a connection to
the API and one to Redis each. No Celery and no model: their queue is popped as kombu pops it, and answered at once.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from contextlib import suppress
from urllib.parse import unquote, urlsplit

from eth_keys.datatypes import PrivateKey

from coordinator.protocol import session as wire
from coordinator.protocol.envelope import RUN_ATTEMPT, Envelope
from coordinator.protocol.ids import AttemptId
from coordinator.protocol.signing import audience, sign_request
from node.identity import Identity
from node.inference.run import Answer
from node.results.report import answered
from scripts.benchmark.backend import COMPLETION

_POP_SECONDS = 1  # as kombu does
_ONE_ANSWER = COMPLETION.decode()


class Refused(Exception):
    """The API said something else than 200."""


class PlainHttp:
    """One kept connection, one request at a time, and as much of HTTP/1.1 as uvicorn answers small requests with."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        """Raises Refused, OSError."""
        lines = [f"POST {path} HTTP/1.1", f"host: {self._host}:{self._port}", f"content-length: {len(body)}"]
        head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""])
        async with self._turn:
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._host, self._port)
            reader, writer = self._streams
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            said = await reader.readexactly(length)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise Refused(f"{path}: {said[:300]!r}")
        return said

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()


class SimulatedNode:
    """From `join` to `leave`. It answers whatever comes out of its queue."""

    def __init__(self, base_url: str, model: str, slots: int) -> None:
        self.identity = Identity.of(PrivateKey(secrets.token_bytes(32)))
        self._http, self._audience = PlainHttp(base_url), audience(base_url)
        self._model, self._slots = model, slots
        self._grant: wire.SessionGrant | None = None
        self._popping: asyncio.Task[None] | None = None
        self._held: set[AttemptId] = set()
        self._reports: set[asyncio.Task[None]] = set()

    async def join(self) -> None:
        """Signs in, takes its queue, and says so."""
        asked = wire.ChallengeRequest(node=self.identity.address)
        said = await self._http.post(wire.CHALLENGE_PATH, asked.model_dump_json().encode(), {})
        request = wire.SessionRequest(
            node=self.identity.address,
            challenge=wire.Challenge.model_validate_json(said).challenge,
            models=(self._model,),
            slots=self._slots,
            version="simulated",
        )
        said = await self._post(wire.SESSION_PATH, request.model_dump_json().encode())
        self._grant = wire.SessionGrant.model_validate_json(said)
        self._popping = asyncio.create_task(self._pop(self._grant.broker))
        await self.beat()

    async def beat(self) -> None:
        assert self._grant is not None
        beat = wire.Heartbeat(session=self._grant.session, running=tuple(self._held))
        await self._post(wire.HEARTBEAT_PATH, beat.model_dump_json().encode())

    async def leave(self) -> None:
        if self._popping is not None:
            self._popping.cancel()
            with suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
                await self._popping
        self._http.close()

    async def _post(self, path: str, body: bytes) -> bytes:
        headers = sign_request(self.identity.key, "POST", path, body, self._audience)
        return await self._http.post(path, body, headers)

    async def _pop(self, credential: wire.BrokerCredential) -> None:
        parts = urlsplit(credential.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(_command("AUTH", unquote(parts.username or ""), parts.password or ""))
            await reader.readline()
            pop = _command("BRPOP", credential.key_prefix + credential.queue, str(_POP_SECONDS))
            while True:
                writer.write(pop)
                if (await reader.readline()).startswith(b"*2"):
                    await _text(reader)
                    self._take(json.loads(await _text(reader)))
        finally:
            writer.transport.abort()

    def _take(self, message: dict[str, object]) -> None:
        headers, body = message["headers"], message["body"]
        assert isinstance(headers, dict)
        assert isinstance(body, str)
        if headers["task"] != RUN_ATTEMPT:
            return
        envelope = Envelope.model_validate(json.loads(body)[0][0])
        self._held.add(envelope.attempt_id)
        report = asyncio.create_task(self._report(envelope))
        self._reports.add(report)
        report.add_done_callback(self._reports.discard)

    async def _report(self, envelope: Envelope) -> None:
        assert self._grant is not None
        now = round(time.time() * 1000)
        report = answered(self.identity, self._grant, envelope, Answer(_ONE_ANSWER, 12, 9, now, now))
        await self._post(wire.REPORT_PATH, report.model_dump_json(exclude_none=True).encode())
        self._held.discard(envelope.attempt_id)


class Swarm:
    """`nodes` grows by `grow`; together they beat `rate` times a second, in turn."""

    def __init__(self, base_url: str, model: str, slots: int, most: int) -> None:
        self.made = [SimulatedNode(base_url, model, slots) for _ in range(most)]
        self.nodes: list[SimulatedNode] = []
        self.beats = 0
        self.rate = 0.0
        self._beating = asyncio.create_task(self._beat())
        self._under_way: set[asyncio.Task[None]] = set()

    async def grow(self, count: int, at_once: int = 16) -> None:
        """Until there are `count`; those that are there beat on meanwhile, each every two seconds."""
        left = iter(self.made[len(self.nodes) : count])

        async def sign_in() -> None:
            for node in left:
                await node.join()
                self.nodes.append(node)
                self.rate = len(self.nodes) / 2

        await asyncio.gather(*(sign_in() for _ in range(at_once)))

    async def end(self) -> None:
        self._beating.cancel()
        await asyncio.gather(self._beating, *self._under_way, return_exceptions=True)
        await asyncio.gather(*(node.leave() for node in self.nodes))

    async def _beat(self) -> None:
        turn, due = 0, asyncio.get_running_loop().time()
        while True:
            now = asyncio.get_running_loop().time()
            due = max(due, now - 0.5)  # after a pause: don't make up for it
            while self.rate and self.nodes and due <= now:
                turn, due = (turn + 1) % len(self.nodes), due + 1 / self.rate
                beat = asyncio.create_task(self.nodes[turn].beat())
                self._under_way.add(beat)
                beat.add_done_callback(self._done)
            await asyncio.sleep(0.002)

    def _done(self, beat: asyncio.Task[None]) -> None:
        self._under_way.discard(beat)
        if not beat.cancelled():
            beat.result()
            self.beats += 1


def _command(*words: str) -> bytes:
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)


async def _text(reader: asyncio.StreamReader) -> bytes:
    length = int((await reader.readline())[1:])
    return (await reader.readexactly(length + 2))[:-2]
