"""The node desk: joins admission, sessions, broker users and Reports behind the node-facing routes."""

from __future__ import annotations

import structlog

from coordinator.api.nodes import NodeRefused
from coordinator.dispatch.admission import Admission, Refused
from coordinator.facts import Facts
from coordinator.lifecycle.policy import Policy
from coordinator.lifecycle.ports import Space
from coordinator.lifecycle.reports import Reports
from coordinator.protocol import session as wire
from coordinator.protocol.report import Report, ReportReply
from coordinator.store.acl import BrokerUsers
from coordinator.store.nodes import CHALLENGE_LIFE, ChallengeUnknown, NodeStore, SessionEnded

log = structlog.get_logger(__name__)


class Desk:
    """Implements `coordinator.api.nodes.NodeDesk`."""

    def __init__(
        self,
        nodes: NodeStore,
        users: BrokerUsers,
        admission: Admission,
        reports: Reports,
        space: Space,
        facts: Facts,
        policy: Policy,
    ) -> None:
        self._nodes, self._users, self._admission = nodes, users, admission
        self._reports, self._space, self._facts, self._policy = reports, space, facts, policy

    async def network(self) -> wire.Network:
        return await self._facts.network()

    async def standing(self, node: str) -> wire.Standing:
        """For strangers as well: whoever may not sign in is told why, and what to do about it."""
        verdict, standing = await self._admission.check(node), await self._nodes.standing(node)
        if isinstance(verdict, Refused):
            return standing.model_copy(update={"admitted": False, "remedy": verdict.remedy})
        return standing

    async def challenge(self, node: str) -> wire.Challenge:
        """Refused before anything is stored: a stranger can't fill the store with challenges."""
        await self._admit(node)
        return wire.Challenge(
            challenge=await self._nodes.challenge(node), expires_in_s=round(CHALLENGE_LIFE.total_seconds())
        )

    async def first_use(self, node: str, nonce: str) -> bool:
        """Whoever was taken off the list since its sign-in is cut off here, at the next heartbeat."""
        await self._admit(node)
        return await self._nodes.first_use(node, nonce)

    async def sign_in(self, request: wire.SessionRequest) -> wire.SessionGrant:
        await self._admit(request.node)
        if any("\n" in model or not model.isprintable() for model in request.models):
            raise NodeRefused(422, "MALFORMED", "models: a name holds a character that can't be printed")
        space = await self._space.current()
        if space is None:
            raise NodeRefused(503, "NO_CHAIN_YET", "The coordinator's chain writer has not started. Try again shortly.")
        try:
            session = await self._nodes.open_session(request)
        except ChallengeUnknown:
            raise NodeRefused(401, "CHALLENGE_UNKNOWN", "Ask for a new challenge: this one is used or old.") from None
        broker = await self._users.grant(request.node)
        log.info("node_signed_in", node=request.node, models=request.models, slots=request.slots)
        return wire.SessionGrant(
            session=session,
            broker=broker,
            heartbeat_ms=round(self._policy.heartbeat.total_seconds() * 1000),
            lease_ms=round(self._policy.lease.total_seconds() * 1000),
            chain_id=space.chain_id,
            task_registry=space.task_registry,
        )

    async def heartbeat(self, node: str, beat: wire.Heartbeat) -> wire.HeartbeatReply:
        try:
            return await self._nodes.heartbeat(node, beat.session, beat.running, draining=beat.draining)
        except SessionEnded as ended:
            raise _ended(ended) from None

    async def report(self, node: str, report: Report) -> ReportReply:
        return await self._reports.accept(node, report)

    async def leave(self, node: str, leave: wire.Leave) -> None:
        try:
            await self._nodes.leave(node, leave.session)
        except SessionEnded as ended:
            raise _ended(ended) from None
        await self._users.revoke(node)
        log.info("node_left", node=node)

    async def _admit(self, node: str) -> None:
        verdict = await self._admission.check(node)
        if isinstance(verdict, Refused):
            raise NodeRefused(401, "NOT_ADMITTED", verdict.remedy)


def _ended(ended: SessionEnded) -> NodeRefused:
    if ended.superseded:
        return NodeRefused(409, "SESSION_SUPERSEDED", "Another process has signed in with this node's key.")
    return NodeRefused(409, "SESSION_ENDED", "The session is over. Sign in anew.")
