"""Prices, tokens, bills: exact."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest

from coordinator.lifecycle.money import MAX_NANO_PER_TOKEN, Bill, Price, Tokens, counted, dollars, per_token
from coordinator.lifecycle.usage import Usage, grouped


@pytest.mark.parametrize(("price", "nano"), [("0.08", 80), ("0.001", 1), ("0", 0), ("10000", MAX_NANO_PER_TOKEN)])
def test_a_price_is_whole_nano_dollars_a_token(price: str, nano: int) -> None:
    assert per_token(Decimal(price)) == nano


@pytest.mark.parametrize(("price", "why"), [("0.0001", "at most 3 decimals"), ("10000.001", "at most 10000")])
def test_a_finer_or_wilder_price_is_refused(price: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        per_token(Decimal(price))


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (1_500_000, "0.0015"),
        (-(10**9), "-1"),
        (10**15, "1000000"),
        (12_000_000_000, "12"),
    ],
)
def test_money_is_shown_exactly(nano: int, text: str) -> None:
    assert dollars(nano) == text
    assert int(Decimal(text) * 10**9) == nano


def test_a_bill_is_its_bounds_at_its_price() -> None:
    bill = Bill("acme", "key_1", "direct", "openai.m", Price(2, 3), Tokens(10, 100))
    assert bill.amount == 320


def answer(*texts: str, **more: Any) -> bytes:
    choices = [{"index": n, "message": {"role": "assistant", "content": text}} for n, text in enumerate(texts)]
    return orjson.dumps({"model": "m", "choices": choices, **more})


def said(prompt: Any, completion: Any) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": completion}}


def test_an_honest_count_stands() -> None:
    assert counted(answer("Hello there.", **said(7, 3)), 100) == Tokens(7, 3)


def test_a_greedy_count_is_bounded_by_the_text_alone() -> None:
    greedy = answer("Hello", logprobs={"long": "x" * 1000}, id="y" * 1000, **said(10**9, 10**9))
    assert counted(greedy, 100) == Tokens(100, 5)


@pytest.mark.parametrize("usage", [{}, {"usage": None}, {"usage": 7}, said("7", -1), said(True, 1.5), said(None, None)])
def test_without_a_count_the_text_is_counted(usage: dict[str, Any]) -> None:
    assert counted(answer("Hello", "there", **usage), 100) == Tokens(25, 3)


def test_llama_cpp_counts_the_first_of_several_choices() -> None:
    assert counted(answer("abcd", "abcdefgh", timings={}, **said(7, 2)), 100) == Tokens(7, 6)
    assert counted(answer("abcd", "abcdefgh", **said(7, 5)), 100) == Tokens(7, 5)
    assert counted(answer("", "abcdefgh", timings={}, **said(7, 1)), 100) == Tokens(7, 2)


def test_tool_calls_completions_and_embeddings_count_too() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tool = {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [call]}}], **said(1, 10**6)}
    assert counted(orjson.dumps(tool), 100) == Tokens(1, len("cfunctionf{}"))
    assert counted(orjson.dumps({"choices": [{"text": "é"}], **said(1, 9)}), 100) == Tokens(1, 2)
    assert counted(orjson.dumps({"data": [{"embedding": "AAAA"}], **said(5, 9)}), 100) == Tokens(5, 0)


@pytest.mark.parametrize("broken", [b"", b"[]", b"null", b'{"choices":[7]}', b'{"choices":{"a":1}}'])
def test_what_is_no_answer_has_no_completion(broken: bytes) -> None:
    assert counted(broken, 8).completion == 0


def test_usage_is_grouped_by_what_is_asked_for() -> None:
    one, two = date(2026, 1, 1), date(2026, 1, 2)
    rows = [
        Usage(one, "key_a", "m", "direct", 1, 10, 100, 5),
        Usage(two, "key_a", "m", "direct", 2, 20, 200, 6),
        Usage(one, "key_b", "m", "opengpu", 4, 40, 400, 7),
    ]
    assert grouped(rows, ("day", "key", "model", "mode")) == sorted(
        rows, key=lambda row: (str(row.day), str(row.key_id))
    )
    assert [(row.day, row.requests, row.nano) for row in grouped(rows, ("day",))] == [(one, 5, 12), (two, 2, 6)]
    assert [(row.key_id, row.completion_tokens) for row in grouped(rows, ("key",))] == [("key_a", 300), ("key_b", 400)]
    assert grouped([], ("day",)) == []
