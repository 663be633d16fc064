"""The transport under the line to the coordinator: what a server can do to a connection."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from node.presence.wire import WireTransport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Answering = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers every request with what `answers` says, in order, and then with OK."""

    def __init__(self) -> None:
        self.answers: list[Answering | bytes] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.url = httpx.URL()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.url = httpx.URL(f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/path?q=1")

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0) if self.answers else OK
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                else:
                    await answer(head, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def transport() -> AsyncIterator[WireTransport]:
    made = WireTransport(4, keep_alive=4.0)
    yield made
    await made.aclose()


async def post(transport: WireTransport, url: httpx.URL, body: bytes = b"{}", read: float = 5.0) -> httpx.Response:
    timeouts = {"connect": 5.0, "read": read}
    request = httpx.Request("POST", url, content=body, headers={"X-A": "b"}, extensions={"timeout": timeouts})
    return await transport.handle_async_request(request)


async def close(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def never(_: bytes, __: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def test_what_goes_out_and_what_comes_back(server: Server, transport: WireTransport) -> None:
    response = await post(transport, server.url, b"body")
    assert (response.status_code, await response.aread()) == (200, b"ok")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /path?q=1 HTTP/1.1"
    assert {line.lower() for line in lines[1:]} >= {b"x-a: b", b"content-length: 4", b"host: " + server.url.netloc}
    assert body == b"body"


@pytest.mark.parametrize("packed", [b"ok", gzip.compress(bytes(10_000_000))])
async def test_what_was_not_asked_for_packed_is_not_unpacked(
    server: Server, transport: WireTransport, packed: bytes
) -> None:
    """Neither garbage, which would be no answer but an error of httpx, nor what grows a thousandfold."""
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    server.answers.append(head + packed)
    assert await (await post(transport, server.url)).aread() == packed


async def test_connections_are_kept_and_as_many_as_allowed(server: Server, transport: WireTransport) -> None:
    for _ in range(5):
        await post(transport, server.url)
    assert server.connections == 1
    await asyncio.gather(*(post(transport, server.url, b"x" * 100_000) for _ in range(20)))
    assert server.connections <= 4


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", b"x"),
        (b"HTTP/1.0 503 No\r\nContent-Length: 1\r\n\r\nx", b"x"),
        (b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", b""),
    ],
)
async def test_forms_of_answers(server: Server, transport: WireTransport, answer: bytes, body: bytes) -> None:
    server.answers.append(answer)
    response = await post(transport, server.url)
    assert (response.status_code, await response.aread()) == (503, body)
    assert (await post(transport, server.url)).status_code == 200


async def test_an_answer_in_pieces(server: Server, transport: WireTransport) -> None:
    async def slowly(_: bytes, writer: asyncio.StreamWriter) -> None:
        for byte in OK:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    server.answers.append(slowly)
    assert await (await post(transport, server.url)).aread() == b"ok"


async def test_a_kept_connection_that_the_server_closed_is_replaced(server: Server, transport: WireTransport) -> None:
    await post(transport, server.url)
    server.answers.append(close)  # read, and closed without a word
    assert (await post(transport, server.url)).status_code == 200
    assert server.connections == 2


async def test_an_idle_connection_is_let_go(server: Server) -> None:
    transport = WireTransport(4, keep_alive=0.0)
    await post(transport, server.url)
    await asyncio.sleep(0.01)
    await post(transport, server.url)
    assert server.connections == 2
    await transport.aclose()


@pytest.mark.parametrize(
    "answer",
    [
        close,
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    ],
)
async def test_no_whole_answer(server: Server, transport: WireTransport, answer: Answering | bytes) -> None:
    async def partly(_: bytes, writer: asyncio.StreamWriter) -> None:
        assert isinstance(answer, bytes)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server.answers.append(partly if isinstance(answer, bytes) else answer)
    with pytest.raises(httpx.RemoteProtocolError):
        await post(transport, server.url)
    assert (await post(transport, server.url)).status_code == 200


async def test_no_answer_in_time(server: Server, transport: WireTransport) -> None:
    server.answers.append(never)
    with pytest.raises(httpx.ReadTimeout):
        await post(transport, server.url, read=0.05)
    assert (await post(transport, server.url)).status_code == 200
    assert server.connections == 2  # the late answer must not meet another request


async def test_a_cancelled_post_does_not_leave_its_answer_to_the_next(server: Server, transport: WireTransport) -> None:
    server.answers.append(never)
    task = asyncio.create_task(post(transport, server.url))
    while not server.requests:
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await post(transport, server.url)).status_code == 200
    assert server.connections == 2


async def test_nobody_there(server: Server, transport: WireTransport) -> None:
    await server.stop()
    with pytest.raises(httpx.ConnectError):
        await post(transport, server.url)
    with pytest.raises(httpx.ConnectError):
        await post(transport, httpx.URL("http://no-such-host.invalid/"))


async def test_tls_that_cannot_be_trusted_or_is_none(server: Server, transport: WireTransport) -> None:
    server.answers.append(close)
    with pytest.raises(httpx.TransportError):
        await post(transport, server.url.copy_with(scheme="https"), read=0.2)
