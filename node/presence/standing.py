"""How the coordinator stands to this key: asked without signing in."""

from __future__ import annotations

from datetime import timedelta

from pydantic import ValidationError

from coordinator.protocol.session import STANDING_PATH, Standing, StandingRequest
from node.presence.line import CoordinatorUnreachable, Line

_TIMEOUT = timedelta(seconds=10)


class NoStanding(Exception):
    """Nobody there, or somebody else; `reason` is for the operator."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def ask_standing(line: Line) -> Standing:
    """Raises NoStanding."""
    try:
        reply = await line.post(STANDING_PATH, StandingRequest().model_dump_json().encode(), _TIMEOUT)
    except CoordinatorUnreachable as error:
        raise NoStanding(f"it can't be reached ({error})") from error
    if not reply.ok:
        raise NoStanding(f"{reply.code}: {reply.message}" if reply.code else f"it answers HTTP {reply.status}")
    try:
        return Standing.model_validate_json(reply.body)
    except ValidationError:
        raise NoStanding("it answers, but not as this version's coordinator does") from None
