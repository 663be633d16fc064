"""What an answer is worth: no claim and no answer earns more than its text, and an honest claim earns what it says."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.lifecycle import wording
from coordinator.lifecycle.earnings import ODD_CUTS, NoVocabularies, earned
from coordinator.lifecycle.money import Tokens
from coordinator.lifecycle.order import Terms
from coordinator.lifecycle.ports import Vocabularies
from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.report import Receipt

Json = dict[str, Any]
HASH = "0x" + "00" * 32
ASKED: Json = {"messages": [{"role": "user", "content": "one two three"}]}


class Words:
    """A token is a word."""

    async def count(self, model: str, *texts: list[str]) -> list[int] | None:
        return [sum(len(text.split()) for text in one) for one in texts]


def answer(*texts: str, usage: Any = None, **more: Any) -> Json:
    choices = [{"index": n, "message": {"role": "assistant", "content": text}} for n, text in enumerate(texts)]
    return {"model": "m", "choices": choices, "usage": usage, **more}


def said(prompt: Any, completion: Any) -> Json:
    return {"prompt_tokens": prompt, "completion_tokens": completion}


async def worth(
    body: Json,
    claim: tuple[int, int] = (0, 0),
    asked: Json = ASKED,
    vocabularies: Vocabularies | None = None,
    endpoint: Endpoint = "chat/completions",
    context: int | None = None,
) -> Tokens:
    receipt = Receipt(
        task="0x" + "00" * 20, attempt=1, request_hash=HASH, response_hash=HASH,
        prompt_tokens=claim[0], completion_tokens=claim[1], started_at_ms=1, finished_at_ms=2,
    )  # fmt: skip
    terms = Terms(HASH, HASH, "0x", "m", orjson.dumps(asked), endpoint)
    return await earned(vocabularies or Words(), terms, asked, body, receipt, context)


async def test_an_honest_claim_is_paid_in_full() -> None:
    """3 words and a template's 20 tokens; 2 words and the end of the turn."""
    assert await worth(answer("Hello there.", usage=said(23, 3)), (23, 3)) == Tokens(23, 3)


async def test_a_claim_earns_no_more_than_the_text_and_an_allowance() -> None:
    greedy = await worth(answer("Hello there.", usage=said(10**9, 10**9)), (2**32 - 1, 2**32 - 1))
    assert greedy == Tokens(len(orjson.dumps(ASKED)), 2 + wording.PER_CHOICE)
    long = {"messages": [{"role": "user", "content": "word " * 1000}]}
    greedy = await worth(answer("Hello there."), (10**6, 10**6), long)
    assert greedy.prompt == 1000 + wording.PER_PROMPT + wording.PER_MESSAGE


@pytest.mark.parametrize("receipt", [(23, 3), (23, 2**32 - 1), (2**32 - 1, 3)])
async def test_the_client_pays_and_the_node_earns_by_one_count(receipt: tuple[int, int]) -> None:
    """The least that Receipt and usage say: neither a low usage nor a high Receipt makes a gap between the two."""
    assert await worth(answer("Hello there.", usage=said(23, 3)), receipt) == Tokens(23, 3)
    assert await worth(answer("Hello there.", usage=said(1, 1)), receipt) == Tokens(1, 1)


@pytest.mark.parametrize("usage", [None, said(0, 0), said("7", -1), said(True, 1.5), said(None, None)])
async def test_without_a_claim_the_text_is_counted(usage: Json | None) -> None:
    assert await worth(answer("Hello, hello there.", usage=usage)) == Tokens(3, 3)
    untold = await worth(answer("Hello, hello there.", usage=usage), vocabularies=NoVocabularies())
    assert untold == Tokens(-(-len(orjson.dumps(ASKED)) // 4), 5)


async def test_without_a_tokenizer_bytes_are_the_bound() -> None:
    greedy = await worth(answer("Hello", id="y" * 1000), (10**9, 10**9), vocabularies=NoVocabularies())
    assert greedy == Tokens(len(orjson.dumps(ASKED)), 5)


async def test_no_more_than_max_tokens_of_each_choice() -> None:
    rambling = answer("word " * 100, "word " * 100)
    assert (await worth(rambling, (1, 10**6), ASKED | {"max_tokens": 7, "n": 2})).completion == 14
    assert (await worth(rambling, (1, 10**6), ASKED | {"max_completion_tokens": 9})).completion == 9
    texts = {"choices": [{"text": "word " * 50}] * 4}
    asked = {"prompt": ["a", "b"], "n": 2, "max_tokens": 3}
    assert await worth(texts, (2, 10**6), asked, endpoint="completions") == Tokens(2, 12)


async def test_llama_cpp_counts_the_first_of_several_choices() -> None:
    assert (await worth(answer("a b", "a b", timings={}, usage=said(7, 2)), (7, 2))).completion == 4
    assert (await worth(answer("a b", "a b", usage=said(7, 4)), (7, 4))).completion == 4
    # whoever calls himself that earns no more by it
    assert (await worth(answer("a", "a b c d", timings={}), (7, 10**6))).completion == 5 + 2 * wording.PER_CHOICE


async def test_padding_where_no_model_writes_earns_nothing() -> None:
    padded = answer("one", id="word " * 500)
    padded["choices"][0]["message"] |= {"annotations": ["word " * 500], "id": "word " * 500}
    padded["choices"][0]["logprobs"] = {"content": [{"token": "word " * 500}]}
    assert (await worth(padded, (1, 10**6))).completion == 1 + wording.PER_CHOICE


async def test_reasoning_refusals_and_calls_are_paid_for_once() -> None:
    message = {
        "content": [{"type": "text", "text": "one"}], "refusal": "two three", "reasoning": "four five six",
        "reasoning_content": "four five six",
        "tool_calls": [
            {"id": "a b c", "function": {"name": "seven", "arguments": "eight nine"}}, {"custom": {"name": "x"}},
        ],
    }  # fmt: skip
    counted = await worth({"choices": [{"message": message}]}, (1, 10**6))
    assert counted.completion == 10 + wording.PER_CHOICE + 2 * wording.PER_CALL


async def test_empty_calls_by_the_thousand_earn_next_to_nothing() -> None:
    calls = [{"function": {"name": "", "arguments": ""}}] * 5000
    counted = await worth({"choices": [{"message": {"tool_calls": calls}}]}, (1, 10**6))
    assert counted.completion == wording.PER_CHOICE + wording.MOST_CALLS * wording.PER_CALL


async def test_no_more_than_a_models_context() -> None:
    assert (await worth(answer("word " * 100), (1, 10**6), context=30)).completion == 30


async def test_an_echoed_prompt_was_not_written() -> None:
    asked = {"prompt": "one two three", "echo": True}
    assert (
        await worth({"choices": [{"text": "one two three four"}]}, asked=asked, endpoint="completions")
    ).completion == 1


@pytest.mark.parametrize(
    ("endpoint", "asked", "claim", "prompt"),
    [
        ("embeddings", {"input": ["one two", "three"]}, 5, 5),
        ("embeddings", {"input": ["one two", "three " * 20] * 100}, 10**6, 2200 + 200 * wording.PER_MESSAGE),
        ("completions", {"prompt": list(range(1000))}, 1001, 1001),
        ("completions", {"prompt": [list(range(500))] * 2}, 10**6, 1000 + 2 * wording.PER_MESSAGE),
        ("completions", {"prompt": "one", "suffix": "two three" + " " * 50}, 10**6, 3 + wording.PER_MESSAGE),
    ],
)
async def test_prompts_of_every_kind(endpoint: Endpoint, asked: Json, claim: int, prompt: int) -> None:
    assert (await worth({"data": []}, (claim, 0), asked, endpoint=endpoint)).prompt == prompt


async def test_tools_and_pictures_are_read_too() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "word " * 300}}]
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4000}}
    content = [{"type": "text", "text": "What is this?"}, picture]
    asked = {"messages": [{"role": "user", "content": content}], "tools": tools}
    assert (await worth(answer("x"), (1000, 1), asked)).prompt == 1000
    assert (await worth(answer("x"), (10**6, 1), asked)).prompt < 300 + 4000 + 1000


FIELDS = ["content", "text", "role", "name", "tool_calls", "function", "arguments", "reasoning", "refusal", "type"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(FIELDS),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
CLAIM = st.integers(0, 2**32 - 1)


@given(st.lists(st.builds(lambda message, text: {"message": message, "text": text}, JSON, JSON), max_size=3), JSON,
       st.tuples(CLAIM, CLAIM), st.booleans(), st.booleans(), st.sampled_from([None, 1, 100]))  # fmt: skip
async def test_no_answer_earns_more_than_its_text(
    choices: list[Json], usage: Any, claim: tuple[int, int], timings: bool, known: bool, limit: int | None
) -> None:
    body = {"choices": choices, "usage": usage, **({"timings": {}} if timings else {})}
    asked = ASKED | {"max_tokens": limit}
    tokens = await worth(body, claim, asked, Words() if known else NoVocabularies())
    text = wording.written(asked, body)
    [found] = await Words().count("m", text.texts) or [0]
    assert 0 <= tokens.completion <= (found + found // ODD_CUTS + text.extra if known else text.size)
    assert 0 <= tokens.prompt <= len(orjson.dumps(asked))
    if limit is not None:
        assert tokens.completion <= limit


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 10**6))
async def test_a_larger_claim_never_earns_less_nor_a_lie_more_than_the_recount(
    words: int, honest: int, more: int
) -> None:
    body = answer("word " * words)
    low, high = await worth(body, (1, honest)), await worth(body, (1, honest + more))
    bound = words + words // ODD_CUTS + wording.PER_CHOICE
    assert low.completion == min(honest, bound)
    assert low.completion <= high.completion <= bound


async def test_a_long_answer_may_be_cut_a_little_otherwise_than_its_tokenizer_would() -> None:
    long = answer("word " * 1000)
    assert (await worth(long, (1, 1020))).completion == 1020
    assert (await worth(long, (1, 2000))).completion == 1020 + wording.PER_CHOICE


def deep(levels: int) -> Json:
    nested: Any = "x"
    for _ in range(levels):
        nested = {"content": [nested]}
    return {"message": {"content": [{"type": "text", "text": nested}], "reasoning": nested}}


async def test_depth_breaks_nothing() -> None:
    assert (await worth({"choices": [deep(5000)]}, (1, 10**6))).completion == 2 + wording.PER_CHOICE
