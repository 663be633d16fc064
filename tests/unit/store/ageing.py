"""Time moved by hand: what the store remembers of nodes becomes older than it is."""

from __future__ import annotations

import json
import math
from datetime import timedelta

from tests.unit.store.network import Network

# As in lua/standing_prelude.lua and pace_prelude.lua.
RECORD = (
    "counted_ms", "successes", "faults", "timeouts", "good", "bad",
    "streak", "silent_ms", "until_ms", "trips", "tripped_ms", "well",
)  # fmt: skip
PACE = ("at", "answered", "first", "tps", "tokens")


async def standing(network: Network, node: str) -> dict[str, float]:
    record = json.loads(await network.redis.hget(f"relay:standing:{node}", "record") or b"[]")
    return dict.fromkeys(RECORD, 0.0) | dict(zip(RECORD, record, strict=False))


async def condition(network: Network, node: str) -> str:
    return (await network.redis.hget(f"relay:standing:{node}", "condition") or b"good").decode()


async def suspended_for(network: Network, node: str) -> timedelta:
    until = timedelta(milliseconds=(await standing(network, node))["until_ms"])
    return until - timedelta(seconds=network.now().timestamp())


async def end_suspension(network: Network, node: str) -> None:
    if await condition(network, node) == "suspended":
        await age(network, node, await suspended_for(network, node) + timedelta(seconds=1))


async def age(network: Network, node: str, by: timedelta) -> None:
    """As if `by` had passed since the node was last seen at work."""
    await _age(network, f"relay:standing:{node}", by)


async def age_model(network: Network, model: str, by: timedelta) -> None:
    await _age(network, f"relay:speed:{model}", by)


async def _age(network: Network, key: str, by: timedelta) -> None:
    for name, value in (await network.redis.hgetall(key)).items():
        if name.split(b":")[0] in (b"record", b"pace"):
            numbers = zip(RECORD if name == b"record" else PACE, json.loads(value), strict=True)
            await network.redis.hset(key, name, json.dumps([_older(field, number, by) for field, number in numbers]))


def _older(field: str, number: float, by: timedelta) -> float:
    moment = number and (field == "at" or field.endswith("_ms"))
    # down: what ends now has ended, and not half a millisecond from now
    return math.floor(number - by.total_seconds() * 1000) if moment else number


async def took(network: Network, attempt: str, duration: timedelta) -> None:
    """As if an attempt that is still open had been given to its node so long ago."""
    task, _, number = attempt.rpartition("#")
    moments = ("assigned_ms", f"answering:{number}")
    assigned, answering = await network.redis.hmget(f"relay:task:{task}", moments)
    ago = round((network.now().timestamp() - duration.total_seconds()) * 1000)
    await network.redis.hset(f"relay:task:{task}", "assigned_ms", str(ago))
    if answering:
        later = int(answering) - int(assigned)
        await network.redis.hset(f"relay:task:{task}", f"answering:{number}", str(ago + later))


async def outage(network: Network, lasted: timedelta) -> None:
    """As if no process of ours had run for so long: what was to happen at some moment is long past."""
    by = round(lasted.total_seconds() * 1000)
    for key in ("relay:leases", "relay:nodes", "relay:deadlines"):
        for member, score in await network.redis.zrange(key, 0, -1, withscores=True):
            await network.redis.zadd(key, {member: score - by})
    for attempt in await network.redis.zrange("relay:leases", 0, -1):
        await took(network, attempt.decode(), lasted)
    await network.redis.set("relay:swept_ms", str(round(network.now().timestamp() * 1000) - by))
