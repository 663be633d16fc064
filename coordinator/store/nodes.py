"""Nodes in Redis: challenges, sessions, heartbeats. Nothing a node says of itself is trusted."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import timedelta

from redis.asyncio import Redis

from coordinator.protocol.session import HeartbeatReply, NoWork, SessionRequest, Standing
from coordinator.protocol.signing import NONCE_MEMORY_MS
from coordinator.store.scripts import Scripts, unavailable

CHALLENGE_LIFE = timedelta(seconds=60)


class SessionEnded(Exception):
    """The session is unknown or over: sign in anew. `superseded`: another process signed in with the same key."""

    def __init__(self, *, superseded: bool) -> None:
        super().__init__("superseded" if superseded else "ended")
        self.superseded = superseded


class ChallengeUnknown(Exception):
    """Never given to this node, used already, or too old."""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node as operators see it."""

    node: str
    models: tuple[str, ...]
    slots: int
    held: int
    draining: bool
    alive: bool
    hardware: dict[str, object]


class NodeStore:
    """Raises StoreUnavailable when Redis can't be reached."""

    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis, self._scripts = redis, scripts

    async def challenge(self, node: str) -> str:
        value = secrets.token_hex(32)
        with unavailable():
            await self._redis.set(f"relay:challenge:{node}:{value}", "1", ex=CHALLENGE_LIFE)
        return value

    async def first_use(self, node: str, nonce: str) -> bool:
        """False for a nonce that was seen within the memory, which is longer than a signature stays valid."""
        with unavailable():
            return bool(await self._redis.set(f"relay:nonce:{node}:{nonce}", "1", px=NONCE_MEMORY_MS, nx=True))

    async def open_session(self, request: SessionRequest) -> str:
        """The new session's id. Raises ChallengeUnknown."""
        session = secrets.token_hex(16)
        said = await self._scripts.call(
            "session", request.node, request.challenge, session, request.slots, "\n".join(request.models),
            request.version, request.hardware.model_dump_json(),
        )  # fmt: skip
        if said != b"OK":
            raise ChallengeUnknown
        return session

    async def heartbeat(self, node: str, session: str, running: tuple[str, ...], *, draining: bool) -> HeartbeatReply:
        """Renews the leases of what is listed. Raises SessionEnded."""
        said, cancelled, expected, why = await self._scripts.call(
            "heartbeat", node, session, "1" if draining else "0", *running
        )
        _check_session(said)
        return HeartbeatReply(
            cancelled=tuple(item.decode() for item in cancelled),
            expected=tuple(item.decode() for item in expected),
            no_work=NoWork(why.decode()) if why else None,
        )

    async def leave(self, node: str, session: str) -> None:
        """Raises SessionEnded."""
        _check_session(await self._scripts.call("leave", node, session))

    async def standing(self, node: str) -> Standing:
        """Of a node that may sign in."""
        with unavailable():
            alive = await self._redis.zscore("relay:nodes", node)
        return Standing(admitted=True, signed_in=alive is not None)

    async def serving(self, models: list[str]) -> set[str]:
        """Those of `models` that a live node serves now."""
        with unavailable():
            pipe = self._redis.pipeline(transaction=False)
            for model in models:
                pipe.scard(f"relay:serving:{model}")
            counts = await pipe.execute()
        return {model for model, count in zip(models, counts, strict=True) if count}

    async def all(self) -> list[NodeRow]:
        with unavailable():
            names = [key.decode().removeprefix("relay:node:") async for key in self._redis.scan_iter("relay:node:*")]
            return [await self._row(node) for node in sorted(names)]

    async def _row(self, node: str) -> NodeRow:
        pipe = self._redis.pipeline(transaction=False)
        pipe.hmget(f"relay:node:{node}", "models", "slots", "draining", "hardware")
        pipe.scard(f"relay:held:{node}")
        pipe.zscore("relay:nodes", node)
        (models, slots, draining, hardware), held, alive = await pipe.execute()
        return NodeRow(
            node=node,
            models=tuple((models or b"").decode().split("\n")),
            slots=int(slots or 0),
            held=held,
            draining=draining == b"1",
            alive=alive is not None,
            hardware=json.loads(hardware or b"{}"),
        )


def _check_session(said: bytes) -> None:
    if said != b"OK":
        raise SessionEnded(superseded=said == b"SESSION_SUPERSEDED")
