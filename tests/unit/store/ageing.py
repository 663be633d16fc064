"""Time moved by hand: what the store remembers of nodes becomes older than it is."""

from __future__ import annotations

from datetime import timedelta

from tests.unit.store.network import Network


async def standing(network: Network, node: str) -> dict[str, bytes]:
    row = await network.redis.hgetall(f"relay:standing:{node}")
    return {name.decode(): value for name, value in row.items()}


async def suspended_for(network: Network, node: str) -> timedelta:
    until = timedelta(milliseconds=int((await standing(network, node))["until_ms"]))
    return until - timedelta(seconds=network.now().timestamp())


async def age(network: Network, node: str, by: timedelta) -> None:
    """As if `by` had passed since the node was last seen at work."""
    await _age(network, f"relay:standing:{node}", by)


async def age_model(network: Network, model: str, by: timedelta) -> None:
    await _age(network, f"relay:speed:{model}", by)


async def _age(network: Network, key: str, by: timedelta) -> None:
    """Every moment in a hash: `at`, `at:{model}`, and what has `_ms` in its name."""
    for name, value in (await network.redis.hgetall(key)).items():
        field = name.decode()
        moment = field == "at" or field.startswith("at:") or "_ms" in field
        if moment and int(value):
            await network.redis.hset(key, field, str(int(value) - round(by.total_seconds() * 1000)))


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
