"""What the coordinator's affinity is for: the embedded llama.cpp has not to read again what it has read before."""

from __future__ import annotations

from typing import Any

import httpx

from node.inference.embedded import EmbeddedServer


def test_the_next_turn_is_read_from_the_cache() -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "What is a lease? " * 20}]
    cached = []
    with EmbeddedServer("relay/tiny-chat", slots=2) as server:
        for _ in range(3):
            body = {"messages": messages, "max_tokens": 8, "temperature": 0}
            reply = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60).raise_for_status().json()
            messages += [reply["choices"][0]["message"], {"role": "user", "content": "And what is a slot?"}]
            usage = reply["usage"]
            cached.append(usage["prompt_tokens_details"]["cached_tokens"] / usage["prompt_tokens"])
    first, second, third = cached
    assert first < 0.2
    assert min(second, third) > 0.7
