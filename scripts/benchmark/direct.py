"""Direct mode, one API process, with key check, validation and limits, beside the upstream itself."""

from __future__ import annotations

import statistics

from scripts.benchmark.stage import REQUEST, Stage, ask_many

CALLS, AT_ONCE = 3000, 16


async def measure(stage: Stage, rounds: int) -> list[str]:
    rates: list[float] = []
    upstream: list[float] = []
    costs: list[float] = []
    async with stage.client(AT_ONCE) as session:
        for _ in range(rounds):
            upstream.append(CALLS / await ask_many(session, stage.backend_chat, REQUEST, CALLS, AT_ONCE))
            before = stage.cpu_seconds("api")
            rates.append(CALLS / await ask_many(session, stage.chat, {**REQUEST, "mode": "direct"}, CALLS, AT_ONCE))
            costs.append((stage.cpu_seconds("api") - before) / CALLS * 1e6)
    return [
        f"upstream directly   {statistics.median(upstream):7.0f} requests/s (the load generator's own limit)",
        f"direct mode         {statistics.median(rates):7.0f} requests/s, {AT_ONCE} at once",
        f"CPU of the API      {statistics.median(costs):7.0f} µs a request   (aim: ≤ 150)",
    ]
