"""The node desk: joins admission, sessions, broker users and Reports behind the node-facing routes."""

from __future__ import annotations

import structlog

from coordinator.api.node_calls import NodeRefused
from coordinator.dispatch.admission import Admission, Admitted, NeedsStake, Refused
from coordinator.facts import Facts
from coordinator.lifecycle.policy import Policy
from coordinator.lifecycle.ports import Space
from coordinator.lifecycle.reports import Reports
from coordinator.protocol import session as wire
from coordinator.protocol.report import Report, ReportReply
from coordinator.store.acl import BrokerUsers, UserGone
from coordinator.store.challenges import CHALLENGE_LIFE
from coordinator.store.nodes import (
    Banned,
    ChallengeUnknown,
    NodeStore,
    NotStaked,
    Replayed,
    SessionEnded,
)

log = structlog.get_logger(__name__)

# More wei than the chain can count.
_NEVER = 2**256


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
        banned = await self._nodes.ban_of(node)
        if banned is not None:
            verdict = Refused(_banned(banned))
        if isinstance(verdict, Refused):
            return standing.model_copy(update={"admitted": False, "remedy": verdict.remedy})
        return standing

    async def challenge(self, node: str) -> wire.Challenge:
        """Anybody may ask in a node's name: nothing is stored."""
        await self._admit(node)
        return wire.Challenge(
            challenge=await self._nodes.challenge(node), expires_in_s=round(CHALLENGE_LIFE.total_seconds())
        )

    async def sign_in(self, request: wire.SessionRequest, nonce: str) -> wire.SessionGrant:
        await self._admit(request.node)
        if any("\n" in model or not model.isprintable() for model in request.models):
            raise NodeRefused(422, "MALFORMED", "models: a name holds a character that can't be printed")
        space = await self._space.current()
        if space is None:
            raise NodeRefused(503, "NO_CHAIN_YET", "The coordinator's chain writer has not started. Try again shortly.")
        try:
            opened = await self._nodes.open_session(request, nonce)
            await self._users.remove(opened.cut_off)
            broker = await self._users.grant(request.node, opened.session)
        except ChallengeUnknown:
            raise NodeRefused(401, "CHALLENGE_UNKNOWN", "Ask for a new challenge: this one is used or old.") from None
        except Banned as banned:
            raise NodeRefused(401, "BANNED", _banned(banned.reason)) from None
        except (SessionEnded, Replayed, UserGone) as error:
            raise _refused(error) from None
        if request.previous is None:
            log.info("node_signed_in", node=request.node, models=request.models, slots=request.slots)
        return wire.SessionGrant(
            session=opened.session,
            broker=broker,
            heartbeat_ms=round(self._policy.heartbeat.total_seconds() * 1000),
            lease_ms=round(self._policy.lease.total_seconds() * 1000),
            expires_ms=round(self._policy.session.total_seconds() * 1000),
            chain_id=space.chain_id,
            task_registry=space.task_registry,
        )

    async def heartbeat(self, node: str, beat: wire.Heartbeat, nonce: str) -> wire.HeartbeatReply:
        """Whoever lost his admission since he signed in is cut off here."""
        try:
            return await self._nodes.heartbeat(node, beat, nonce, _least_stake(self._admission.at_once(node)))
        except NotStaked:
            log.info("node_let_go", node=node)
            await self._admit(node)
            raise NodeRefused(401, "NOT_ADMITTED", "The stake has just changed. Sign in anew.") from None
        except (SessionEnded, Replayed) as error:
            raise _refused(error) from None

    async def report(self, node: str, report: Report) -> ReportReply:
        return await self._reports.accept(node, report)

    async def leave(self, node: str, leave: wire.Leave, nonce: str) -> None:
        """Its broker user goes with the next sweep."""
        try:
            await self._nodes.leave(node, leave.session, nonce)
        except (SessionEnded, Replayed) as error:
            raise _refused(error) from None
        log.info("node_left", node=node)

    async def _admit(self, node: str) -> None:
        verdict = await self._admission.check(node)
        if isinstance(verdict, Refused):
            raise NodeRefused(401, "NOT_ADMITTED", verdict.remedy)


def _least_stake(verdict: Admitted | Refused | NeedsStake) -> int | None:
    """What the heartbeat's script has to find staked: it ends the sessions of others, and gives their work away."""
    if isinstance(verdict, NeedsStake):
        return verdict.wei
    return _NEVER if isinstance(verdict, Refused) else None


def _banned(reason: str) -> str:
    return f"The coordinator's operator has banned this node: {reason}"


def _refused(error: SessionEnded | Replayed | UserGone) -> NodeRefused:
    if isinstance(error, Replayed):
        return NodeRefused(401, "REPLAYED", "The nonce was used before. Sign every request anew.")
    if isinstance(error, SessionEnded) and error.superseded:
        return NodeRefused(409, "SESSION_SUPERSEDED", "Another process has signed in with this node's key.")
    return NodeRefused(409, "SESSION_ENDED", "The session is over. Sign in anew.")
