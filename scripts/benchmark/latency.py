"""What opengpu mode, recording on, adds to a call of the backend itself, one call at a time."""

from __future__ import annotations

import statistics
import time

from scripts.benchmark.stage import REQUEST, Stage, ask


async def measure(stage: Stage, rounds: int) -> list[str]:
    """Rounds of 50 calls each way, interleaved call by call, so that whatever else the machine does hits both."""
    opengpu: list[float] = []
    backend: list[float] = []
    async with stage.client(2) as session:
        for _ in range(rounds * 50):
            for times, url, body in (
                (backend, stage.backend_chat, REQUEST),
                (opengpu, stage.chat, {**REQUEST, "mode": "opengpu"}),
            ):
                started = time.perf_counter()
                await ask(session, url, body)
                times.append((time.perf_counter() - started) * 1000)
    added = {name: _percentile(opengpu, share) - _percentile(backend, share) for name, share in SHARES.items()}
    return [
        f"backend directly   {_shown(backend)}",
        f"opengpu mode       {_shown(opengpu)}",
        f"added by the relay p50 {added['p50']:.2f} ms, p99 {added['p99']:.2f} ms   (aim: p50 ≤ 4, p99 ≤ 20)",
    ]


SHARES = {"p50": 50, "p90": 90, "p99": 99}


def _percentile(times: list[float], share: int) -> float:
    return statistics.quantiles(times, n=100)[share - 1]


def _shown(times: list[float]) -> str:
    shown = ", ".join(f"{name} {_percentile(times, share):.2f} ms" for name, share in SHARES.items())
    return f"{shown}   ({len(times)} calls)"
