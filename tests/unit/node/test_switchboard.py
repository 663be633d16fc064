"""What the coordinator's replies come to in a node."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from structlog.testing import capture_logs

from coordinator.protocol.session import HeartbeatReply, NoWork
from node.running import Switchboard


class Attempts:
    def cancel(self, attempts: Iterable[str]) -> None:
        assert list(attempts) == []


class Supervisor:
    def note_missing(self, missing: Iterable[str]) -> None:
        assert list(missing) == []


def test_the_provider_hears_once_that_his_node_is_suspended_and_once_that_it_is_not() -> None:
    board = Switchboard(Attempts(), Supervisor())  # type: ignore[arg-type]
    with capture_logs() as lines:
        for why in (None, NoWork.SUSPENDED, NoWork.SUSPENDED, NoWork.PROBATION, NoWork.NO_DEMAND, NoWork.SUSPENDED):
            board.heard(HeartbeatReply(no_work=why))
    assert [line["event"].split(":")[0] for line in lines] == [
        "suspended by the coordinator", "no longer suspended", "suspended by the coordinator",
    ]  # fmt: skip
    assert lines[0]["remedy"] == "python -m node standing"


class Recording:
    """Attempts and Supervisor in one: what came of a reply."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.missing: list[str] = []

    def cancel(self, attempts: Iterable[str]) -> None:
        self.cancelled += attempts

    def knows(self, _: str) -> bool:
        return False

    def note_missing(self, missing: Iterable[str]) -> None:
        self.missing += missing


def test_what_can_be_no_attempt_is_passed_over() -> None:
    """Before anything is made of it: a node that dies of a reply would take its work with it."""
    heard = Recording()
    board = Switchboard(heard, heard)  # type: ignore[arg-type]
    good = f"opengpu:{uuid.uuid4()}"
    garbage = ("", "x", "#", "x#1", good, f"{good}#", f"{good}#0", f"{good}#-1", f"{good}#x", f"{good}#{'9' * 5000}")
    board.heard(HeartbeatReply(cancelled=(*garbage, f"{good}#1"), expected=(*garbage, f"{good}#2")))
    assert (heard.cancelled, heard.missing) == ([f"{good}#1"], [f"{good}#2"])
