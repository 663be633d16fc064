"""Step 6: a Report is checked against the task, and exactly one is accepted.

signed for this task? ──► a whole answer to what was asked? ──► tokens counted ──► the store fences, charges, pays
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import orjson
import structlog

from coordinator.errors import StoreUnavailable, UpstreamError
from coordinator.lifecycle.answers import BadAnswer, checked
from coordinator.lifecycle.earnings import NoVocabularies, earned
from coordinator.lifecycle.money import Tokens
from coordinator.lifecycle.order import Terms
from coordinator.lifecycle.policy import Pay, client_error
from coordinator.lifecycle.ports import Space, Tasks, TaskSpace, Vocabularies
from coordinator.protocol import hashing, signing
from coordinator.protocol.ids import TaskId
from coordinator.protocol.report import Blame, Failure, Receipt, Refusal, Report, ReportReply

log = structlog.get_logger(__name__)

_HOW: dict[Blame, Literal["refused", "fault", "handed_back"]] = {Blame.CLIENT: "refused", Blame.CAPACITY: "handed_back"}


class Reports:
    """Takes the Reports of nodes that have proved who they are. The store fences and decides; this only checks.

    `vocabularies` count what was written; `contexts` are the models' lengths in tokens, of those that have one.
    """

    def __init__(
        self,
        tasks: Tasks,
        space: Space,
        pay: Pay,
        vocabularies: Vocabularies | None = None,
        contexts: Mapping[str, int] | None = None,
    ) -> None:
        self._tasks, self._space, self._pay = tasks, space, pay
        self._vocabularies, self._contexts = vocabularies or NoVocabularies(), contexts or {}

    async def accept(self, node: str, report: Report) -> ReportReply:
        """`node` is the address that signed the request. Raises StoreUnavailable: the node keeps the Report then."""
        task_id = TaskId(report.task_id)
        terms = await self._tasks.terms(task_id, report.attempt, node)
        if terms is Refusal.UNKNOWN_TASK:
            return _reply(terms)
        if isinstance(terms, Refusal):  # before anything of it is read: a long answer takes seconds to count
            reply = _reply(terms)
        else:
            reply = await self._decide(task_id, node, report, terms)
        log.info(
            "report", task=task_id[:16], attempt=report.attempt, node=node, refusal=reply.refusal, flaw=reply.detail,
            failure=report.failure.code if report.failure else None,
        )  # fmt: skip
        return reply

    async def _decide(self, task_id: TaskId, node: str, report: Report, terms: Terms) -> ReportReply:
        if report.failure is not None:
            return _reply(await self._fail(task_id, report.attempt, node, report.failure))
        if report.answer is None or report.receipt is None or report.receipt_signature is None:
            raise ValueError("a Report without failure carries answer, receipt and signature: its validator says so")
        space = await self._space.current()
        if space is None:
            raise StoreUnavailable("The chain writer's word on the task registry is missing from the store.")
        if not _fits(space, node, report, report.receipt, report.receipt_signature, report.answer, terms):
            return _reply(await self._give_up(task_id, node, report, Refusal.BAD_RECEIPT))
        asked, context = orjson.loads(terms.request), self._contexts.get(terms.model)
        try:
            answer = checked(report.answer.encode(), asked, terms.endpoint, context)
        except BadAnswer as error:
            return _reply(await self._give_up(task_id, node, report, Refusal.BAD_ANSWER), error.flaw)
        tokens = await earned(self._vocabularies, terms, asked, answer, report.receipt, context)
        _log_overclaim(task_id, node, report.receipt, tokens)
        refusal = await self._tasks.complete(
            task_id, report.attempt, node, report.answer, tokens, report.receipt, report.receipt_signature,
            self._pay.amount(tokens),
        )  # fmt: skip
        return _reply(refusal)

    async def _give_up(self, task_id: TaskId, node: str, report: Report, wrong: Refusal) -> Refusal:
        """Its own attempt, badly done: the node's fault, the task goes elsewhere. Somebody else's: changes nothing."""
        error = UpstreamError("Every node that took the task gave a broken answer. Send the request again.")
        fenced = await self._tasks.give_up_attempt(task_id, report.attempt, node, "fault", error)
        return fenced or wrong

    async def _fail(self, task_id: TaskId, attempt: int, node: str, failure: Failure) -> Refusal | None:
        how = _HOW.get(failure.blame, "fault")
        return await self._tasks.give_up_attempt(task_id, attempt, node, how, client_error(failure))


def _reply(refusal: Refusal | None, flaw: str | None = None) -> ReportReply:
    return ReportReply(
        accepted=refusal is None, refusal=refusal, detail=flaw if refusal is Refusal.BAD_ANSWER else None
    )


def _fits(
    space: TaskSpace, node: str, report: Report, receipt: Receipt, signature: str, answer: str, terms: Terms
) -> bool:
    """Everything the contract will check, checked before money depends on it."""
    fits = (
        receipt.attempt == report.attempt
        and receipt.task.lower() == terms.task_address.lower()
        and receipt.request_hash == terms.request_hash
        and receipt.response_hash == hashing.salted_hash(hashing.unhex(terms.salt), answer.encode())
        and receipt.started_at_ms <= receipt.finished_at_ms
    )
    return fits and _signed(space, node, receipt, signature)


def _signed(space: TaskSpace, node: str, receipt: Receipt, signature: str) -> bool:
    try:
        return signing.recover(space.receipt_digest(receipt), signature) == node
    except signing.SignatureMismatch:
        return False


def _log_overclaim(task_id: TaskId, node: str, receipt: Receipt, tokens: Tokens) -> None:
    """For the operator to see; it earns nothing, so it is no fault."""
    if receipt.completion_tokens > tokens.completion or receipt.prompt_tokens > tokens.prompt:
        log.info(
            "claimed_more", task=task_id[:16], node=node, prompt=(receipt.prompt_tokens, tokens.prompt),
            completion=(receipt.completion_tokens, tokens.completion),
        )  # fmt: skip
