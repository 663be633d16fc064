"""The law of the storm: what was accepted ends once, with a right answer or a reason, and the chain says the same.

Pure: from the ledger and what the audit found to what is wrong. Every line of a finding names a task by 16 characters.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from scripts.storm.answers import answer_for
from scripts.storm.audit import Found, OnChain
from scripts.storm.ledger import Ledger

COMPLETED, FAILED = 2, 3  # ITaskRegistry.Status
ENDED = ("completed", "failed")
LAWS = ("duplicates", "lost", "wrong", "reasonless", "unrecorded", "breaches", "leftovers")


@dataclass(slots=True)
class Verdict:
    """Lists of lines; all but the counts are empty when the relay kept its word.

    `accepted` counts tasks, those included whose clients never heard of them. `refused`, `failed`: by reason.
    `unanswered`: calls that got no answer, and made no task. `untold`: ends on chain whose event got lost.
    """

    requests: int = 0
    accepted: int = 0
    completed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    retried: int = 0
    untold: int = 0
    duplicates: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    reasonless: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        return not any(getattr(self, law) for law in LAWS)

    def as_json(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


def judge(
    ledger: Ledger, tasks: list[Found], chain: OnChain, breaches: Iterable[str], leftovers: Iterable[str] = ()
) -> Verdict:
    verdict = Verdict(len(ledger.entries), len(tasks), breaches=list(breaches), leftovers=list(leftovers))
    by_prompt = defaultdict[str, list[Found]](list)
    for task in tasks:
        by_prompt[task.prompt].append(task)
        _judge_end(verdict, task)
        if task.mode == "opengpu":
            _judge_record(verdict, task, chain)
    for entry in ledger.entries:
        made = by_prompt[entry.prompt]
        if len(made) > 1:
            verdict.duplicates.append(f"{len(made)} tasks of request {entry.number} ({entry.kind})")
        if not made:
            verdict.refused[entry.refusal or "no answer"] += 1
            verdict.unanswered += entry.refusal is None or entry.refusal.startswith("no answer")
    _judge_money(verdict, chain)
    return verdict


def _judge_end(verdict: Verdict, task: Found) -> None:
    name = task.task_id[:16]
    verdict.retried += task.attempts > 1
    if task.status not in ENDED:
        verdict.lost.append(f"{name} is {task.status}")
    elif task.status == "failed":
        verdict.failed[task.code or "no code"] += 1
        if not task.code or not task.detail:
            verdict.reasonless.append(name)
    else:
        verdict.completed += 1
        if task.answer != "".join(answer_for(task.prompt)):
            verdict.wrong.append(name)
    if task.accepted > 1:
        verdict.duplicates.append(f"{name} has {task.accepted} accepted attempts")


def _judge_record(verdict: Verdict, task: Found, chain: OnChain) -> None:
    """One opening and one settlement, of the kind that the task's end is."""
    name, address = task.task_id[:16], task.address or ""
    told = (chain.opened[address], chain.completed[address], chain.failed[address])
    if (state := chain.state.get(address)) is not None and max(told) <= 1:
        told = (int(state.status > 0), int(state.status == COMPLETED), int(state.status == FAILED))
        verdict.untold += 1
    if max(told) > 1 or told[1] + told[2] > 1:
        verdict.duplicates.append(f"{name} is on chain more than once: opened, completed, failed {told}")
    elif task.status in ENDED and told != (1, int(task.status == "completed"), int(task.status == "failed")):
        verdict.unrecorded.append(f"{name} {task.status}, on chain opened, completed, failed {told}")
    elif task.status in ENDED and not task.recorded:
        verdict.unrecorded.append(f"{name} is on chain, and the relay does not know")


def _judge_money(verdict: Verdict, chain: OnChain) -> None:
    paid = Counter(chain.paid)
    for address, settled in chain.state.items():
        if not chain.completed[address]:  # else its event is counted, and only that of its opening is gone
            paid[settled.node] += settled.payment
    for node, credit in chain.credit.items():
        if credit != paid[node]:
            verdict.duplicates.append(f"{node} has credit {credit} wei for payments of {paid[node]} wei")
