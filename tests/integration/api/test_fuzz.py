"""Whatever comes in, over real sockets and into the real store: never a 500, never a stack trace, never a secret back.

FUZZ=full tries 100,000 requests instead of some thousands.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from eth_keys.datatypes import PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.protocol import session as node_wire
from coordinator.protocol import signing
from tests.integration.api.real import MODEL, NETWORK_MODEL, RealApi, real  # noqa: F401 - a fixture

FULL = os.environ.get("FUZZ") == "full"
pytestmark = pytest.mark.timeout(7200 if FULL else 240)
SECRET = "relay_sk_" + "Zq7" * 14
BASE = "/v2/openai/v1"
# Statuses that some request deserves. 500 is not among them.
HONEST = {200, 201, 202, 204, 400, 401, 402, 403, 404, 405, 409, 410, 411, 413, 422, 429, 431, 501, 502, 503, 504}
TELLTALES = (b"Traceback", b'File "', b".py", b"redis", b"Redis", b"pydantic", b"0x7f", b"ILLEGAL")


def thousands(share: float) -> settings:
    """So much of the whole, however long it takes."""
    return settings(
        max_examples=int((100_000 if FULL else 3_000) * share),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


class Wire:
    """One kept connection. Nothing on this side mends what is sent."""

    def __init__(self, api: RealApi) -> None:
        self._host, _, port = api.base.removeprefix("http://").partition(":")
        self._port = int(port)
        self._connection: http.client.HTTPConnection | None = None

    def send(
        self, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes = b""
    ) -> tuple[int, bytes]:
        for fresh in (False, True):
            if self._connection is None or fresh:
                self.close()
                self._connection = http.client.HTTPConnection(self._host, self._port, timeout=60)
            try:
                return self._exchange(self._connection, method, target, headers, body)
            except (http.client.RemoteDisconnected, ConnectionError):  # it was closed after the last answer
                if fresh:
                    raise
        raise AssertionError

    def _exchange(
        self,
        there: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
    ) -> tuple[int, bytes]:
        there.connect() if there.sock is None else None
        head = [f"{method} {target} HTTP/1.1".encode("latin-1"), b"Host: relay", b"Content-Length: %d" % len(body)]
        there.sock.sendall(b"\r\n".join([*head, *(name + b": " + value for name, value in headers), b"", body]))
        reply = http.client.HTTPResponse(there.sock, method=method)
        reply.begin()
        told = reply.read()
        raw = str(reply.headers).encode("utf-8", "replace")
        if reply.will_close:
            self.close()
        return reply.status, raw + told

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@pytest.fixture(scope="module")
def wire(real: RealApi) -> Iterator[Wire]:  # noqa: F811
    opened = Wire(real)
    yield opened
    opened.close()


@pytest.fixture(scope="module", autouse=True)
def log_is_clean(real: RealApi) -> Iterator[None]:  # noqa: F811
    yield
    text = real.log.read_text(errors="replace")
    assert SECRET not in text
    assert real.superkey not in text
    assert "Traceback" not in text
    assert "request failed" not in text, [line for line in text.splitlines() if "request failed" in line][:3]


def judge(status: int, told: bytes, *secrets: str, sent: bytes = b"") -> None:
    """`sent`: what of it may be repeated, such as the name of a field."""
    assert status in HONEST, (status, told[:2000])
    for secret in secrets:
        assert secret.encode() not in told
    if status >= 400:
        assert not any(sign in told and sign not in sent for sign in TELLTALES), told[:2000]


texts = st.text(max_size=30)
atoms = (
    st.none() | st.booleans() | st.integers() | st.integers(-(2**70), 2**70) | st.floats() | texts
    | st.sampled_from([0, 1, -1, 2**31, 2**63, 2**64, 1e308, "", "auto", "opengpu", "direct", MODEL, SECRET,
                       "\x00", "\ud800"])
)  # fmt: skip
jsons = st.recursive(
    atoms, lambda each: st.lists(each, max_size=4) | st.dictionaries(texts, each, max_size=4), max_leaves=8
)
FIELDS = sorted(
    {
        "model", "messages", "mode", "async", "stream", "stream_options", "n", "stop", "seed", "user", "tools",
        "tool_choice", "logprobs", "top_logprobs", "max_tokens", "max_completion_tokens", "temperature", "top_p",
        "top_k",
        "min_p", "repetition_penalty", "logit_bias", "response_format", "metadata", "service_tier", "prediction",
        "modalities", "verbosity", "webhook_url", "prompt", "best_of", "echo", "suffix", "input", "dimensions",
        "encoding_format", "functions", "store", "reasoning", "chat_template_kwargs", SECRET,
    }
)  # fmt: skip
GOOD: dict[str, dict[str, Any]] = {
    f"{BASE}/chat/completions": {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}]},
    f"{BASE}/completions": {"model": MODEL, "prompt": "Once upon a"},
    f"{BASE}/embeddings": {"model": MODEL, "input": "Hello!"},
    "/v2/customer/keys": {"name": "fuzz"},
}


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    path, good = draw(st.sampled_from(sorted(GOOD.items(), key=lambda item: item[0])))
    how = draw(st.integers(0, 9))
    if how == 0:
        return path, draw(st.binary(max_size=200))
    if how == 1:
        return path, json.dumps(draw(jsons)).encode()
    if how == 2:
        depth = draw(st.integers(1, 3000))
        return path, b'{"model":"m","messages":' + b"[" * depth + b"]" * depth + b"}"
    changed = good | draw(st.dictionaries(st.sampled_from(FIELDS), jsons, max_size=4))
    if draw(st.booleans()):
        changed |= {"model": draw(st.sampled_from([MODEL, NETWORK_MODEL]))}
    text = json.dumps(changed).encode()
    return path, text[: draw(st.integers(0, len(text)))] if how == 3 else text


@thousands(0.5)
@given(sent=bodies())
def test_bodies(wire: Wire, real: RealApi, sent: tuple[str, bytes]) -> None:  # noqa: F811
    path, body = sent
    key = [(b"x-api-key", real.superkey.encode())]
    status, told = wire.send("POST", path, key, body)
    judge(status, told, real.superkey, *([SECRET] if status >= 400 else []), sent=body)


values = st.binary(max_size=60).map(lambda raw: bytes(byte for byte in raw if byte not in b"\r\n\x00"))
NAMES = [
    b"x-api-key", b"authorization", b"idempotency-key", b"content-type", b"accept", b"accept-encoding", b"user-agent",
    b"x-forwarded-for", b"x-real-ip", b"x-request-id", b"cookie", b"origin", b"referer", b"x-task-id", b"range",
]  # fmt: skip
headers = st.lists(st.tuples(st.sampled_from(NAMES), values | st.sampled_from([
    SECRET.encode(), b"Bearer " + SECRET.encode(), b"Basic " + SECRET.encode(), b"127.0.0.1", b"[::1]:5", b"a" * 300,
    b"",
])), max_size=5)  # fmt: skip


@thousands(0.2)
@given(sent=headers, path=st.sampled_from([*GOOD, "/v2/tasks", "/v2/models", "/v2/health", "/v2/tiers"]))
def test_headers(wire: Wire, sent: list[tuple[bytes, bytes]], path: str) -> None:
    good = GOOD.get(path)
    status, told = wire.send("POST" if good else "GET", path, sent, json.dumps(good).encode() if good else b"")
    judge(status, told, SECRET)


written = st.text(max_size=60).map(lambda text: quote(text.encode("utf-8", "surrogatepass"), safe="/:"))
ids = written | st.sampled_from([
    "opengpu:00000000-0000-4000-8000-000000000000", "direct%3A00000000-0000-4000-8000-000000000000", SECRET, "..",
    "%00",
    "key_0123456789abcdef", "msg_x", "%ff", "a" * 3000, "relay%2Ftiny-chat", MODEL,
])  # fmt: skip
PLACES = """
GET /v2/tasks/{} /v2/tasks/{}?wait=1 /v2/tasks/{}/proof /v2/tasks?cursor={} /v2/tasks?limit={} /v2/tasks?status={}
GET /v2/models/{} /v2/openai/v1/models/{} /v2/customer/keys/{} /v2/customer/keys?starting_after={}
GET /v2/customer/keys?limit={} /v2/customer/usage?day={} /v2/customer/usage?from={} /v2/customer/webhooks/{} /{}
GET /v2/webhooks/deliveries/{}
POST /v2/tasks/{}/cancel /v2/customer/keys/{}/revoke /v2/customer/keys/{}/unrevoke
DELETE /v2/customer/keys/{}
PUT /v2/tasks/{}
"""
TARGETS = [(verb, target) for verb, *targets in map(str.split, PLACES.strip().splitlines()) for target in targets]


@thousands(0.2)
@given(place=st.sampled_from(TARGETS), given_id=ids, keyed=st.booleans())
def test_ids(wire: Wire, real: RealApi, place: tuple[str, str], given_id: str, keyed: bool) -> None:  # noqa: F811
    method, target = place
    key = [(b"x-api-key", real.superkey.encode())] if keyed else []
    status, told = wire.send(method, target.format(given_id), key)
    judge(status, told, SECRET, real.superkey)


NODE = PrivateKey(b"\x07" * 32)
ADDRESS = NODE.public_key.to_checksum_address()
WORD = "0x" + "ab" * 32
TASK = "opengpu:00000000-0000-4000-8000-000000000000"
# What a node says when all is well; the fuzz takes from it, and adds to it.
MESSAGES: dict[str, dict[str, Any]] = {
    node_wire.CHALLENGE_PATH: {"node": ADDRESS},
    node_wire.SESSION_PATH: {"node": ADDRESS, "challenge": "ab" * 32, "models": [MODEL], "slots": 1},
    node_wire.HEARTBEAT_PATH: {"session": "ab" * 16, "running": [f"{TASK}#1"], "draining": False},
    node_wire.REPORT_PATH: {"task_id": TASK, "attempt": 1, "failure": {"code": "BACKEND_ERROR", "message": "m"}},
    node_wire.LEAVE_PATH: {"session": "ab" * 16},
}


@st.composite
def from_nodes(draw: st.DrawFn) -> tuple[str, bytes, list[tuple[bytes, bytes]]]:
    """Mostly signed as it should be: what is unsigned gets no further than that."""
    path, good = draw(st.sampled_from(list(MESSAGES.items())))
    names = st.sampled_from(sorted({name for message in MESSAGES.values() for name in message} | {"version", "answer"}))
    changed = {name: value for name, value in good.items() if draw(st.integers(0, 9))}
    body = json.dumps(changed | draw(st.dictionaries(names, jsons, max_size=2))).encode()
    if not draw(st.integers(0, 9)):
        body = draw(st.binary(max_size=100))
    signed = signing.sign_request(NODE, "POST", path, body, "127.0.0.1")
    if not draw(st.integers(0, 4)):
        signed |= draw(
            st.dictionaries(st.sampled_from(sorted(signed)), values.map(lambda raw: raw.decode("latin-1")), max_size=2)
        )
    return path, body, [(name.encode(), value.encode("latin-1")) for name, value in signed.items()]


@thousands(0.1)
@given(sent=from_nodes())
def test_nodes(wire: Wire, sent: tuple[str, bytes, list[tuple[bytes, bytes]]]) -> None:
    path, body, signed = sent
    status, told = wire.send("POST", path, signed, body)
    judge(status, told, SECRET, sent=body)
