"""What passes as an answer."""

from __future__ import annotations

import json

import pytest

from coordinator.lifecycle.answers import flaw

GOOD = {"model": "m", "choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}


def test_a_completion_passes() -> None:
    assert flaw(json.dumps(GOOD).encode()) is None


def test_a_tool_call_without_content_passes() -> None:
    body = {"model": "m", "choices": [{"message": {"content": None, "tool_calls": [{"id": "1"}]}}]}
    assert flaw(json.dumps(body).encode()) is None


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b'"text"', b'{"model":"m"}', b'{"model":"m","choices":[]}', b'{"model":"m","choices":[1]}',
        b'{"choices":[{"message":{"content":"x"}}]}', b'{"model":"m","choices":[{"message":{"content":null}}]}',
        b'{"model":"m","choices":[{"message":{"content":5}}]}', b'{"model":"m","choices":[{"text":"x"}]}',
        b'{"model":"m","usage":3,"choices":[{"message":{"content":"x"}}]}',
        b'{"model":"m","choices":[{"message":{"content":"x"}}]',
    ],
)  # fmt: skip
def test_anything_else_does_not(body: bytes) -> None:
    assert flaw(body) is not None


def test_a_text_completion_may_be_empty_and_an_embedding_may_not() -> None:
    assert flaw(b'{"model":"m","choices":[{"text":""}]}', "completions") is None
    assert flaw(b'{"model":"m","data":[{"embedding":[1]}]}', "embeddings") is None
    assert flaw(b'{"model":"m","data":[{"embedding":[]}]}', "embeddings") is not None
    assert flaw(b'{"data":[{"embedding":[1]}]}', "embeddings") == "no model"
    assert flaw(json.dumps(GOOD).encode(), "completions") is not None
