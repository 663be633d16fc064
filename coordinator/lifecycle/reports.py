"""Step 6: a Report is checked against the task, and exactly one is accepted."""

from __future__ import annotations

from typing import Literal

import structlog
from eth_utils.address import to_checksum_address

from coordinator.errors import StoreUnavailable, UpstreamError
from coordinator.lifecycle.answers import flaw
from coordinator.lifecycle.money import counted
from coordinator.lifecycle.order import Terms
from coordinator.lifecycle.policy import Pay, client_error
from coordinator.lifecycle.ports import Space, Tasks, TaskSpace
from coordinator.protocol import hashing, signing
from coordinator.protocol.ids import TaskId
from coordinator.protocol.report import Blame, Failure, Receipt, Refusal, Report, ReportReply

log = structlog.get_logger(__name__)

_HOW: dict[Blame, Literal["refused", "fault", "handed_back"]] = {Blame.CLIENT: "refused", Blame.CAPACITY: "handed_back"}


class Reports:
    """Takes the Reports of nodes that have proved who they are. The store fences and decides; this only checks."""

    def __init__(self, tasks: Tasks, space: Space, pay: Pay) -> None:
        self._tasks, self._space, self._pay = tasks, space, pay

    async def accept(self, node: str, report: Report) -> ReportReply:
        """`node` is the address that signed the request. Raises StoreUnavailable: the node keeps the Report then."""
        task_id = TaskId(report.task_id)
        terms = await self._tasks.terms(task_id)
        if terms is None:
            return ReportReply(accepted=False, refusal=Refusal.UNKNOWN_TASK)
        refusal = await self._decide(task_id, node, report, terms)
        log.info(
            "report", task=task_id[:16], attempt=report.attempt, node=node, refusal=refusal,
            failure=report.failure.code if report.failure else None,
        )  # fmt: skip
        return ReportReply(accepted=refusal is None, refusal=refusal)

    async def _decide(self, task_id: TaskId, node: str, report: Report, terms: Terms) -> Refusal | None:
        if report.failure is not None:
            return await self._fail(task_id, report.attempt, node, report.failure)
        if report.answer is None or report.receipt is None or report.receipt_signature is None:
            raise ValueError("a Report without failure carries answer, receipt and signature: its validator says so")
        space = await self._space.current()
        if space is None:
            raise StoreUnavailable("The chain writer's word on the task registry is missing from the store.")
        wrong = _wrong(space, node, report, report.receipt, report.receipt_signature, report.answer, terms)
        if wrong is not None:
            # its own attempt, badly done: the node's fault, the task goes elsewhere. Somebody else's: changes nothing.
            error = UpstreamError("Every node that took the task gave a broken answer. Send the request again.")
            fenced = await self._tasks.give_up_attempt(task_id, report.attempt, node, "fault", error)
            return fenced or wrong
        payment = self._pay.amount(
            prompt_tokens=report.receipt.prompt_tokens,
            completion_tokens=report.receipt.completion_tokens,
            request_bytes=terms.request_bytes,
            answer_bytes=len(report.answer),
        )
        tokens = counted(report.answer.encode(), terms.request_bytes)
        return await self._tasks.complete(
            task_id, report.attempt, node, report.answer, tokens, report.receipt, report.receipt_signature, payment
        )

    async def _fail(self, task_id: TaskId, attempt: int, node: str, failure: Failure) -> Refusal | None:
        how = _HOW.get(failure.blame, "fault")
        return await self._tasks.give_up_attempt(task_id, attempt, node, how, client_error(failure))


def _wrong(
    space: TaskSpace, node: str, report: Report, receipt: Receipt, signature: str, answer: str, terms: Terms
) -> Refusal | None:
    """Everything the contract will check, checked before money depends on it."""
    said = answer.encode()
    fits = (
        receipt.attempt == report.attempt
        and receipt.task == to_checksum_address(terms.task_address)
        and receipt.request_hash == terms.request_hash
        and receipt.response_hash == hashing.salted_hash(hashing.unhex(terms.salt), said)
        and receipt.started_at_ms <= receipt.finished_at_ms
    )
    if not fits or not _signed(space, node, receipt, signature):
        return Refusal.BAD_RECEIPT
    found = flaw(said, terms.endpoint)
    if found is not None:
        log.warning("bad_answer", task=report.task_id[:16], node=node, flaw=found)
        return Refusal.BAD_ANSWER
    return None


def _signed(space: TaskSpace, node: str, receipt: Receipt, signature: str) -> bool:
    try:
        return signing.recover(space.receipt_digest(receipt), signature) == node
    except signing.SignatureMismatch:
        return False
