"""Every wire message has a golden file: a change of the wire shows in a diff. `GOLDEN=write` writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from coordinator.protocol import envelope, report, session

FOLDER = Path(__file__).parents[2] / "golden" / "wire"
NODE = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"
TASK = "opengpu:00000000-0000-4000-8000-000000000000"
WORD = "0x" + "ab" * 32
RECEIPT = report.Receipt(
    task=NODE, attempt=2, request_hash=WORD, response_hash=WORD, prompt_tokens=12, completion_tokens=34,
    started_at_ms=1_700_000_000_000, finished_at_ms=1_700_000_000_250,
)  # fmt: skip
MESSAGES: dict[str, BaseModel] = {
    "envelope": envelope.Envelope(
        task_id=TASK, attempt=2, model="relay/tiny-chat", task_address=NODE, salt=WORD, request_hash=WORD,
        request='{"messages":[{"content":"é","role":"user"}],"model":"relay/tiny-chat"}',
        assigned_at_ms=1_700_000_000_000, deadline_ms=1_700_000_300_000,
    ),
    "report_answer": report.Report(
        task_id=TASK, attempt=2, answer='{"choices":[]}', receipt=RECEIPT, receipt_signature="0x" + "cd" * 65
    ),
    "report_failure": report.Report(
        task_id=TASK, attempt=2,
        failure=report.Failure(code=report.FailureCode.BACKEND_REFUSED, message="n: at most 1", backend_status=400),
    ),
    "report_reply": report.ReportReply(accepted=False, refusal=report.Refusal.LATE),
    "challenge_request": session.ChallengeRequest(node=NODE),
    "challenge": session.Challenge(challenge="ab" * 32, expires_in_s=60),
    "session_request": session.SessionRequest(
        node=NODE, challenge="ab" * 32, models=("relay/tiny-chat",), slots=4, version="0.1.0",
        hardware=session.Hardware(cpu_count=2, memory_bytes=1 << 34, gpus=("NVIDIA H200",), gpu_ids=("GPU-1",)),
        previous="cd" * 16,
    ),
    "session_grant": session.SessionGrant(
        session="ab" * 16, heartbeat_ms=2000, lease_ms=10000, chain_id=31337, task_registry=NODE,
        broker=session.BrokerCredential(url="redis://u:p@h:1/0", queue=f"node.{NODE}", key_prefix=f"broker:{NODE}:"),
    ),
    "heartbeat": session.Heartbeat(session="ab" * 16, running=(f"{TASK}#2",), answering=(f"{TASK}#2",), draining=True),
    "heartbeat_reply": session.HeartbeatReply(
        cancelled=(f"{TASK}#1",), expected=(f"{TASK}#2",), no_work=session.NoWork.FULL
    ),
    "leave": session.Leave(session="ab" * 16),
    "network": session.Network(
        chain_id=31337, task_registry=NODE, node_registry=NODE, admission=session.Admission.LIST_OR_STAKE,
        stake_wei=10**18, broker="rediss://relay.example.org:6379", models=("m",), now_ms=1_700_000_000_000,
    ),
    "standing_request": session.StandingRequest(),
    "standing": session.Standing(
        admitted=False, remedy="register it with a stake", condition=session.Condition.SUSPENDED, suspended_ms=30_000,
        successes=1.5, faults=3, timeouts=2, speeds={"m": session.Speed(tokens_per_second=12.5, first_token_ms=None)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_the_wire_is_as_agreed(name: str) -> None:
    path, message = FOLDER / f"{name}.json", MESSAGES[name]
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(message.model_dump_json(indent=1) + "\n")
    golden = path.read_text()
    assert message.model_dump_json(indent=1) + "\n" == golden
    assert type(message).model_validate_json(golden) == message


def test_every_golden_file_is_of_a_message() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(MESSAGES)


@pytest.mark.parametrize(
    "change",
    [
        {"failure": {"code": "BACKEND_ERROR", "message": "x"}},
        {"answer": None},
        {"receipt_signature": None},
        {"attempt": 0},
        {"task_id": "opengpu:../../x"},
        {"surprise": 1},
    ],
)
def test_a_half_or_double_report_is_refused(change: dict[str, object]) -> None:
    body = MESSAGES["report_answer"].model_dump(mode="json") | change
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic's
        report.Report.model_validate(body)


def test_a_credential_does_not_print_its_password() -> None:
    credential = MESSAGES["session_grant"].broker  # type: ignore[attr-defined]
    assert "redis://" not in f"{credential} {credential!r}"
    assert "redis://" not in repr(MESSAGES["session_grant"])
