"""From what inference says to a Report: the answer with its signed Receipt, or a Failure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from coordinator.protocol.envelope import Envelope
from coordinator.protocol.hashing import receipt_digest, salted_hash, unhex
from coordinator.protocol.ids import AttemptId
from coordinator.protocol.report import Blame, Failure, Receipt, Report
from coordinator.protocol.session import SessionGrant
from coordinator.protocol.signing import sign_digest
from node.identity import Identity
from node.inference.backend import BackendFault, Heard
from node.inference.run import Answer
from node.log import shown

log = structlog.get_logger()

Run = Callable[[Envelope, Heard], Awaitable[Answer]]


def answered(identity: Identity, grant: SessionGrant, envelope: Envelope, answer: Answer) -> Report:
    """Signed for the chain and the registry of the session (EIP-712)."""
    receipt = Receipt(
        task=envelope.task_address,
        attempt=envelope.attempt,
        request_hash=envelope.request_hash,
        response_hash=salted_hash(unhex(envelope.salt), answer.body.encode()),
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        started_at_ms=answer.started_at_ms,
        finished_at_ms=answer.finished_at_ms,
    )
    digest = receipt_digest(grant.chain_id, grant.task_registry, receipt)
    return Report(
        task_id=envelope.task_id,
        attempt=envelope.attempt,
        answer=answer.body,
        receipt=receipt,
        receipt_signature=sign_digest(identity.key, digest),
    )


def failed(envelope: Envelope, fault: BackendFault) -> Report:
    failure = Failure(code=fault.code, message=fault.message, backend_status=fault.backend_status)
    _note(envelope.attempt_id, failure)
    return Report(task_id=envelope.task_id, attempt=envelope.attempt, failure=failure)


def _note(attempt: AttemptId, failure: Failure) -> None:
    """For the provider, who alone can mend his backend; without its words, in which a prompt may stand."""
    say = log.info if failure.blame is Blame.CLIENT else log.warning
    say("no answer from the backend", attempt=shown(attempt), code=failure.code, status=failure.backend_status)


class Performer:
    """An Envelope in, its Report out."""

    def __init__(self, identity: Identity, run: Run, grant: Callable[[], SessionGrant | None]) -> None:
        self._identity = identity
        self._run = run
        self._grant = grant

    async def __call__(self, envelope: Envelope, heard: Heard) -> Report:
        grant = self._grant()
        if grant is None:
            raise RuntimeError("an Envelope came before a session")
        try:
            answer = await self._run(envelope, heard)
        except BackendFault as fault:
            return failed(envelope, fault)
        return answered(self._identity, grant, envelope, answer)
