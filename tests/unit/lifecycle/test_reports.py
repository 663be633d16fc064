"""A Report against its task: what is refused, as whose fault, and what is paid."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, cast

import orjson
import pytest
from eth_keys.datatypes import PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from coordinator.errors import RelayError
from coordinator.lifecycle.money import Tokens
from coordinator.lifecycle.order import Terms
from coordinator.lifecycle.policy import Pay
from coordinator.lifecycle.ports import Tasks
from coordinator.lifecycle.reports import Reports
from coordinator.protocol import hashing, signing
from coordinator.protocol.ids import TaskId
from coordinator.protocol.report import Failure, FailureCode, Receipt, Refusal, Report

KEY = PrivateKey(bytes(31) + b"\x01")
NODE = str(KEY.public_key.to_checksum_address())
SPACE = hashing.TaskSpace(31337, "0x" + "11" * 20, "0x" + "22" * 20, "0x" + "33" * 20)
TASK = TaskId("opengpu:00000000-0000-4000-8000-000000000000")
ASKED = {"model": "m", "messages": [{"role": "user", "content": "one two"}], "max_tokens": 1000}
SALT = "0x" + "55" * 32
TERMS = Terms(SALT, "0x" + "66" * 32, "0x" + "44" * 20, "m", orjson.dumps(ASKED))
GOOD = {
    "model": "m", "choices": [{"message": {"content": "Hello there."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 3},
}  # fmt: skip


class Words:
    counted = 0

    async def count(self, model: str, *texts: list[str]) -> list[int] | None:
        self.counted += 1
        return [sum(len(text.split()) for text in one) for one in texts]


class Ledger:
    """The store's side, as far as a Report touches it."""

    def __init__(self) -> None:
        self.completed: list[tuple[Tokens, int]] = []
        self.given_up: list[tuple[str, str]] = []
        self.fenced: Refusal | None = None
        self.refused: Refusal | None = None

    async def terms(self, task_id: TaskId, attempt: int, node: str) -> Terms | Refusal:
        if self.refused:
            return self.refused
        return TERMS if task_id == TASK else Refusal.UNKNOWN_TASK

    async def complete(
        self, task_id: TaskId, attempt: int, node: str, answer: str, tokens: Tokens, receipt: Receipt, signature: str,
        payment_wei: int,
    ) -> Refusal | None:  # fmt: skip
        if self.fenced is None:
            self.completed.append((tokens, payment_wei))
        return self.fenced

    async def give_up_attempt(
        self, task_id: TaskId, attempt: int, node: str, how: str, error: RelayError
    ) -> Refusal | None:
        self.given_up.append((how, error.code))
        return self.fenced


class HereSpace:
    async def current(self) -> hashing.TaskSpace | None:
        return SPACE


def report(answer: Any = GOOD, *, key: PrivateKey = KEY, **change: Any) -> Report:
    text = answer if isinstance(answer, str) else orjson.dumps(answer).decode()
    receipt = Receipt(
        task=TERMS.task_address, attempt=1, request_hash=TERMS.request_hash,
        response_hash=hashing.salted_hash(hashing.unhex(SALT), text.encode()),
        prompt_tokens=5, completion_tokens=3, started_at_ms=5, finished_at_ms=6,
    ).model_copy(update=change)  # fmt: skip
    signature = signing.sign_digest(key, SPACE.receipt_digest(receipt))
    return Report(task_id=TASK, attempt=1, answer=text, receipt=receipt, receipt_signature=signature)


async def decided(sent: Report, context: int = 2048, fenced: Refusal | None = None) -> tuple[Refusal | None, Ledger]:
    ledger = Ledger()
    ledger.fenced = fenced
    pay = Pay(wei_per_prompt_token=1, wei_per_completion_token=100)
    reply = await Reports(cast(Tasks, ledger), HereSpace(), pay, Words(), {"m": context}).accept(NODE, sent)
    assert reply.accepted == (reply.refusal is None)
    return reply.refusal, ledger


async def test_an_honest_report_is_paid_as_claimed() -> None:
    refusal, ledger = await decided(report())
    assert (refusal, ledger.completed, ledger.given_up) == (None, [(Tokens(5, 3), 305)], [])


async def test_a_lying_receipt_is_accepted_and_earns_the_recount() -> None:
    """Its signature fits: on chain it says what it says, and the payment is the coordinator's."""
    liar = {**GOOD, "usage": {"prompt_tokens": 10**6, "completion_tokens": 1000}}
    refusal, ledger = await decided(report(liar, prompt_tokens=2**32 - 1, completion_tokens=2**32 - 1))
    [(tokens, wei)] = ledger.completed
    assert refusal is None
    assert tokens.completion == 2 + 8
    assert tokens.prompt <= len(TERMS.request)
    assert wei == tokens.prompt + 100 * tokens.completion


@pytest.mark.parametrize(
    "change",
    [
        {"attempt": 2},
        {"task": "0x" + "45" * 20},
        {"request_hash": "0x" + "67" * 32},
        {"response_hash": "0x" + "67" * 32},
        {"started_at_ms": 7},
        {"key": PrivateKey(bytes(31) + b"\x02")},
    ],
)
async def test_a_receipt_for_something_else_is_the_nodes_fault(change: dict[str, Any]) -> None:
    refusal, ledger = await decided(report(**change))
    assert (refusal, ledger.completed) == (Refusal.BAD_RECEIPT, [])
    assert ledger.given_up == [("fault", "UPSTREAM_ERROR")]


@pytest.mark.parametrize(
    "answer",
    [
        "", "{", "null", '{"model":"m"}', "[" * 5000,
        {**GOOD, "choices": [{"message": {"content": ""}, "finish_reason": "stop"}]},
        {**GOOD, "choices": [{"message": {"content": "Once upon a"}, "finish_reason": None}]},
        {**GOOD, "choices": [{"message": {"content": "Once upon a"}, "finish_reason": "length"}]},
        {**GOOD, "padding": "x" * 10**7},
    ],
    ids=lambda answer: str(answer)[:60],
)  # fmt: skip
async def test_no_whole_answer_is_the_nodes_fault(answer: Any) -> None:
    refusal, ledger = await decided(report(answer))
    assert (refusal, ledger.completed) == (Refusal.BAD_ANSWER, [])
    assert ledger.given_up == [("fault", "UPSTREAM_ERROR")]


async def test_a_full_context_ends_an_answer_honestly() -> None:
    full = {**GOOD, "choices": [{"message": {"content": "Once upon a"}, "finish_reason": "length"}]}
    refusal, _ = await decided(report(full), context=10)
    assert refusal is None


async def test_the_stores_fence_goes_first() -> None:
    for sent in (report(), report("{"), report(attempt=3)):
        refusal, ledger = await decided(sent, fenced=Refusal.LATE)
        assert (refusal, ledger.completed) == (Refusal.LATE, [])


@pytest.mark.parametrize("refused", [Refusal.DUPLICATE, Refusal.LATE, Refusal.FOREIGN_ATTEMPT])
async def test_what_is_not_the_nodes_to_report_is_not_read(refused: Refusal) -> None:
    """A node could have a long answer counted again and again."""
    ledger, words = Ledger(), Words()
    ledger.refused = refused
    reply = await Reports(cast(Tasks, ledger), HereSpace(), Pay(), words).accept(NODE, report())
    assert (reply.refusal, words.counted) == (refused, 0)
    assert (ledger.completed, ledger.given_up) == ([], [])


@pytest.mark.parametrize(
    ("code", "how"),
    [
        (FailureCode.BACKEND_REFUSED, "refused"),
        (FailureCode.BACKEND_UNSUPPORTED, "refused"),
        (FailureCode.HANDED_BACK, "handed_back"),
        (FailureCode.BACKEND_ERROR, "fault"),
        (FailureCode.BACKEND_TIMEOUT, "fault"),
        (FailureCode.BACKEND_UNREACHABLE, "fault"),
    ],
)
async def test_a_failure_is_whose_it_is(code: FailureCode, how: str) -> None:
    _, ledger = await decided(Report(task_id=TASK, attempt=1, failure=Failure(code=code, message="why")))
    assert [given_up[0] for given_up in ledger.given_up] == [how]


async def test_of_an_unknown_task_nothing_is_taken() -> None:
    other = report().model_copy(update={"task_id": TASK[:-1] + "1"})
    assert (await decided(other))[0] is Refusal.UNKNOWN_TASK


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["message", "content", "finish_reason", "tool_calls", "function", "usage", "index", "delta"]),
        inner, max_size=4,
    ),
    max_leaves=15,
)  # fmt: skip


@given(JSON, JSON, st.text(max_size=5))
async def test_no_answer_breaks_the_coordinator(choice: Any, usage: Any, text: str) -> None:
    """NaN, surrogates, integers without end: whatever a node signs is an answer or its fault."""
    body = {"model": "m", "choices": [choice, {"message": choice, "finish_reason": "stop"}], "usage": usage}
    for answer in (text, _json(body), _json({**body, "choices": body["choices"][1:]})):
        try:
            sent = report(answer)
        except (ValidationError, UnicodeEncodeError):
            continue  # no text of UTF-8: it can't be sent
        refusal, ledger = await decided(sent)
        assert refusal in (None, Refusal.BAD_ANSWER)
        assert len(ledger.completed) + len(ledger.given_up) == 1


FIELDS = ["version", "task_id", "attempt", "answer", "receipt", "receipt_signature", "failure"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON | st.just(TASK) | st.just(1)), st.binary(max_size=50))
def test_no_message_breaks_its_reader(fields: dict[str, Any], garbage: bytes) -> None:
    for body in (_json(fields).encode(errors="surrogatepass"), garbage, b'{"answer":' + b"[" * 10_000):
        with suppress(ValidationError):
            assert Report.model_validate_json(body).attempt >= 1


@pytest.mark.parametrize(
    "change",
    [
        {"answer": "x" * (32 * 1024 * 1024 + 1)},
        {"receipt_signature": "0x" + "11" * 66},
        {"attempt": 2**32},
        {"task_id": "opengpu:" + "a" * 200},
        {"more": 1},
    ],
)
def test_every_part_has_a_size(change: dict[str, Any]) -> None:
    body = report().model_dump(mode="json") | change
    with pytest.raises(ValidationError):
        Report.model_validate_json(orjson.dumps(body))


def test_words_of_a_failure_have_a_size() -> None:
    with pytest.raises(ValidationError):
        Failure(code=FailureCode.BACKEND_ERROR, message="x" * 2001)


def _json(value: Any) -> str:
    """As Python's own writer has it: with NaN and lone surrogates."""
    return json.dumps(value)
