"""What the scripts remember of a node, for its operator and ours: see lua/standing_prelude.lua."""

from __future__ import annotations

from coordinator.protocol.session import Condition, Speed, Standing
from coordinator.store.scripts import Scripts


async def standing(scripts: Scripts, node: str) -> Standing:
    """`admitted` is for admission to say. Raises StoreUnavailable."""
    alive, condition, left, *rest = await scripts.call("standing", node)
    successes, faults, timeouts, *speeds = (value.decode() for value in rest)
    said = Condition(condition.decode())
    return Standing(
        admitted=True,
        signed_in=bool(alive),
        condition=said,
        suspended_ms=int(left) if said is Condition.SUSPENDED else None,
        successes=round(float(successes), 2),
        faults=round(float(faults), 2),
        timeouts=round(float(timeouts), 2),
        speeds={
            model: Speed(tokens_per_second=round(float(tps), 1) or None, first_token_ms=round(float(first), 1))
            for model, first, tps in zip(speeds[::3], speeds[1::3], speeds[2::3], strict=True)
        },
    )
