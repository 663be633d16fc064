"""An httpx transport made for one thing: small POSTs to one coordinator over kept HTTP/1.1 connections.

httpx's own goes through httpcore, h11 and anyio in pure Python and sends head and body in two packets; its posts were
half of all the CPU that a node spent on an attempt. This one parses with httptools (C, uvicorn's parser) and writes
once, for a quarter of that. No proxies, redirects or HTTP/2.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from pathlib import Path
from typing import Any, cast

import httptools
import httpx

# A heartbeat's reply lists at most a few thousand attempts.
_LONGEST_ANSWER = 8 * 2**20


class _Broken(Exception):
    """The connection ended; `nothing_came`: before a byte of the answer."""

    def __init__(self, nothing_came: bool) -> None:
        super().__init__("the connection was closed")
        self.nothing_came = nothing_came


class _Connection(asyncio.Protocol):
    """One request at a time. Called by the event loop and by httptools' parser."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[None] | None = None
        self._parser: Any = None
        self._body: list[bytes] = []
        self._size = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.idle_since = 0.0
        self.reusable = False

    async def exchange(self, message: list[bytes]) -> httpx.Response:
        """Sends and waits. Raises _Broken, or httptools' errors when the answer is no HTTP."""
        if self._transport is None or self._transport.is_closing():
            raise _Broken(nothing_came=True)
        self._body, self._size, self.headers, self.reusable = [], 0, [], False
        self._parser = httptools.HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.writelines(message)
        try:
            await self._answer
        finally:
            self._answer = None
        return httpx.Response(self._parser.get_status_code(), headers=self.headers, content=b"".join(self._body))

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # an answer to nothing: don't trust the connection any more
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)

    def connection_lost(self, _: Exception | None) -> None:
        self._fail(_Broken(nothing_came=not self.headers))

    # httptools
    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() != b"content-encoding":  # none was asked for: httpx would unpack it, whatever comes out
            self.headers.append((name, value))

    def on_body(self, part: bytes) -> None:
        self._body.append(part)
        self._size += len(part)
        if self._size > _LONGEST_ANSWER:
            self._fail(_Broken(nothing_came=False))

    def on_message_complete(self) -> None:
        self.reusable = self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


class WireTransport(httpx.AsyncBaseTransport):
    """At most `most` connections at once; an idle one is let go after `keep_alive` seconds.

    `ca_file`: PEM certificates that https servers are checked against, beside the usual ones.
    """

    def __init__(self, most: int, keep_alive: float, ca_file: Path | None = None) -> None:
        self._room = asyncio.Semaphore(most)
        self._keep_alive = keep_alive
        self._idle: deque[_Connection] = deque()
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises httpx.TransportError. The read timeout is for the whole answer."""
        timeouts = request.extensions.get("timeout", {})
        message = _message(request, await request.aread())
        try:
            async with self._room, asyncio.timeout(timeouts.get("read")):
                return await self._exchange(request, message, timeouts.get("connect"))
        except TimeoutError as error:
            raise httpx.ReadTimeout("no answer in time", request=request) from error
        except (_Broken, httptools.HttpParserError) as error:
            raise httpx.RemoteProtocolError(str(error), request=request) from error

    async def aclose(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _exchange(self, request: httpx.Request, message: list[bytes], connect: float | None) -> httpx.Response:
        while (connection := self._take_idle()) is not None:
            try:
                return await self._on(connection, message)
            except _Broken as error:
                if not error.nothing_came:  # else: closed by the server while it was idle
                    raise
        return await self._on(await self._connect(request.url, connect), message)

    async def _on(self, connection: _Connection, message: list[bytes]) -> httpx.Response:
        answered = False
        try:
            response = await connection.exchange(message)
            answered = True
            return response
        finally:
            if answered and connection.reusable:
                connection.idle_since = asyncio.get_running_loop().time()
                self._idle.append(connection)
            else:
                connection.close()

    def _take_idle(self) -> _Connection | None:
        """The one used last; those that were idle for too long are closed."""
        oldest = asyncio.get_running_loop().time() - self._keep_alive
        while self._idle and (self._idle[0].idle_since < oldest or not self._idle[0].open):
            self._idle.popleft().close()
        return self._idle.pop() if self._idle else None

    async def _connect(self, url: httpx.URL, limit: float | None) -> _Connection:
        secure = url.scheme == "https"
        if secure and self._tls is None:
            self._tls = trust(self._ca_file)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(limit):
                port = url.port or (443 if secure else 80)
                _, connection = await loop.create_connection(
                    _Connection, url.host, port, ssl=self._tls if secure else None
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error
        return connection


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """For https: Mozilla's authorities, and those of `ca_file` (PEM). Raises OSError when that can't be read."""
    context = httpx.create_ssl_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


def _message(request: httpx.Request, body: bytes) -> list[bytes]:
    head = b"%b %b HTTP/1.1\r\n" % (request.method.encode(), request.url.raw_path)
    fields = b"".join(b"%b: %b\r\n" % field for field in request.headers.raw)
    return [head + fields + b"\r\n", body]
