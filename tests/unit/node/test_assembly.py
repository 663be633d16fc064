"""A stream and its answer in one piece: two ways of saying the same."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.protocol.envelope import Endpoint
from node.inference.assembly import Assembly, StreamFault
from tests.fakes.backend import chunk, chunks, sse


def assembled(
    stream: bytes, endpoint: Endpoint = "chat/completions", cuts: list[int] | None = None
) -> tuple[dict[str, Any], int]:
    """The answer, and how often its first token was heard."""
    heard: list[int] = []
    whole = Assembly(endpoint, lambda: heard.append(1))
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts or []), len(stream)]
    for begin, end in pairwise(edges):
        whole.feed(stream[begin:end])
    return orjson.loads(whole.body()), len(heard)


def message(*frames: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = assembled(sse([*frames, *chunks()[1:]]))[0]["choices"][0]["message"]
    return made


def test_the_answer_of_vllm() -> None:
    answer, heard = assembled(sse(chunks("Hel", "lo", "!", created=5, system_fingerprint="fp")))
    assert answer == {
        "id": "c",
        "object": "chat.completion",
        "model": "m",
        "created": 5,
        "system_fingerprint": "fp",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello!"}},
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }
    assert heard == 1


def test_the_answer_of_llama_cpp() -> None:
    """Its counts come with its timings, behind null for a content."""
    usage = {"completion_tokens": 2, "prompt_tokens": 3, "total_tokens": 5}
    frames = [
        chunk({"role": "assistant", "content": None}),
        chunk({"reasoning_content": "Hm"}),
        chunk({"reasoning_content": "…"}),
        chunk({"content": "Yes"}),
        chunk({}, "stop"),
        chunk(usage=usage, timings={"predicted_ms": 1.5}),
    ]
    answer, _ = assembled(sse(frames))
    said = {"role": "assistant", "content": "Yes", "reasoning_content": "Hm…"}
    assert answer["choices"] == [{"index": 0, "finish_reason": "stop", "message": said}]
    assert answer["usage"] == usage
    assert answer["timings"] == {"predicted_ms": 1.5}


def test_a_text_completion() -> None:
    def part(text: str, finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
        return {"id": "t", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], **fields}

    frames = [part("On"), part("ce"), part(" upon"), part("", "length", usage={"completion_tokens": 3})]
    answer, heard = assembled(sse(frames), "completions")
    choice = {"index": 0, "text": "Once upon", "logprobs": None, "finish_reason": "length"}
    assert answer == part("", None, usage={"completion_tokens": 3}) | {"choices": [choice]}
    assert heard == 1
    nothing, heard = assembled(sse([part("", "stop")]), "completions")
    assert nothing["choices"][0]["text"] == ""
    assert heard == 0


def test_choices_are_put_in_order_whatever_order_they_come_in() -> None:
    def part(index: int, **choice: Any) -> dict[str, Any]:
        return {"id": "c", "choices": [{"index": index, "finish_reason": None, **choice}]}

    frames = [
        part(1, delta={"role": "assistant", "content": "b"}),
        part(0, delta={"role": "assistant", "content": "a"}),
        part(1, delta={"content": "B"}),
        part(1, delta={"content": "B"}),
        part(0, delta={"content": "A"}),
        part(1, delta={}, finish_reason="stop"),
        part(0, delta={}, finish_reason="length"),
    ]
    answer, _ = assembled(sse(frames))
    told = [(one["index"], one["message"]["content"], one["finish_reason"]) for one in answer["choices"]]
    assert told == [(0, "aA", "length"), (1, "bBB", "stop")]


def test_log_probabilities_and_what_nobody_knows_add_up() -> None:
    def part(content: str, number: int) -> dict[str, Any]:
        entry = {"token": content, "logprob": -0.5}
        choice = {"index": 0, "delta": {"content": content}, "logprobs": {"content": [entry], "refusal": None}}
        return {"id": "c", "choices": [{**choice, "token_ids": [number], "finish_reason": None}]}

    frames = [part("a", 1), part("a", 1), part("b", 2), chunk({}, "stop", service_tier="default")]
    answer, _ = assembled(sse(frames))
    choice = answer["choices"][0]
    assert [entry["token"] for entry in choice["logprobs"]["content"]] == ["a", "a", "b"]
    assert choice["token_ids"] == [1, 1, 2]
    assert answer["service_tier"] == "default"


def test_other_texts_of_a_message() -> None:
    assert message(chunk({"refusal": "I "}), chunk({"refusal": "won't"}))["refusal"] == "I won't"
    two = message(
        chunk({"reasoning": "a", "reasoning_content": "a"}), chunk({"reasoning": "b", "reasoning_content": "b"})
    )
    assert (two["reasoning"], two["reasoning_content"]) == ("ab", "ab")
    assert message(chunk({"role": "assistant", "content": "a"}), chunk({"role": "assistant", "content": "b"})) == {
        "role": "assistant",
        "content": "ab",
    }
    assert message(chunk({"annotations": [1]}), chunk({"annotations": [2]}))["annotations"] == [1, 2]


def test_calls_of_tools_add_up_by_their_index() -> None:
    def called(index: int, **function: str) -> dict[str, Any]:
        named = {"id": f"call{index}", "type": "function"} if "name" in function else {}
        return chunk({"tool_calls": [{"index": index, **named, "function": function}]})

    made = message(
        called(0, name="add", arguments=""),
        called(0, arguments='{"a"'),
        called(0, arguments=":1}"),
        called(1, name="now"),
    )
    assert made["content"] is None
    assert made["tool_calls"] == [
        {"id": "call0", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}},
        {"id": "call1", "type": "function", "function": {"name": "now"}},
    ]


def test_frames_as_servers_may_write_them() -> None:
    stream = (
        b": hello\r\n\r\nevent: message\r\ndata: " + orjson.dumps(chunk({"content": "a"})) + b"\r\n\r\n"
        b'data:{"choices":[{"index":0,\ndata:"delta":{"content":"b"}}]}\n\n'
        b"id: 4\n\n\n\ndata: " + orjson.dumps(chunk({"content": "c"}, "stop")) + b"\n\ndata: [DONE]"
    )
    for cut in range(len(stream)):
        answer, heard = assembled(stream, cuts=[cut])
        assert answer["choices"][0]["message"]["content"] == "abc"
        assert heard == 1


TEXTS = st.lists(st.text(st.sampled_from('ab\\"\n\t 😀é{}":,\u2028'), max_size=4), max_size=12)


@given(texts=TEXTS, cuts=st.lists(st.integers(0, 5000), max_size=6), role=st.booleans())
def test_any_text_in_any_pieces(texts: list[str], cuts: list[int], role: bool) -> None:
    """With and without the mould, as orjson writes it and as json does."""
    extra = {"role": "assistant"} if role else {}
    frames = [chunk({"content": text, **extra}) for text in texts]
    stream = [chunk({"role": "assistant", "content": ""}), *frames, chunk({}, "stop"), b"[DONE]"]
    for writer in (sse, lambda told, **_: sse([one if isinstance(one, bytes) else orjson.dumps(one) for one in told])):
        answer, heard = assembled(writer(stream, done=False), cuts=cuts)
        assert answer["choices"][0]["message"] == {"role": "assistant", "content": "".join(texts)}
        assert heard == (1 if any(texts) else 0)


DELTAS = st.sampled_from(
    [
        {"content": "a"},
        {"content": "a"},
        {"content": 'b"\\'},
        {"content": ""},
        {"content": None},
        {"role": "assistant", "content": "c"},
        {"reasoning_content": "d"},
        {"content": "e", "reasoning_content": None},
        {"content": "f", "refusal": "g"},
        {"annotations": [1]},
        {},
    ]
)
AROUND = st.sampled_from([{}, {}, {}, {"created": 2}, {"service_tier": "x"}, {"usage": {"completion_tokens": 3}}])


@given(st.lists(st.tuples(DELTAS, AROUND), max_size=30))
def test_a_mould_changes_nothing(frames: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """The same frames, alike and each with a number of its own, which no mould fits."""
    alike = [chunk(delta, **around) for delta, around in frames] + [chunk({}, "stop")]
    unlike = [{**frame, "number": number} for number, frame in enumerate(alike)]
    by_mould, heard = assembled(sse([orjson.dumps(frame) for frame in alike]))
    parsed, heard_too = assembled(sse([orjson.dumps(frame) for frame in unlike]))
    assert parsed.pop("number") == len(frames)
    assert (by_mould, heard) == (parsed, heard_too)


def test_frames_that_differ_in_more_than_their_text_are_no_mould() -> None:
    """A field of another name, of the same letters, or with a count of its own."""
    frames = [
        chunk({"content": "a"}),
        chunk({"content": 'x","refusal":"no'}),  # looks like two fields, is one
        b'{"id":"c","choices":[{"index":0,"delta":{"content":"b","refusal":"No."},"finish_reason":null}]}',
        chunk({"content": "c"}, usage={"completion_tokens": 1}),
        chunk({"content": "c"}, usage={"completion_tokens": 2}),
        chunk({"content": "d"}, "stop"),
    ]
    answer, _ = assembled(sse([orjson.dumps(one) if isinstance(one, dict) else one for one in frames]))
    said = answer["choices"][0]["message"]
    assert said == {"role": "assistant", "content": 'ax","refusal":"nobccd', "refusal": "No."}
    assert answer["usage"] == {"completion_tokens": 2}


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        sse(chunks("Hel", "lo")[:2], done=False),  # nobody said that it ended
        sse(chunks("Hel", "lo")[:2]),  # nor how
        sse([chunk({"content": "a"}, "stop")], done=False),  # and no counts came
        sse([]),
        sse([chunk(usage={"completion_tokens": 0})]),
    ],
)
def test_a_truncated_or_empty_stream_is_no_answer(stream: bytes) -> None:
    with pytest.raises(StreamFault, match=r"truncated|empty"):
        assembled(stream)


@pytest.mark.parametrize(
    "frame",
    [
        b"{",
        b"[]",
        b"3",
        b'"text"',
        b'{"choices":3}',
        b'{"choices":{"a":1}}',
        b'{"choices":[3]}',
        b'{"choices":[{"delta":"text"}]}',
        b'{"choices":[{"index":[],"delta":{}}]}',
        b'{"choices":[{"index":"0","delta":{}}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"index":5}]}}]}',
        b'{"choices":[{"delta":{"tool_calls":{"a":1}}}]}',
        b'{"choices":[{"delta":{"content":"\xff"}}]}',
        b'{"choices":[{"delta":{"content":' + b"[" * 5000,
        b"\x00",
    ],
)
def test_garbage_is_no_answer(frame: bytes) -> None:
    with pytest.raises(StreamFault, match="makes no sense"):
        assembled(sse([chunk({"content": "a"}), frame]))


def test_garbage_that_fits_the_mould_is_no_answer() -> None:
    good = orjson.dumps(chunk({"content": "a"}))
    with pytest.raises(StreamFault, match="makes no sense"):
        assembled(sse([good, good.replace(b'"a"', b'"\x01"'), *chunks()[1:]]))


def test_an_error_in_the_stream_is_told() -> None:
    for told in (b'{"error":{"message":"out of memory","code":500}}', b'{"object":"error","message":"no"}'):
        with pytest.raises(StreamFault) as raised:
            assembled(sse([chunk({"content": "a"}), told]))
        assert raised.value.frame == told


def test_what_follows_the_end_is_nothing() -> None:
    answer, _ = assembled(sse([*chunks("a")]) + sse([chunk({"content": "b"})]))
    assert answer["choices"][0]["message"]["content"] == "a"


def test_an_answer_has_a_longest_size_whatever_it_is_made_of() -> None:
    """Its texts count, and lists and new names with all that is around them; what each frame repeats does not."""

    def feed(frames: list[dict[str, Any]]) -> None:
        Assembly("chat/completions", lambda: None, longest=2000).feed(sse(frames))

    feed(chunks(*["a"] * 900))
    for frames in (
        [chunk({"content": "a"})] * 2001,
        [chunk({"content": 'a"'}, created=number) for number in range(1001)],
        [chunk({"content": "a", "annotations": ["x"]})] * 20,
        [chunk({"content": "a"}, **{f"new{number}": "x"}) for number in range(20)],
        [chunk({f"new{number}": number}) for number in range(20)],
        [{"choices": [{"index": 0, "delta": {}, f"new{number}": "x"}]} for number in range(60)],
    ):
        with pytest.raises(StreamFault, match="too long"):
            feed(frames)


def test_a_frame_that_never_ends() -> None:
    whole = Assembly("chat/completions", lambda: None)
    for _ in range(4):
        whole.feed(b"a" * 2**20)
    with pytest.raises(StreamFault, match="too long"):
        whole.feed(b"a")


def test_a_stream_has_so_many_choices() -> None:
    frames = [{"choices": [{"index": number, "delta": {"content": "a"}}]} for number in range(17)]
    with pytest.raises(StreamFault, match="makes no sense"):
        assembled(sse(frames))


class Counting(Assembly):
    """How many frames were parsed."""

    parsed = 0

    def _take(self, frame: bytes) -> None:
        self.parsed += 1
        super()._take(frame)


def test_only_the_text_of_frames_that_are_alike_is_looked_at() -> None:
    """Of a thousand frames a handful is parsed."""
    whole = Counting("chat/completions", lambda: None)
    whole.feed(sse(chunks(*['a "word" ', "or two "] * 500)))
    assert orjson.loads(whole.body())["choices"][0]["message"]["content"] == 'a "word" or two ' * 500
    assert whole.parsed < 10
