"""What passes as an answer, and that nothing a node may send breaks the one who looks at it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.lifecycle.answers import BadAnswer, checked, most_bytes
from coordinator.protocol.envelope import Endpoint

Json = dict[str, Any]
SERVED = Path(__file__).resolve().parents[2] / "golden/answers"
GOOD: Json = {"model": "m", "choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "no JSON, and the model's own"}}


def flaw(
    body: Any, endpoint: Endpoint = "chat/completions", asked: Json | None = None, context: int | None = None
) -> str | None:
    try:
        checked(body if isinstance(body, bytes) else json.dumps(body).encode(), asked or {}, endpoint, context)
    except BadAnswer as error:
        return error.flaw
    return None


def chat(ended: Any = "stop", usage: Json | None = None, **message: Any) -> Json:
    return {"model": "m", "usage": usage, "choices": [{"message": message, "finish_reason": ended}]}


def test_a_completion_passes_and_comes_back_parsed() -> None:
    assert checked(json.dumps(GOOD).encode(), {}, "chat/completions") == GOOD


@pytest.mark.parametrize(
    "answer",
    [
        chat("tool_calls", content=None, tool_calls=[CALL]),
        chat(content=None, tool_calls=[{"type": "custom", "custom": {"name": "f", "input": "x"}}]),
        chat(content=None, refusal="No."),
        chat(content="", reasoning_content="Hm."),
        chat(content=None, reasoning="Hm."),
        chat(content=[{"type": "text", "text": "hi"}]),
        chat(content="hi", tool_calls=[]),
        chat("length", content=""),
        chat("content_filter", content=None),
        chat("eos_token", content="hi"),
        chat(content="\n"),
    ],
)
def test_whatever_an_honest_server_may_mean_passes(answer: Json) -> None:
    assert flaw(answer) is None


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b'"text"', b'{"model":"m"}', b'{"model":"m","choices":[]}', b'{"model":"m","choices":[1]}',
        b'{"choices":[{"message":{"content":"x"}}]}', b'{"model":"m","choices":[{"message":{"content":null}}]}',
        b'{"model":"m","choices":[{"message":{"content":5}}]}', b'{"model":"m","choices":[{"text":"x"}]}',
        b'{"model":"m","usage":3,"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}',
        b'{"model":"m","choices":[{"message":{"content":"x"},"finish_reason":"stop"}]',
        b'{"model":"m","choices":[{"message":{"content":"\\ud800"},"finish_reason":"stop"}]}',
        b'{"model":"m","x":NaN,"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}',
        b'{"model":"m","x":' + b"[" * 2000 + b"]" * 2000 + b"}",
    ],
)  # fmt: skip
def test_anything_else_does_not(body: bytes) -> None:
    assert flaw(body) is not None


def test_what_could_not_be_written_anew_is_no_answer() -> None:
    deep = orjson.dumps(GOOD)[:-1] + b',"x":' + b"[" * 300 + b"]" * 300 + b"}"
    assert flaw(deep) == "nested too deep"


@pytest.mark.parametrize("ended", ["stop", "tool_calls"])
@pytest.mark.parametrize("message", [{}, {"content": ""}, {"content": []}, {"content": None, "tool_calls": []}])
def test_an_empty_message_is_no_answer(message: Json, ended: str) -> None:
    assert flaw(chat(ended, **message)) == "an empty message"


@pytest.mark.parametrize(
    "asked",
    [
        {"stop": ["\n"]},
        {"stop": "\n"},
        {"include_reasoning": False},
        {"logit_bias": {"2": 100}},
        {"messages": [{"role": "user", "content": "7 + 5?"}, {"role": "assistant", "content": "12."}]},
    ],
)
def test_an_empty_message_may_be_all_that_was_wanted(asked: Json) -> None:
    assert flaw(chat(content=""), asked=asked) is None


@pytest.mark.parametrize("ended", [None, "", 7])
def test_without_a_finish_reason_it_was_cut_off(ended: Any) -> None:
    assert flaw(chat(ended, content="Once upon a")) == "cut off: no finish_reason"
    text = {"model": "m", "choices": [{"text": "Once upon a", "finish_reason": ended}]}
    assert flaw(text, "completions") == "cut off: no finish_reason"


@pytest.mark.parametrize("ended", ["abort", "error"])
def test_some_servers_say_that_they_broke_off(ended: str) -> None:
    assert flaw(chat(ended, content="Once upon a")) == f"cut off: {ended}"


@pytest.mark.parametrize(
    ("asked", "made", "context", "short"),
    [
        ({"max_tokens": 500}, 100, 2048, True),
        ({"max_completion_tokens": 500}, 100, 2048, True),
        ({"max_tokens": 500}, 500, 2048, False),
        ({"max_tokens": 500}, 490, 2048, False),  # servers differ in what they count
        ({"max_tokens": 500, "max_completion_tokens": 100}, 100, 2048, False),
        ({}, 100, 2048, False),  # a limit of the server's own
        ({"max_tokens": 500}, 100, None, False),
        ({"max_tokens": 500}, 100, 120, False),  # the context is full
        ({"max_tokens": 500}, None, 2048, False),
    ],
)
def test_length_is_believed_where_a_length_was_reached(
    asked: Json, made: int | None, context: int | None, short: bool
) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": made}
    assert (flaw(chat("length", usage, content="Once"), asked=asked, context=context) is not None) is short
    assert flaw(chat("stop", usage, content="Once"), asked=asked, context=context) is None
    thought = chat("length", usage, content="Once", reasoning="which some servers do not count")
    assert flaw(thought, asked=asked, context=context) is None


@pytest.mark.parametrize("calls", [7, [7], [{"id": "1"}], [{"function": {"name": "f", "arguments": {}}}]])
def test_a_call_that_no_client_could_read_is_no_answer(calls: Any) -> None:
    assert flaw(chat(content="x", tool_calls=calls)) is not None


def test_an_answer_does_what_a_node_has_to_check_that_it_does() -> None:
    assert flaw(GOOD, asked={"n": 2}) is not None
    assert flaw(GOOD, asked={"response_format": {"type": "json_object"}}) is not None
    assert flaw(chat(content="[" * 100_000), asked={"response_format": {"type": "json_object"}}) is not None
    many = chat(content=json.dumps([{"a": []}] * 1000))
    assert flaw(many, asked={"response_format": {"type": "json_object"}}) is None
    assert flaw(chat("length", content='{"a"'), asked={"response_format": {"type": "json_object"}}) is None


def test_choices_that_nobody_asked_for_are_no_answer() -> None:
    twice = {**GOOD, "choices": GOOD["choices"] * 2}
    assert flaw(twice) == flaw(twice, asked={"n": 1}) == "more choices than were asked for"
    assert flaw(twice, asked={"n": 2}) is None
    texts = {"model": "m", "choices": [{"text": "", "finish_reason": "stop"}] * 4}
    assert flaw(texts, "completions", {"prompt": ["a", "b"], "n": 2}) is None
    assert flaw(texts, "completions", {"prompt": ["a", "b"]}) is not None


def test_without_a_limit_of_tokens_an_answer_is_no_longer_than_the_context() -> None:
    padded = orjson.dumps(GOOD | {"padding": "x" * 10**7})
    checked(padded, {}, "chat/completions", 131_072)
    checked(padded, {}, "chat/completions")
    with pytest.raises(BadAnswer, match="longer"):
        checked(padded, {}, "chat/completions", 2048)


def test_an_answer_is_no_longer_than_what_was_asked_for_can_be() -> None:
    asked = {"max_tokens": 2}
    padded = GOOD | {"padding": "x" * most_bytes(asked, "chat/completions")}
    assert flaw(padded, asked=asked) == "longer than what was asked for can be"
    assert flaw(padded, asked={"max_tokens": 100}) is None
    assert most_bytes({"max_tokens": 2, "logprobs": True, "top_logprobs": 20}, "chat/completions") > 40_000
    assert most_bytes({"input": ["a", "b"]}, "embeddings") > 2 * 8192 * 24


def test_a_text_completion_may_be_empty_and_an_embedding_may_not() -> None:
    assert flaw(b'{"model":"m","choices":[{"text":"","finish_reason":"stop"}]}', "completions") is None
    assert flaw(b'{"model":"m","data":[{"embedding":[1]}]}', "embeddings") is None
    assert flaw(b'{"model":"m","data":[{"embedding":[]}]}', "embeddings") is not None
    assert flaw(b'{"data":[{"embedding":[1]}]}', "embeddings") == "no model"
    assert flaw(GOOD, "completions") is not None


@pytest.mark.parametrize("file", sorted(SERVED.glob("*.json")), ids=lambda file: file.stem)
def test_answers_of_the_usual_servers_pass(file: Path) -> None:
    """In the shapes that vLLM, SGLang, llama.cpp, Ollama and TGI give theirs; none is to be punished for its extras."""
    answer = file.read_bytes()
    endpoint: Endpoint = "completions" if b"text_completion" in answer else "chat/completions"
    assert flaw(answer, endpoint, {"messages": [], "prompt": "7 + 5 is", "max_tokens": 512}) is None


NAMES = st.sampled_from(
    ["model", "choices", "message", "content", "text", "finish_reason", "usage", "tool_calls", "function", "name",
     "arguments", "logprobs", "top_logprobs", "completion_tokens", "prompt_tokens", "data", "embedding", "refusal"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(["stop", "length", "m"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)  # fmt: skip
ASKED = st.sampled_from(
    [{}, {"n": 2, "max_tokens": 5}, {"logprobs": True, "top_logprobs": 2, "tool_choice": "required"},
     {"response_format": {"type": "json_schema", "json_schema": {"schema": {"required": ["a"]}}}, "stop": "x"},
     {"input": ["a"], "dimensions": 3}, {"prompt": ["a", "b"], "echo": True, "logprobs": 1}]
)  # fmt: skip
ENDPOINTS: st.SearchStrategy[Endpoint] = st.sampled_from(["chat/completions", "completions", "embeddings"])


@given(JSON, JSON, ASKED, ENDPOINTS)
def test_no_answer_breaks_the_check(whole: Any, choice: Any, asked: Json, endpoint: Endpoint) -> None:
    items = [{"message": choice, "text": "", "embedding": choice, "finish_reason": "length"}]
    body = {"model": "m", "choices": items, "data": items, "usage": whole}
    for answer in (whole, body):
        found = flaw(orjson.dumps(answer), endpoint, asked, 100)
        assert found is None or "\n" not in found


@given(st.binary(max_size=200), ENDPOINTS)
def test_nor_do_bytes(answer: bytes, endpoint: Endpoint) -> None:
    assert flaw(answer, endpoint) is not None
