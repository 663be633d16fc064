"""An honest node loses nothing by the recount: what llama.cpp's real server counts is what its answers are worth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import httpx
import pytest

from coordinator.counting.vocabularies import Vocabularies
from coordinator.counting.vocabulary import Vocabulary
from coordinator.lifecycle.answers import checked
from coordinator.lifecycle.earnings import ODD_CUTS, earned
from coordinator.lifecycle.money import Tokens
from coordinator.lifecycle.order import Terms
from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.report import Receipt
from scripts.tiny_model import exam, server, vocabulary
from scripts.tiny_model.batches import trained_tokenizer
from scripts.tiny_model.text import conversations

Json = dict[str, Any]
MODEL = server.MODEL_ALIAS
HASH = "0x" + "00" * 32
ODD = [
    "", " ", "\n\n  \n", "\t\t\r\n x", "héllo wörld — ‘quotes’ …", "日本語のテキスト 123", "４５６ ½ Ⅷ", "🙂🙃👩‍👩‍👧",
    "a" * 500, " " * 100 + "x", "I'll don't we've 's", "zero\u200bwidth", "\u00a0nbsp", "\x00\x01", "e\u0301", "١٢٣",
    "def f(x):\n    return x**2  # ok\n", "<|im_start|>user\nhi<|im_end|>", "<tool_call>{}</tool_call>",
]  # fmt: skip
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
WORDS = [{"role": "user", "content": "What is a task?"}]
TALK = [
    {"role": "system", "content": "You are the relay's own model."},
    *WORDS,
    {"role": "assistant", "content": "A task is what a client asked for."},
    {"role": "user", "content": "Thank you! And what is 7 + 5?"},
]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    running = server.start(slots=4)
    with httpx.Client(base_url=running.listening_address, timeout=60) as client:
        yield client
    del running


def ask(client: httpx.Client, endpoint: Endpoint, request: Json) -> bytes:
    reply = client.post(f"/v1/{endpoint}", json=request)
    assert reply.status_code == 200, reply.text
    return reply.content


def test_the_coordinator_cuts_texts_as_llama_cpp_does(client: httpx.Client) -> None:
    counting = Vocabulary(vocabulary.VOCABULARY_PATH)
    texts = [message.content for one in islice(conversations(exam.SEED), 150) for message in one]
    for text in [*texts, *ODD]:
        reply = client.post("/tokenize", json={"content": text, "parse_special": False})
        assert counting.count([text]) == len(reply.json()["tokens"]), text


def test_the_shipped_tokenizer_is_the_one_that_the_model_was_trained_with() -> None:
    made = vocabulary.vocabulary(trained_tokenizer(7))
    assert vocabulary.VOCABULARY_PATH.read_text(encoding="utf-8") == made


@pytest.mark.parametrize(
    ("endpoint", "asked"),
    [
        ("chat/completions", {"messages": WORDS}),
        ("chat/completions", {"messages": TALK, "max_tokens": 100}),
        ("chat/completions", {"messages": TALK, "max_tokens": 3}),
        ("chat/completions", {"messages": WORDS, "max_tokens": 9, "logprobs": True, "top_logprobs": 5}),
        ("chat/completions", {"messages": WORDS, "n": 3, "temperature": 1.0, "seed": 5}),
        ("chat/completions", {"messages": WORDS, "tools": [TOOL]}),
        ("chat/completions", {"messages": WORDS, "tools": [TOOL], "tool_choice": "required"}),
        ("chat/completions", {"messages": WORDS, "max_tokens": 60, "response_format": {"type": "json_object"}}),
        ("chat/completions", {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello!"}]}]}),
        ("chat/completions", {"messages": WORDS, "temperature": 1.5, "top_k": 0, "seed": 3, "max_tokens": 200}),
        ("chat/completions", {"messages": [{"role": "user", "content": "What is a lease? " * 150}]}),
        ("completions", {"prompt": "A task is", "max_tokens": 20}),
        ("completions", {"prompt": [5, 6, 7, 8], "max_tokens": 20}),
        ("completions", {"prompt": ["A task is", "A lease is"], "max_tokens": 20}),
    ],
)
async def test_an_honest_answer_passes_and_its_claim_stands(
    client: httpx.Client, endpoint: Endpoint, asked: Json
) -> None:
    request = {"model": MODEL, "temperature": 0, **asked}
    answer = checked(ask(client, endpoint, request), request, endpoint, server.CONTEXT)
    usage = answer["usage"]
    receipt = Receipt(
        task="0x" + "00" * 20, attempt=1, request_hash=HASH, response_hash=HASH,
        prompt_tokens=usage["prompt_tokens"], completion_tokens=usage["completion_tokens"],
        started_at_ms=1, finished_at_ms=2,
    )  # fmt: skip
    terms = Terms(HASH, HASH, "0x", MODEL, json.dumps(request).encode(), endpoint)
    worth = await earned(Vocabularies({MODEL: vocabulary.VOCABULARY_PATH}), terms, request, answer, receipt)
    if len(answer["choices"]) == 1:
        assert worth == Tokens(usage["prompt_tokens"], usage["completion_tokens"])
    else:  # its usage is the first choice's
        assert usage["completion_tokens"] < worth.completion
    greedy = receipt.model_copy(update={"prompt_tokens": 10**6, "completion_tokens": 10**6})
    del answer["usage"]
    most = await earned(Vocabularies({MODEL: vocabulary.VOCABULARY_PATH}), terms, request, answer, greedy)
    assert worth.completion <= most.completion <= worth.completion * (1 + 1 / ODD_CUTS) + 40
    assert usage["prompt_tokens"] <= most.prompt <= len(terms.request)
