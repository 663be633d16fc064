"""The storm's verdict finds what it is there to find: each breach of the law, made by hand, is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from scripts.storm.answers import answer_for
from scripts.storm.audit import Found, OnChain, Settled
from scripts.storm.ledger import Ledger
from scripts.storm.verdict import LAWS, Verdict, judge

NODE = "0x" + "11" * 20
TASK, OTHER = "0x" + "aa" * 20, "0x" + "bb" * 20


def completed(prompt: str = "one", address: str = TASK) -> Found:
    answer = "".join(answer_for(prompt))
    return Found(f"opengpu:{prompt}", "opengpu", "completed", prompt, answer, None, None, address, 1, 1, True)


def failed(code: str | None = "UPSTREAM_ERROR", detail: str | None = "why") -> Found:
    return Found("opengpu:one", "opengpu", "failed", "one", None, code, detail, TASK, 3, 0, True)


def chain(completed: int = 1, failed: int = 0, opened: int = 1, credit: int = 10) -> OnChain:
    found = OnChain(paid={NODE: 10}, credit={NODE: credit})
    found.opened[TASK], found.completed[TASK], found.failed[TASK] = opened, completed, failed
    return found


def verdict(*tasks: Found, on_chain: OnChain | None = None, breaches: tuple[str, ...] = ()) -> Verdict:
    ledger = Ledger()
    ledger.open("async", 0, "one", 1.0).task_id = "opengpu:one"
    return judge(ledger, list(tasks), on_chain or chain(), breaches)


def test_a_relay_that_kept_its_word() -> None:
    found = verdict(completed())
    assert found.kept
    assert (found.accepted, found.completed, found.requests) == (1, 1, 1)
    assert verdict(failed(), on_chain=chain(0, 1)).kept
    assert verdict(failed(), on_chain=chain(0, 1)).failed == {"UPSTREAM_ERROR": 1}


BROKEN: dict[str, tuple[str, Callable[[], Verdict]]] = {
    "two tasks of one request": (
        "duplicates",
        lambda: verdict(completed(), replace(completed(), task_id="opengpu:two", mode="direct")),
    ),
    "two accepted attempts": ("duplicates", lambda: verdict(replace(completed(), accepted=2))),
    "settled twice": ("duplicates", lambda: verdict(completed(), on_chain=chain(2))),
    "settled and failed": ("duplicates", lambda: verdict(completed(), on_chain=chain(1, 1))),
    "opened twice": ("duplicates", lambda: verdict(completed(), on_chain=chain(opened=2))),
    "paid twice": ("duplicates", lambda: verdict(completed(), on_chain=chain(credit=20))),
    "never ended": ("lost", lambda: verdict(replace(completed(), status="running"), on_chain=chain(0))),
    "forgotten": ("lost", lambda: verdict(replace(completed(), status="unknown", mode=""), on_chain=chain(0))),
    "a wrong answer": ("wrong", lambda: verdict(replace(completed(), answer="42"))),
    "half an answer": ("wrong", lambda: verdict(replace(completed(), answer="".join(answer_for("one")[:3])))),
    "no code": ("reasonless", lambda: verdict(failed(code=None), on_chain=chain(0, 1))),
    "no detail": ("reasonless", lambda: verdict(failed(detail=None), on_chain=chain(0, 1))),
    "not settled": ("unrecorded", lambda: verdict(completed(), on_chain=chain(0))),
    "settled as failed": ("unrecorded", lambda: verdict(completed(), on_chain=chain(0, 1))),
    "not confirmed": ("unrecorded", lambda: verdict(replace(completed(), recorded=False))),
    "a lease of nobody": ("leftovers", lambda: judge(Ledger(), [], OnChain(), (), ["1 in relay:leases"])),
    "a Report that was none": ("breaches", lambda: verdict(completed(), breaches=("late_post: accepted",))),
}


@pytest.mark.parametrize("what", BROKEN)
def test_each_breach_is_named(what: str) -> None:
    law, make = BROKEN[what]
    found = make()
    assert not found.kept
    broken = [law for law in LAWS if getattr(found, law)]
    assert broken == [law]


def test_an_event_that_a_killed_chain_forgot_is_no_loss_when_its_state_remembers() -> None:
    forgetful = chain(completed=0)
    forgetful.paid, forgetful.state[TASK] = {}, Settled(2, NODE, 10)
    found = verdict(completed(), on_chain=forgetful)
    assert found.kept
    assert found.untold == 1
    no_opening = chain(opened=0)
    no_opening.state[TASK] = Settled(2, NODE, 10)
    assert verdict(completed(), on_chain=no_opening).kept
    forgetful.credit[NODE] = 20
    assert verdict(completed(), on_chain=forgetful).duplicates
    open_still = chain(completed=0)
    open_still.paid, open_still.credit, open_still.state[TASK] = {}, {}, Settled(1, NODE, 0)
    assert verdict(completed(), on_chain=open_still).unrecorded


def test_a_direct_task_needs_no_record() -> None:
    assert verdict(replace(completed(), mode="direct", recorded=False, address=None), on_chain=OnChain()).kept


def test_a_request_that_made_no_task_is_refused_or_unanswered() -> None:
    ledger = Ledger()
    ledger.open("async", 0, "one", 1.0).refusal = "503 CAPACITY_EXHAUSTED"
    ledger.open("hangup", 0, "two", 1.0)
    ledger.open("hangup", 0, "three", 1.0)
    found = judge(ledger, [completed("three")], chain(), ())
    assert found.refused == {"503 CAPACITY_EXHAUSTED": 1, "no answer": 1}
    assert found.unanswered == 1
    assert found.accepted == 1
