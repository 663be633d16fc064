"""The node-facing routes over HTTP, on the fake store: who gets in, and what is refused with which code."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from eth_keys.datatypes import PrivateKey
from fakeredis import FakeAsyncRedis, FakeServer
from fastapi import FastAPI
from pydantic import BaseModel

from coordinator.api.front_door import FrontDoor
from coordinator.api.node_calls import Audience
from coordinator.api.nodes import node_routes
from coordinator.desk import Desk
from coordinator.dispatch.admission import Admitted, Refused
from coordinator.facts import Facts
from coordinator.lifecycle.money import Tokens
from coordinator.lifecycle.policy import Pay, Policy
from coordinator.lifecycle.reports import Reports
from coordinator.lifecycle.task import TaskState
from coordinator.protocol import hashing, session, signing
from coordinator.protocol.envelope import Envelope
from coordinator.protocol.ids import TaskId
from coordinator.protocol.report import Failure, FailureCode, Receipt, Report
from coordinator.store.space import SpaceReader, publish
from tests.unit.store.network import MODEL, Network

KEY, OTHER = PrivateKey(bytes(31) + b"\x01"), PrivateKey(bytes(31) + b"\x02")
SPACE = hashing.TaskSpace(31337, "0x" + "11" * 20, "0x" + "22" * 20, "0x" + "33" * 20)
ANSWER = '{"model":"m","choices":[{"message":{"content":"h\\u00e9 é"},"finish_reason":"stop"}]}'


def address(key: PrivateKey) -> str:
    return str(key.public_key.to_checksum_address())


class Users:
    """Stands in for Redis's ACL, which the fake doesn't have; tests/integration has the real one."""

    async def grant(self, node: str, _: str) -> session.BrokerCredential:
        return session.BrokerCredential(url="redis://x", queue=f"node.{node}", key_prefix=f"broker:{node}:")

    async def remove(self, names: object) -> None:
        return None


class OneKey:
    rule, stake_wei = session.Admission.LIST, None

    def __init__(self) -> None:
        self.key: str | None = address(KEY)

    def at_once(self, node: str) -> Admitted | Refused:
        return Admitted() if node == self.key else Refused("Ask the operator.")

    async def check(self, node: str) -> Admitted | Refused:
        return self.at_once(node)


class Client:
    """A node's side of the wire, honest unless told otherwise."""

    def __init__(self, network: Network, http: httpx.AsyncClient, admission: OneKey) -> None:
        self.network, self.http, self.admission = network, http, admission

    async def post(
        self, path: str, message: BaseModel, *, key: PrivateKey = KEY, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        body = message.model_dump_json().encode()
        return await self.http.post(
            path, content=body, headers=headers or signing.sign_request(key, "POST", path, body, "localhost")
        )

    async def sign_in(self) -> session.SessionGrant:
        asked = await self.http.post(session.CHALLENGE_PATH, json={"node": address(KEY)})
        challenge = session.Challenge.model_validate_json(asked.content).challenge
        request = session.SessionRequest(node=address(KEY), challenge=challenge, models=(MODEL,), slots=4)
        reply = await self.post(session.SESSION_PATH, request)
        assert reply.status_code == 200, reply.text
        return session.SessionGrant.model_validate_json(reply.content)

    async def taken(self) -> Envelope:
        grant = await self.sign_in()
        await self.post(session.HEARTBEAT_PATH, session.Heartbeat(session=grant.session))
        await self.network.submit()
        [raw] = await self.network.envelopes(address(KEY))
        return Envelope.model_validate(raw)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    redis = FakeAsyncRedis(server=FakeServer())
    network, space = Network(redis), SpaceReader(redis)
    await publish(redis, SPACE, node_registry="0x" + "44" * 20)
    admission = OneKey()
    facts, reports = Facts(space, admission, "redis://c:6379", (MODEL,)), Reports(network.tasks, space, Pay())
    desk = Desk(network.nodes, Users(), admission, reports, space, facts, Policy())  # type: ignore[arg-type]
    app = FrontDoor(FastAPI(), node_routes(desk, Audience()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        yield Client(network, http, admission)
    await redis.aclose()


def code(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


def answered(envelope: Envelope, *, key: PrivateKey = KEY, answer: str = ANSWER, **change: object) -> Report:
    receipt = Receipt(
        task=envelope.task_address, attempt=envelope.attempt, request_hash=envelope.request_hash,
        response_hash=hashing.salted_hash(hashing.unhex(envelope.salt), answer.encode()),
        prompt_tokens=3, completion_tokens=4, started_at_ms=5, finished_at_ms=6,
    ).model_copy(update=change)  # fmt: skip
    signature = signing.sign_digest(key, SPACE.receipt_digest(receipt))
    return Report(
        task_id=envelope.task_id, attempt=envelope.attempt, answer=answer, receipt=receipt, receipt_signature=signature
    )


async def test_whoever_is_taken_off_the_list_is_out_at_his_next_heartbeat(client: Client) -> None:
    """And what he holds goes to others at once."""
    envelope = await client.taken()
    grant = await client.sign_in()
    client.admission.key = None
    running = (f"{envelope.task_id}#{envelope.attempt}",)
    reply = await client.post(session.HEARTBEAT_PATH, session.Heartbeat(session=grant.session, running=running))
    assert code(reply) == (401, "NOT_ADMITTED")
    assert reply.json()["error"]["message"] == "Ask the operator."
    assert await client.network.state(TaskId(envelope.task_id)) is TaskState.WAITING


async def test_a_node_signs_in_works_and_is_believed(client: Client) -> None:
    envelope = await client.taken()
    reply = await client.post(session.REPORT_PATH, answered(envelope))
    assert reply.json() == {"accepted": True, "refusal": None, "detail": None}
    view = await client.network.tasks.read(TaskId(envelope.task_id))
    assert (view.status, view.answer) == ("completed", ANSWER.encode())
    again = await client.post(session.REPORT_PATH, answered(envelope))
    assert again.json() == {"accepted": False, "refusal": "DUPLICATE", "detail": None}


async def test_anybody_may_ask_what_network_this_is(client: Client) -> None:
    reply = await client.http.get(session.NETWORK_PATH)
    network = session.Network.model_validate_json(reply.content)
    assert (network.chain_id, network.task_registry, network.models) == (31337, SPACE.task_registry, (MODEL,))
    assert (network.node_registry, network.admission, network.broker) == ("0x" + "44" * 20, "list", "redis://c:6379")


async def test_a_node_and_a_stranger_are_told_where_they_stand(client: Client) -> None:
    async def standing(key: PrivateKey) -> session.Standing:
        reply = await client.post(session.STANDING_PATH, session.StandingRequest(), key=key)
        return session.Standing.model_validate_json(reply.content)

    assert (await standing(KEY)).admitted
    assert not (await standing(KEY)).signed_in
    await client.sign_in()
    assert (await standing(KEY)).signed_in
    stranger = await standing(OTHER)
    assert not stranger.admitted
    assert stranger.remedy == "Ask the operator."


async def test_a_stranger_gets_no_challenge(client: Client) -> None:
    assert code(await client.http.post(session.CHALLENGE_PATH, json={"node": address(OTHER)})) == (401, "NOT_ADMITTED")
    assert await client.network.redis.keys("relay:challenge:*") == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({signing.SIGNATURE_HEADER: "0x" + "00" * 65}, "BAD_SIGNATURE"),
        ({signing.SIGNATURE_HEADER: "junk"}, "BAD_SIGNATURE"),
        ({signing.NODE_HEADER: address(OTHER)}, "BAD_SIGNATURE"),
        ({signing.AUDIENCE_HEADER: "127.0.0.1"}, "BAD_SIGNATURE"),
        ({signing.AUDIENCE_HEADER: "relay.example.org"}, "WRONG_AUDIENCE"),
        ({signing.NONCE_HEADER: "f" * 32}, "BAD_SIGNATURE"),
        ({signing.NONCE_HEADER: "f"}, "BAD_SIGNATURE"),
        ({signing.TIME_HEADER: "1700000000000"}, "CLOCK_OFF"),
        ({signing.TIME_HEADER: "soon"}, "BAD_SIGNATURE"),
        ({signing.TIME_HEADER: "9" * 4000}, "BAD_SIGNATURE"),
    ],
)
async def test_a_changed_header_is_refused(client: Client, change: dict[str, str], expected: str) -> None:
    beat = session.Heartbeat(session="0" * 32)
    signed = signing.sign_request(KEY, "POST", session.HEARTBEAT_PATH, beat.model_dump_json().encode(), "localhost")
    assert code(await client.post(session.HEARTBEAT_PATH, beat, headers=signed | change)) == (401, expected)


async def test_a_replay_is_refused(client: Client) -> None:
    grant = await client.sign_in()
    beat = session.Heartbeat(session=grant.session)
    signed = signing.sign_request(KEY, "POST", session.HEARTBEAT_PATH, beat.model_dump_json().encode(), "localhost")
    assert (await client.post(session.HEARTBEAT_PATH, beat, headers=signed)).status_code == 200
    assert code(await client.post(session.HEARTBEAT_PATH, beat, headers=signed)) == (401, "REPLAYED")


async def test_sessions_end_with_a_reason(client: Client) -> None:
    first = await client.sign_in()
    second = await client.sign_in()
    old, new = session.Heartbeat(session=first.session), session.Heartbeat(session=second.session)
    assert code(await client.post(session.HEARTBEAT_PATH, old)) == (409, "SESSION_SUPERSEDED")
    assert (await client.post(session.LEAVE_PATH, session.Leave(session=second.session))).status_code == 200
    assert code(await client.post(session.HEARTBEAT_PATH, new)) == (409, "SESSION_ENDED")


async def test_a_banned_node_is_told_why_wherever_it_asks(client: Client) -> None:
    grant = await client.sign_in()
    await client.network.nodes.ban(address(KEY), "it lied")
    beat = session.Heartbeat(session=grant.session)
    assert code(await client.post(session.HEARTBEAT_PATH, beat)) == (409, "SESSION_ENDED")
    asked = await client.http.post(session.CHALLENGE_PATH, json={"node": address(KEY)})
    challenge = session.Challenge.model_validate_json(asked.content).challenge
    request = session.SessionRequest(node=address(KEY), challenge=challenge, models=(MODEL,), slots=4)
    refused = await client.post(session.SESSION_PATH, request)
    assert code(refused) == (401, "BANNED")
    assert "it lied" in refused.text
    standing = session.Standing.model_validate_json(
        (await client.post(session.STANDING_PATH, session.StandingRequest())).content
    )
    assert not standing.admitted
    assert "it lied" in (standing.remedy or "")


async def test_a_session_is_renewed_by_whoever_has_it_and_by_nobody_else(client: Client) -> None:
    async def renew(previous: str) -> httpx.Response:
        asked = await client.http.post(session.CHALLENGE_PATH, json={"node": address(KEY)})
        challenge = session.Challenge.model_validate_json(asked.content).challenge
        request = session.SessionRequest(
            node=address(KEY), challenge=challenge, models=(MODEL,), slots=4, previous=previous
        )
        return await client.post(session.SESSION_PATH, request)

    first = await client.sign_in()
    assert first.expires_ms == 3_600_000
    reply = await renew(first.session)
    second = session.SessionGrant.model_validate_json(reply.content)
    for grant in (first, second):  # until the new one's first heartbeat either is good
        assert (await client.post(session.HEARTBEAT_PATH, session.Heartbeat(session=grant.session))).status_code == 200
    assert code(await renew(first.session)) == (409, "SESSION_SUPERSEDED")


@pytest.mark.parametrize(
    "change",
    [
        {"attempt": 2}, {"task": "0x" + "99" * 20}, {"request_hash": "0x" + "99" * 32},
        {"response_hash": "0x" + "99" * 32}, {"started_at_ms": 7},
    ],
)  # fmt: skip
async def test_a_receipt_that_does_not_fit_costs_the_attempt(client: Client, change: dict[str, object]) -> None:
    envelope = await client.taken()
    reply = await client.post(session.REPORT_PATH, answered(envelope, **change))
    assert reply.json() == {"accepted": False, "refusal": "BAD_RECEIPT", "detail": None}
    assert (await client.network.tasks.read(TaskId(envelope.task_id))).attempt == 2


async def test_a_receipt_signed_by_another_key_is_refused(client: Client) -> None:
    envelope = await client.taken()
    reply = await client.post(session.REPORT_PATH, answered(envelope, key=OTHER))
    assert reply.json()["refusal"] == "BAD_RECEIPT"


async def test_an_answer_that_is_none_goes_elsewhere(client: Client) -> None:
    envelope = await client.taken()
    reply = await client.post(session.REPORT_PATH, answered(envelope, answer='{"choices":[]}'))
    assert reply.json() == {"accepted": False, "refusal": "BAD_ANSWER", "detail": "no model"}
    assert (await client.network.tasks.read(TaskId(envelope.task_id))).attempt == 2


async def test_a_claim_beyond_the_text_is_not_paid(client: Client) -> None:
    envelope = await client.taken()
    liar = answered(envelope, prompt_tokens=2**32 - 1, completion_tokens=2**32 - 1)
    assert (await client.post(session.REPORT_PATH, liar)).json()["accepted"]
    record, pay = await client.network.tasks.record(TaskId(envelope.task_id)), Pay()
    most = Tokens(prompt=len(envelope.request.encode()), completion=len("hé é".encode()))
    assert int(record["payment_wei"]) == pay.amount(most)
    assert record["completion_tokens"] == str(2**32 - 1)  # the chain keeps what the node has signed


async def test_another_nodes_report_changes_nothing(client: Client) -> None:
    envelope = await client.taken()
    for report in (answered(envelope, key=OTHER), answered(envelope)):
        reply = await client.post(session.REPORT_PATH, report, key=OTHER)
        assert reply.json()["refusal"] in ("FOREIGN_ATTEMPT", "BAD_RECEIPT")
    view = await client.network.tasks.read(TaskId(envelope.task_id))
    assert (view.attempt, view.answer) == (1, None)


async def test_a_client_fault_ends_the_task_with_the_backends_words(client: Client) -> None:
    envelope = await client.taken()
    failure = Failure(code=FailureCode.BACKEND_UNSUPPORTED, message="n: this backend gives one choice")
    reply = await client.post(
        session.REPORT_PATH, Report(task_id=envelope.task_id, attempt=envelope.attempt, failure=failure)
    )
    assert reply.json()["accepted"] is True
    view = await client.network.tasks.read(TaskId(envelope.task_id))
    assert (view.error_code, view.error_message) == ("UPSTREAM_INVALID_REQUEST", failure.message)


async def test_malformed_messages_name_the_field_and_echo_nothing(client: Client) -> None:
    body = b'{"session": "SECRET"}'
    signed = signing.sign_request(KEY, "POST", session.HEARTBEAT_PATH, body, "localhost")
    reply = await client.http.post(session.HEARTBEAT_PATH, content=body, headers=signed)
    assert code(reply) == (422, "MALFORMED")
    assert "session" in reply.text
    assert "SECRET" not in reply.text


@pytest.mark.parametrize(
    "hardware",
    [
        {"gpus": ["x" * 101]}, {"gpus": ["x"] * 65}, {"gpu_ids": ["x" * 101]}, {"cpu_count": -1},
        {"memory_bytes": 2**63}, {"memory_bytes": int("9" * 4000)},
    ],
    ids=lambda hardware: next(iter(hardware)),
)  # fmt: skip
async def test_what_a_machine_is_called_has_a_size(client: Client, hardware: dict[str, object]) -> None:
    """The store keeps it for a day."""
    asked = {"node": address(KEY), "challenge": "c", "models": [MODEL], "slots": 1, "hardware": hardware}
    body = json.dumps(asked).encode()
    signed = signing.sign_request(KEY, "POST", session.SESSION_PATH, body, "localhost")
    assert code(await client.http.post(session.SESSION_PATH, content=body, headers=signed)) == (422, "MALFORMED")
