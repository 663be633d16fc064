"""What it brings that a conversation's turns go back to the node that has them in its prompt cache.

Two networks beside each other, each of a few nodes with llama.cpp and the tiny model in them; one with
RELAY_AFFINITY_SECONDS=0. The same conversations, turn by turn in both, one call at a time: what differs is how much of
a prompt has to be read anew.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from scripts.network.children import together
from scripts.network.home import Home
from scripts.network.network import Network, Plan
from scripts.network.relay import MODEL

NODES = 4
# So many conversations under way at a time: with one alone, nodes that take turns would be a pattern of their own.
CONVERSATIONS = 6
TURNS = 7
# Words, about as many tokens, of the 2048 that the tiny model was trained for. Below, a miss reads up to 1,600 anew.
FIRST_WORDS, MORE_WORDS = 400, 200
_WORDS = ("relay", "sends", "a", "task", "to", "the", "node", "that", "runs", "it", "and", "posts", "its", "answer")


@dataclass(slots=True, eq=False)
class Side:
    """One of the networks. `times`: ms from request to answer; `prompt` and `cached`: tokens, those not read anew."""

    url: str
    session: aiohttp.ClientSession
    times: list[float] = field(default_factory=list)
    prompt: int = 0
    cached: int = 0

    async def say(self, messages: list[dict[str, Any]], *, counted: bool) -> dict[str, Any]:
        """The answer's message."""
        body = {"model": MODEL, "mode": "opengpu", "messages": messages, "max_completion_tokens": 8, "temperature": 0}
        started = time.perf_counter()
        async with self.session.post(f"{self.url}/v2/openai/v1/chat/completions", json=body) as reply:
            answer = await reply.json()
            if reply.status != 200:
                raise RuntimeError(f"{reply.status}: {answer}")
        if counted:  # a first turn is in nobody's cache
            self.times.append((time.perf_counter() - started) * 1000)
            self.prompt += answer["usage"]["prompt_tokens"]
            self.cached += answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        message: dict[str, Any] = answer["choices"][0]["message"]
        return message

    def row(self, name: str) -> str:
        shown = ", ".join(f"p{share} {statistics.quantiles(self.times, n=100)[share - 1]:.0f}" for share in (50, 90))
        mean, cached = statistics.mean(self.times), self.cached / self.prompt
        return f"{name}   {shown}, mean {mean:.0f} ms   {cached:.0%} of the prompts' tokens from the cache"


async def measure(rounds: int) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as directory:
        async with _networks(Path(directory)) as (on, off):
            for number in range(rounds):
                await _round(random.Random(number), on, off)
    ratio = statistics.mean(off.times) / statistics.mean(on.times)
    return [
        f"{NODES} nodes with llama.cpp each; turns 2 to {TURNS} of {CONVERSATIONS} conversations at a time, "
        f"{len(on.times)} calls each way",
        on.row("back to the node that has it"),
        off.row("to any node                 "),
        f"mean time to answer, any node / the one that has it: {ratio:.2f}",
    ]


async def _round(chance: random.Random, *sides: Side) -> None:
    """The same words to both, in turns; which side goes first, chance says."""
    talks: list[dict[Side, list[dict[str, Any]]]] = [{side: [] for side in sides} for _ in range(CONVERSATIONS)]
    for turn in range(TURNS):
        for talk in chance.sample(talks, len(talks)):
            words = " ".join(chance.choices(_WORDS, k=MORE_WORDS if turn else FIRST_WORDS))
            for side in chance.sample(sides, len(sides)):
                talk[side].append({"role": "user", "content": words})
                talk[side].append(await side.say(talk[side], counted=turn > 0))


@asynccontextmanager
async def _networks(path: Path) -> AsyncIterator[tuple[Side, Side]]:
    homes = [Home(path / name) for name in ("on", "off")]
    plans = [Plan(0, NODES, settings={"RELAY_AFFINITY_SECONDS": seconds}) for seconds in ("600", "0")]
    networks = [Network(home, plan, print) for home, plan in zip(homes, plans, strict=True)]
    sessions: list[aiohttp.ClientSession] = []
    try:
        ups = await together(*(network.start() for network in networks))
        sessions += [aiohttp.ClientSession(headers={"authorization": f"Bearer {up['api_key']}"}) for up in ups]
        on, off = (Side(up["base_url"], session) for up, session in zip(ups, sessions, strict=True))
        yield on, off
    finally:
        for session in sessions:
            await session.close()
        await together(*(network.stop() for network in networks))
        for home in homes:
            home.close()
