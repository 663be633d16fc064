"""One attempt on real sockets: pinned addresses, no redirects, 2xx within the time, and what is told of a failure."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from coordinator.lifecycle.webhooks import Outcome
from coordinator.webhooks.resolving import SystemResolver
from coordinator.webhooks.sender import HttpSender
from tests.fakes.webhooks import PUBLIC, FakeNames, Receiver
from tests.parts.missing import missing

BODY, HEADERS = b'{"event":"task.completed"}', {"webhook-id": "msg_1"}
REFUSED = Outcome(None, "address_refused")


@asynccontextmanager
async def sending(
    names: FakeNames | None = None,
    *,
    allow_private: bool = True,
    patience: float = 5.0,
    trust: ssl.SSLContext | None = None,
) -> AsyncIterator[HttpSender]:
    sender = HttpSender(
        names or FakeNames(), allow_private=allow_private, timeout=timedelta(seconds=patience), trust=trust
    )
    try:
        yield sender
    finally:
        await sender.close()


async def test_what_a_receiver_gets() -> None:
    async with Receiver().serving() as receiver, sending() as sender:
        url = f"http://127.0.0.1:{receiver.port}/hooks/a%20b?c=d"
        assert await sender.send(url, HEADERS, BODY) == Outcome(204)
    [got] = receiver.got
    assert (got.body, got.path) == (BODY, "/hooks/a b")
    assert got.headers["webhook-id"] == "msg_1"
    assert got.headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_every_2xx_is_success(status: int) -> None:
    async with Receiver([status]).serving() as receiver, sending() as sender:
        assert (await sender.send(f"http://127.0.0.1:{receiver.port}", {}, BODY)).delivered


async def test_a_redirect_is_not_followed() -> None:
    async def elsewhere(request: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with Receiver(answer=elsewhere).serving() as receiver, sending() as sender:
        outcome = await sender.send(f"http://127.0.0.1:{receiver.port}/", {}, BODY)
    assert outcome == Outcome(307, "redirect_not_followed")
    assert len(receiver.got) == 1


async def test_an_answer_that_never_ends_is_not_read() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    async with Receiver(answer=endless).serving() as receiver, sending() as sender:
        assert (await sender.send(f"http://127.0.0.1:{receiver.port}/", {}, BODY)).status == 200


async def test_whoever_says_nothing_in_time_has_not_got_it() -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with Receiver(answer=silent).serving() as receiver, sending(patience=0.1) as sender:
        assert await sender.send(f"http://127.0.0.1:{receiver.port}/", {}, BODY) == Outcome(None, "timeout")


async def test_failures_have_names_of_ours() -> None:
    async def rude(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        raise AssertionError

    async with Receiver(answer=rude).serving() as receiver, sending() as sender:
        base = f"http://127.0.0.1:{receiver.port}"
        assert await sender.send(base, {}, BODY) == Outcome(None, "connection_lost")
        assert await sender.send(base.replace("http", "https"), {}, BODY) == Outcome(None, "tls_failed")
        assert await sender.send("http://nowhere.test/", {}, BODY) == Outcome(None, "name_not_resolved")
    async with sending() as sender:
        assert await sender.send(base, {}, BODY) == Outcome(None, "connection_failed")


# ── addresses ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "private", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "fe80::1%lo"]
)
async def test_a_name_that_leads_to_a_private_address_is_refused(private: str) -> None:
    names = FakeNames({"hooks.example": [[private]], "mixed.example": [[PUBLIC, private]]})
    async with sending(names, allow_private=False) as sender:
        assert await sender.send("https://hooks.example/", {}, BODY) == REFUSED
        assert await sender.send("https://mixed.example/", {}, BODY) == REFUSED


async def test_a_url_is_checked_again_at_delivery() -> None:
    """Whatever stands in the store: an operator may have allowed it once."""
    async with Receiver().serving() as receiver, sending(allow_private=False) as sender:
        for host in ("127.0.0.1", "localhost", "[::1]", "2130706433"):
            for scheme in ("http", "https"):
                assert await sender.send(f"{scheme}://{host}:{receiver.port}/", {}, BODY) == REFUSED
    assert receiver.got == []


async def test_rebinding_a_name_between_check_and_connection_leads_nowhere() -> None:
    """The name server says public first and private from then on: it is asked once, and that is where it goes."""
    names = FakeNames({"hooks.example": [[PUBLIC], ["127.0.0.1"]]})
    tried: list[str] = []

    async with Receiver().serving() as receiver, sending(names, allow_private=False, patience=0.5) as sender:
        look = sender._socket

        def watched(info: object) -> object:
            tried.append(info[4][0])  # type: ignore[index]
            look(info).close()
            raise OSError("the test goes no further")

        sender._socket = watched  # type: ignore[assignment,method-assign]
        await sender.send(f"https://hooks.example:{receiver.port}/", {}, BODY)
        assert names.asked == ["hooks.example"]
        assert tried == [PUBLIC]
        sender._socket = look  # type: ignore[method-assign]
        assert await sender.send(f"https://hooks.example:{receiver.port}/", {}, BODY) == REFUSED
    assert receiver.got == []


async def test_the_socket_itself_refuses_what_slipped_past_everything_else() -> None:
    async with sending(allow_private=False) as sender:
        for address in ("127.0.0.1", "::1", "::ffff:10.0.0.1"):
            with pytest.raises(PermissionError):
                sender._socket((2, 1, 6, "", (address, 443)))


async def test_names_are_resolved_as_this_machine_does_it() -> None:
    names = SystemResolver(1)
    assert {str(address) for address in await names.addresses("localhost", 443)} <= {"127.0.0.1", "::1"}
    names.close()


# ── TLS ──────────────────────────────────────────────────────────────────────


def certificate(home: Path, host: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context, and that of a client which trusts it alone."""
    if shutil.which("openssl") is None:
        missing("openssl makes the certificates")
    key, chain = home / "key.pem", home / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}", "-keyout", key, "-out", chain],
        check=True, capture_output=True,
    )  # fmt: skip
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    return server, ssl.create_default_context(cafile=chain)


async def test_the_certificate_is_checked_against_the_name_not_the_address(tmp_path: Path) -> None:
    server, trust = certificate(tmp_path, "hooks.example")
    names = FakeNames({"hooks.example": [["127.0.0.1"]], "other.example": [["127.0.0.1"]]})
    async with Receiver().serving(ssl_context=server) as receiver:
        async with sending(names, trust=trust) as sender:
            assert (await sender.send(f"https://hooks.example:{receiver.port}/", {}, BODY)).delivered
            other = await sender.send(f"https://other.example:{receiver.port}/", {}, BODY)
            assert other == Outcome(None, "tls_failed")
        async with sending(names) as sender:
            assert (await sender.send(f"https://hooks.example:{receiver.port}/", {}, BODY)).error == "tls_failed"
    assert len(receiver.got) == 1
