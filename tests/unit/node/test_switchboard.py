"""What the coordinator's replies come to in a node."""

from __future__ import annotations

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
