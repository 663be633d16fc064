"""`coordinator.protocol.conformity`: what an answer shows not to have been done."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.protocol.conformity import EMBEDDED, ignored, unsupported


def answer(
    *messages: dict[str, Any], finish: str = "stop", usage: dict[str, Any] | None = None, **choice: Any
) -> dict[str, Any]:
    choices = [{"index": i, "finish_reason": finish, "message": m, **choice} for i, m in enumerate(messages)]
    return {"choices": choices, "usage": usage}


def text(content: str | None) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def calls(*names: str) -> dict[str, Any]:
    made = [{"id": "1", "type": "function", "function": {"name": name, "arguments": "{}"}} for name in names]
    return {"role": "assistant", "content": None, "tool_calls": made}


TOKEN = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}
TOP = {**TOKEN, "top_logprobs": [{"token": "a", "logprob": -0.1}]}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "required": ["a"]}}}
WEATHER = {"type": "function", "function": {"name": "weather"}}


@pytest.mark.parametrize(
    ("request_fields", "given"),
    [
        ({}, answer(text("hi"))),
        ({"n": 2}, answer(text("hi"), text("ho"))),
        ({"n": None, "stop": None, "logprobs": None, "response_format": None, "tool_choice": None}, answer(text("hi"))),
        ({"logprobs": True}, answer(text("a"), logprobs={"content": [TOKEN]})),
        ({"logprobs": True, "top_logprobs": 0}, answer(text("a"), logprobs={"content": [TOKEN]})),
        ({"logprobs": True, "top_logprobs": 2}, answer(text("a"), logprobs={"content": [TOP]})),
        ({"logprobs": True}, answer(calls("weather"))),
        ({"logprobs": False}, answer(text("a"))),
        ({"tool_choice": "auto"}, answer(text("no need"))),
        ({"tool_choice": "required"}, answer(calls("weather"))),
        ({"tool_choice": "required"}, answer(text("{"), finish="length")),
        ({"tool_choice": WEATHER}, answer(calls("weather"))),
        ({"tool_choice": "required"}, answer({**text(None), "refusal": "no"})),
        ({"parallel_tool_calls": True}, answer(calls("a", "b"))),
        ({"response_format": {"type": "text"}}, answer(text("hi"))),
        ({"response_format": {"type": "json_object"}}, answer(text('{"a": 1}'))),
        ({"response_format": {"type": "json_object"}}, answer(text('{"a": '), finish="length")),
        ({"response_format": SCHEMA}, answer(text(' {"a": 1} '))),
        ({"response_format": SCHEMA}, answer(calls("weather"))),
        ({"stop": ["\n"]}, answer(text("one line"))),
        ({"max_tokens": 5}, answer(text("x"), text("y"), usage={"completion_tokens": 10})),
        ({"max_completion_tokens": 5}, answer(text("x"), usage={})),
    ],
)
def test_done_as_asked(request_fields: dict[str, Any], given: dict[str, Any]) -> None:
    assert unsupported(request_fields, given) is None


@pytest.mark.parametrize(
    ("request_fields", "given", "named"),
    [
        ({"n": 3}, answer(text("hi"), text("ho")), "n"),
        ({"logprobs": True}, answer(text("a")), "logprobs"),
        ({"logprobs": True}, answer(text("a"), logprobs={"content": []}), "logprobs"),
        ({"logprobs": True, "top_logprobs": 2}, answer(text("a"), logprobs={"content": [TOKEN]}), "top_logprobs"),
        ({"tool_choice": "required"}, answer(text("sunny")), "tool_choice"),
        ({"tool_choice": WEATHER}, answer(text("sunny")), "tool_choice"),
        ({"tool_choice": WEATHER}, answer(calls("stocks")), "tool_choice"),
        ({"tool_choice": "none"}, answer(calls("stocks")), "tool_choice"),
        ({"parallel_tool_calls": False}, answer(calls("a", "b")), "parallel_tool_calls"),
        ({"response_format": {"type": "json_object"}}, answer(text("sure: {}")), "response_format"),
        ({"response_format": SCHEMA}, answer(text('{"b": 1}')), "response_format"),
        ({"response_format": SCHEMA}, answer(text("[]")), "response_format"),
        ({"stop": "lo"}, answer(text("hello")), "stop"),
        ({"stop": ["x", "\n"]}, answer(text("a\nb")), "stop"),
        ({"max_tokens": 5}, answer(text("x"), usage={"completion_tokens": 6}), "max_tokens"),
        ({"max_completion_tokens": 5}, answer(text("x"), usage={"completion_tokens": 6}), "max_completion_tokens"),
    ],
)
def test_not_done(request_fields: dict[str, Any], given: dict[str, Any], named: str) -> None:
    message = unsupported(request_fields, given)
    assert message is not None
    assert message.split(":")[0] == named


@pytest.mark.parametrize(
    "given", [{}, {"choices": None}, {"choices": [None, 1]}, {"choices": [{"message": 1, "logprobs": 1}], "usage": 3}]
)
def test_a_strange_answer_is_no_crash(given: dict[str, Any]) -> None:
    everything = {"n": 1, "logprobs": True, "tool_choice": "required", "stop": "x", "response_format": SCHEMA}
    unsupported(everything, given)


@pytest.mark.parametrize(
    ("kind", "request_fields", "named"),
    [
        ("llamacpp", {"repetition_penalty": 1.1}, "repetition_penalty"),
        ("llamacpp", {"repetition_penalty": 1.0}, None),
        ("llamacpp", {"repetition_penalty": None}, None),
        ("llamacpp", {"reasoning": {"effort": "high"}}, "reasoning"),
        ("llamacpp", {"reasoning_effort": "high"}, None),
        (EMBEDDED, {"reasoning_effort": "high"}, "reasoning_effort"),
        (EMBEDDED, {"reasoning_effort": "none"}, None),
        (EMBEDDED, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        (EMBEDDED, {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, None),
        (EMBEDDED, {"messages": [{"role": "user", "content": "x"}]}, None),
        ("vllm", {"repetition_penalty": 1.1, "reasoning": {}}, None),
        ("", {"repetition_penalty": 1.1}, None),
    ],
)
def test_what_a_kind_of_server_would_pass_over(kind: str, request_fields: dict[str, Any], named: str | None) -> None:
    message = ignored(kind, request_fields)
    assert (message and message.split(":")[0]) == named
