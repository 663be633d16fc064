"""Conversations in the whole network: every turn at the node of the one before, which has it in its cache."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from tests.e2e.relay_client import CHAT, body, client, ended
from tests.parts.network import RunningNetwork

TURNS = 4


class Talk:
    """What was said, and of each turn the node and the share of its prompt that came from a cache."""

    def __init__(self, opening: str) -> None:
        self.messages = [{"role": "user", "content": opening}]
        self.nodes: list[str] = []
        self.cached: list[float] = []

    async def go_on(self, http: httpx.AsyncClient) -> None:
        request = body(mode="opengpu") | {"messages": self.messages}
        answer = (await http.post(CHAT, json=request)).raise_for_status().json()
        usage = answer["usage"]
        self.cached.append(usage["prompt_tokens_details"]["cached_tokens"] / usage["prompt_tokens"])
        self.nodes.append((await ended(http, answer["task_id"]))["node"])
        self.messages += [answer["choices"][0]["message"], {"role": "user", "content": "And what is 2 + 3?"}]


async def test_conversations_stay_where_they_are(network: RunningNetwork, report: Callable[[str], None]) -> None:
    # different from the first word on: llama.cpp lets a newcomer write over a conversation that begins as it does
    talks = [Talk(f"{what} What is {what}? " * 12) for what in ("A lease!", "7 + 5!", "Hello!", "The relay!")]
    async with client(network.up) as http:
        for _ in range(TURNS):
            for talk in talks:
                await talk.go_on(http)
    assert [len(set(talk.nodes)) for talk in talks] == [1] * len(talks)
    later = [share for talk in talks for share in talk.cached[1:]]
    report(f"{len(talks)} conversations: {min(later):.0%} or more of a prompt from the cache from the second turn on")
    assert min(later) > 0.5
