"""What passes as an answer of each endpoint, and what it owes to what was asked."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from coordinator.protocol.conformity import ignored, unsupported
from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.shapes import inputs, is_answer, recoded

TEXT = {"choices": [{"text": "hi", "index": 0}]}
VECTOR = {"data": [{"embedding": [0.5, 1, -2.0], "index": 0}]}
MESSAGE = {"choices": [{"message": {"content": "hi"}}]}


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


@pytest.mark.parametrize(
    ("endpoint", "answer"), [("chat/completions", MESSAGE), ("completions", TEXT), ("embeddings", VECTOR)]
)
def test_each_endpoint_takes_its_own_answers_alone(endpoint: Endpoint, answer: dict[str, Any]) -> None:
    assert [each for each in (MESSAGE, TEXT, VECTOR) if is_answer(endpoint, each)] == [answer]


@pytest.mark.parametrize(
    "answer",
    [None, [], {}, {"data": []}, {"data": [{}]}, {"data": [{"embedding": []}]}, {"data": [{"embedding": ["1"]}]},
     {"data": [{"embedding": [True]}]}, {"data": [{"embedding": ""}]}, {"data": "text"}],
)  # fmt: skip
def test_what_is_no_embedding(answer: Any) -> None:
    assert not is_answer("embeddings", answer)


@pytest.mark.parametrize(("asked", "count"), [("a", 1), ([1, 2], 1), (["a", "b"], 2), ([[1], [2], [3]], 3)])
def test_how_many_inputs(asked: Any, count: int) -> None:
    assert inputs(asked) == count


@pytest.mark.parametrize(
    ("request_fields", "answer", "named"),
    [
        ({"prompt": "x"}, TEXT, None),
        ({"prompt": "x", "n": 2}, TEXT, "n"),
        ({"prompt": ["x", "y"]}, TEXT, "n"),
        ({"prompt": "x", "logprobs": 0}, TEXT, "logprobs"),
        ({"prompt": "x", "logprobs": 2}, {"choices": [{"text": "hi", "logprobs": {"tokens": ["hi"]}}]}, None),
        ({"prompt": "x", "echo": True}, TEXT, "echo"),
        ({"prompt": "h", "echo": True, "stop": "h"}, TEXT, None),
        ({"prompt": "x", "stop": "i"}, TEXT, "stop"),
        ({"prompt": "x", "stop": ["z", "hi"]}, TEXT, "stop"),
        ({"prompt": "x", "max_tokens": 2}, TEXT | {"usage": {"completion_tokens": 3}}, "max_tokens"),
    ],
)
def test_text_completions(request_fields: dict[str, Any], answer: dict[str, Any], named: str | None) -> None:
    found = unsupported(request_fields, answer, "completions")
    assert (found or "").partition(":")[0] == (named or "")


@pytest.mark.parametrize(
    ("request_fields", "vectors", "named"),
    [
        ({"input": "x"}, [[1.0, 2.0]], None),
        ({"input": ["x", "y"]}, [[1.0]], "input"),
        ({"input": "x"}, [[1.0], [2.0]], "input"),
        ({"input": "x", "encoding_format": "base64", "dimensions": 2}, [packed(1.0, 2.0)], None),
        ({"input": "x", "encoding_format": "base64", "dimensions": 2}, [packed(1.0)], "dimensions"),
        ({"input": "x", "encoding_format": "base64", "dimensions": 2}, ["?"], "dimensions"),
        ({"input": "x", "dimensions": 3}, [[1.0, 2.0]], "dimensions"),
    ],
)
def test_embeddings(request_fields: dict[str, Any], vectors: list[Any], named: str | None) -> None:
    answer = {"data": [{"embedding": vector} for vector in vectors]}
    assert is_answer("embeddings", answer)
    found = unsupported(request_fields, answer, "embeddings")
    assert (found or "").partition(":")[0] == (named or "")


def test_embeddings_are_recoded_where_the_server_gave_the_other_encoding() -> None:
    numbers, text = {"model": "m", "data": [{"embedding": [0.5, -2.0]}]}, packed(0.5, -2.0)
    wants_text = recoded({"encoding_format": "base64"}, numbers)
    assert wants_text == {"model": "m", "data": [{"embedding": text}]}
    assert recoded({"encoding_format": "base64"}, wants_text) is None
    assert recoded({}, wants_text) == numbers
    assert recoded({"encoding_format": "float"}, numbers) is None
    for odd in ("?", [1e300], [2**200]):
        broken = {"data": [{"embedding": odd}]}
        assert recoded({"encoding_format": "float" if odd == "?" else "base64"}, broken) == broken


@pytest.mark.parametrize(
    "fields",
    [{"echo": True}, {"suffix": "x"}, {"best_of": 2}, {"verbosity": "low"}],
    ids=lambda fields: next(iter(fields)),
)
def test_what_llama_cpp_passes_over(fields: dict[str, Any]) -> None:
    assert (ignored("llamacpp", fields) or "").startswith(next(iter(fields)))
    assert ignored("vllm", fields) is None
    assert ignored("llamacpp", {"echo": False, "suffix": "", "best_of": 1, "verbosity": "medium"}) is None
