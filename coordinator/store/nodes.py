"""Nodes in Redis: challenges, sessions, heartbeats. Nothing a node says of itself is trusted."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

from redis.asyncio import Redis

from coordinator.protocol.session import Heartbeat, HeartbeatReply, NoWork, SessionRequest, Standing
from coordinator.store.challenges import Challenges
from coordinator.store.scripts import Scripts, texts, unavailable
from coordinator.store.standing import standing


class SessionEnded(Exception):
    """The session is unknown or over: sign in anew. `superseded`: another process signed in with the same key."""

    def __init__(self, *, superseded: bool) -> None:
        super().__init__("superseded" if superseded else "ended")
        self.superseded = superseded


class ChallengeUnknown(Exception):
    """Never given to this node, used already, or too old."""


class Replayed(Exception):
    """The nonce was used before."""


class NotStaked(Exception):
    """Less is staked for the node than the operator asks for; the session is over."""


class Banned(Exception):
    """By the operator; `reason` is his."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Opened:
    """`cut_off`: broker users of earlier sessions that have to go at once."""

    session: str
    cut_off: tuple[str, ...]


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
        self._challenges = Challenges(redis)

    async def challenge(self, node: str) -> str:
        return await self._challenges.new(node)

    async def open_session(self, request: SessionRequest, nonce: str) -> Opened:
        """Raises ChallengeUnknown, Replayed, Banned, and SessionEnded for a renewal of what was taken over."""
        session, good_until = secrets.token_hex(16), await self._challenges.good_until(request.node, request.challenge)
        if good_until is None:
            raise ChallengeUnknown
        said, *more = await self._scripts.call(
            "session", request.node, request.challenge, nonce, session, request.slots, "\n".join(request.models),
            request.version, request.hardware.model_dump_json(), request.previous or "",
            good_until,
        )  # fmt: skip
        if said == b"CHALLENGE_UNKNOWN":
            raise ChallengeUnknown
        if said == b"BANNED":
            raise Banned(more[0].decode())
        _check(said)
        return Opened(session, tuple(name.decode() for name in more))

    async def heartbeat(self, node: str, beat: Heartbeat, nonce: str, stake_wei: int | None = None) -> HeartbeatReply:
        """One round trip: renews the leases of what is listed. Raises SessionEnded, Replayed, NotStaked."""
        # once each: naming one attempt 4,096 times over would hold Redis up for 50 ms
        running, answering = dict.fromkeys(beat.running), dict.fromkeys(beat.answering)
        said, cancelled, expected, why = await self._scripts.call(
            "heartbeat", node, beat.session, nonce, "" if stake_wei is None else stake_wei,
            "1" if beat.draining else "0", len(running), *running, *answering,
        )  # fmt: skip
        _check(said)
        return HeartbeatReply(
            cancelled=tuple(item.decode() for item in cancelled),
            expected=tuple(item.decode() for item in expected),
            no_work=NoWork(why.decode()) if why else None,
        )

    async def leave(self, node: str, session: str, nonce: str) -> None:
        """Raises SessionEnded, Replayed."""
        _check(await self._scripts.call("leave", node, session, nonce))

    async def ban(self, node: str, reason: str) -> list[str]:
        """Ends its session at once, and lets it open no other. Returns its broker users, which have to go."""
        return [name.decode() for name in await self._scripts.call("ban", node, reason)]

    async def unban(self, node: str) -> bool:
        """False for one that was not banned."""
        with unavailable():
            return bool(await self._redis.hdel("relay:banned", node))

    async def banned(self) -> dict[str, str]:
        """The operators' reasons by node."""
        with unavailable():
            return texts(await self._redis.hgetall("relay:banned"))

    async def ban_of(self, node: str) -> str | None:
        """The operator's reason."""
        with unavailable():
            reason = await self._redis.hget("relay:banned", node)
        return None if reason is None else texts({"reason": reason})["reason"]

    async def standing(self, node: str) -> Standing:
        """What was seen of a node; whether it is admitted is not for the store to say."""
        return await standing(self._scripts, node)

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


def _check(said: bytes) -> None:
    if said == b"REPLAYED":
        raise Replayed
    if said == b"NOT_ADMITTED":
        raise NotStaked
    if said != b"OK":
        raise SessionEnded(superseded=said == b"SESSION_SUPERSEDED")
