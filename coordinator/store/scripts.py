"""Loads the Lua scripts, each behind what it uses of the state tables and the preludes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from coordinator.errors import StoreUnavailable
from coordinator.lifecycle import attempt, standing, task, webhooks
from coordinator.lifecycle.policy import Policy
from coordinator.protocol.signing import NONCE_MEMORY_MS
from coordinator.store.linking import link

_FOLDER = Path(__file__).with_name("lua")
# In this order: each uses those before it.
_PRELUDES = (
    "prelude",
    *(
        f"{name}_prelude"
        for name in ("money", "webhook", "stake", "pace", "standing", "affinity", "line", "dispatch", "session")
    ),
)


def lua_table(moves: Mapping[Any, frozenset[Any]]) -> str:
    """A TRANSITIONS table in Lua, so that Redis enforces what Python documents."""

    def row(state: StrEnum) -> str:
        return "{" + ",".join(f"{target.value}=true" for target in sorted(moves[state])) + "}"

    return "{" + ",".join(f"{state.value}={row(state)}" for state in moves) + "}"


def lua_policy(policy: Policy) -> dict[str, int]:
    """The policy's fields, durations in milliseconds."""

    def value(field: timedelta | int) -> int:
        return milliseconds(field) if isinstance(field, timedelta) else field

    return {field.name: value(getattr(policy, field.name)) for field in fields(policy)}


def milliseconds(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)


def texts(row: Mapping[bytes | str, bytes | str]) -> dict[str, str]:
    """A hash of short texts, decoded. The client hands out bytes; its types admit both."""

    def text(value: bytes | str) -> str:
        return value.decode() if isinstance(value, bytes) else value

    return {text(name): text(value) for name, value in row.items()}


class Scripts:
    """The scripts of `lua/`, called by name; each call is one atomic round trip.

    Raises StoreUnavailable when Redis can't be reached or is still loading; every script may be sent again safely.
    """

    def __init__(self, redis: Redis, policy: Policy) -> None:
        self._redis = redis
        machines: dict[str, Mapping[Any, frozenset[Any]]] = {
            "task": task.TRANSITIONS,
            "attempt": attempt.TRANSITIONS,
            "webhook": webhooks.TRANSITIONS,
            "standing": standing.TRANSITIONS,
        }
        self._values: dict[str, int | str] = {f"POLICY.{name}": value for name, value in lua_policy(policy).items()}
        self._values |= {f"MOVES.{name}": f"MOVES_{name}" for name in machines}
        tables = "".join(f"local MOVES_{name} = {lua_table(moves)}\n" for name, moves in machines.items())
        tables += f"local NONCE_MEMORY = {NONCE_MEMORY_MS}\n"
        self._preludes = [tables, *((_FOLDER / f"{name}.lua").read_text() for name in _PRELUDES)]
        self._scripts = {
            path.stem: self.register(path.read_text())
            for path in _FOLDER.glob("*.lua")
            if path.stem not in (*_PRELUDES, "admit") and not path.stem.startswith(("outbox_", "key_"))
        }

    def register(self, source: str) -> AsyncScript:
        """A script that may use all of the preludes."""
        return self._redis.register_script(link(self._preludes, source, self._values))

    async def call(self, name: str, *args: str | bytes | int) -> Any:
        with unavailable():
            return await self._scripts[name](args=list(args))


class unavailable:
    """Turns an unreachable Redis into StoreUnavailable; other Redis errors are bugs and pass."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RedisConnectionError | RedisTimeoutError | ReadOnlyError | OSError) or _passing(error):
            raise StoreUnavailable("The coordinator's store can't be reached. Send the request again.") from error


def _passing(error: BaseException | None) -> bool:
    """Redis is up but not yet, or no longer, able to write."""
    if not isinstance(error, RedisError):
        return False
    text = str(error)
    return isinstance(error, ResponseError) and text.startswith(("LOADING", "MISCONF", "OOM", "MASTERDOWN"))
