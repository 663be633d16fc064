"""What a receiver gets, to the letter: a change of it shows in a diff. `GOLDEN=write` writes it anew."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from coordinator.api.answers import webhook_body
from coordinator.lifecycle.task import ChainEntry, TaskState, TaskView
from coordinator.lifecycle.webhooks import message_id
from coordinator.protocol.ids import TaskId
from coordinator.webhooks import signing
from tests.unit.protocol.test_golden import NODE, RECEIPT

FOLDER = Path(__file__).parents[2] / "golden" / "webhooks"

SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "AAAA" * 8)
START = datetime(2026, 11, 22, 12, tzinfo=UTC)
COMMON: dict[str, Any] = {"created_at": START, "now": START, "ended_at": START + timedelta(seconds=3)}
CHAIN = ChainEntry("pending", None, None, 0)
VIEWS = {
    "completed": TaskView(
        TaskId("opengpu:00000000-0000-4000-8000-000000000000"), TaskState.COMPLETED, "opengpu", "relay/tiny-chat",
        **COMMON, task_address=NODE, answer=b'{ "choices": [] }', attempt=2, node=NODE, receipt=RECEIPT, chain=CHAIN,
    ),
    "failed": TaskView(
        TaskId("direct:00000000-0000-4000-8000-000000000000"), TaskState.FAILED, "direct", "relay/tiny-chat",
        **COMMON, error_code="TASK_CANCELED", error_message="The task was cancelled.", error_status=410, attempt=1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_the_wire_is_as_agreed(name: str) -> None:
    view, path = VIEWS[name], FOLDER / f"{name}.json"
    body = webhook_body(view)
    headers = signing.headers(SECRETS, message_id(view.task_id), 1_700_000_000, body)
    sent = orjson.dumps({"headers": headers, "body": body.decode()}, option=orjson.OPT_INDENT_2) + b"\n"
    if os.environ.get("GOLDEN") == "write":
        path.write_bytes(sent)
    assert path.read_bytes() == sent
