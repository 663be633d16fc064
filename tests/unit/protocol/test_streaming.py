"""Which requests are streamed: the coordinator's deadline for a first token and the node's asking must agree."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.streaming import streams

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
TEXT: dict[str, Any] = {"model": "m", "prompt": "hi"}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "now"}}


@pytest.mark.parametrize(
    ("request_", "endpoint", "expected"),
    [
        (CHAT, "chat/completions", True),
        (CHAT | {"stream": False}, "chat/completions", True),
        (CHAT | {"n": 1, "logprobs": False}, "chat/completions", True),
        (CHAT | {"n": 2}, "chat/completions", False),
        (CHAT | {"logprobs": True}, "chat/completions", False),
        (CHAT | {"response_format": {"type": "json_object"}}, "chat/completions", True),
        (CHAT | {"tools": []}, "chat/completions", True),
        (CHAT | {"tools": [TOOL]}, "chat/completions", False),
        (TEXT, "completions", True),
        (TEXT | {"best_of": 1, "echo": False}, "completions", True),
        (TEXT | {"prompt": [1, 2]}, "completions", True),
        (TEXT | {"prompt": ["a"]}, "completions", True),
        (TEXT | {"prompt": ["a", "b"]}, "completions", False),
        (TEXT | {"logprobs": 0}, "completions", False),
        (TEXT | {"best_of": 2}, "completions", False),
        (TEXT | {"echo": True}, "completions", False),
        ({"model": "m", "input": "hi"}, "embeddings", False),
    ],
)
def test_what_is_asked_for_as_a_stream(request_: dict[str, Any], endpoint: Endpoint, expected: bool) -> None:
    assert streams(request_, endpoint) is expected
