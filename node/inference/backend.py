"""An OpenAI-compatible server over HTTP: vLLM, SGLang, llama.cpp, Ollama, TGI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Protocol

import aiohttp
import orjson
import structlog

from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.report import MAX_ANSWER_CHARACTERS, FailureCode
from node.inference.assembly import Assembly, StreamFault
from node.inference.refusal import readable
from node.inference.silence import Silence

log = structlog.get_logger()

# uvicorn (vLLM, SGLang) and llama.cpp close an idle connection after 5 s: let go of it before they do.
_KEEP_ALIVE_SECONDS = 4
_CONNECT_SECONDS = 5
_PROBE_SECONDS = 5
# The request was understood and is wrong. Not 404: the path and the model's name are the node's own settings.
_REFUSALS = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY})
# What is written to the head of a request to have its answer in a stream; the counts are what the node is paid by.
_AS_A_STREAM = b'{"stream":true,"stream_options":{"include_usage":true},'
_SILENCE = timedelta(seconds=60)
# It says keep-alive and hangs up all the same, and who uses such a connection again loses his request: 6% of them with
# 16 at once. So no connection is kept behind a stream before it is known whose it is.
_CLOSES_BEHIND_STREAMS = "llama.cpp"
# The terminating chunk of HTTP comes right behind [DONE]; with it the connection can be used again.
_TAIL_SECONDS = 0.05

Heard = Callable[[], None]


class BackendFault(Exception):
    """No answer. `message` is for the client, and goes no further: it may name a parameter."""

    def __init__(self, code: FailureCode, message: str, backend_status: int | None = None) -> None:
        super().__init__(code.value)
        self.code = code
        self.message = message
        self.backend_status = backend_status


class Backend(Protocol):
    """Port: what runs a request."""

    async def complete(
        self,
        request: bytes,
        timeout: timedelta,
        endpoint: Endpoint = "chat/completions",
        heard: Heard | None = None,
    ) -> bytes:
        """The body of the answer in one piece, of whatever content. Raises BackendFault.

        With `heard` the backend is asked for a stream, so `request` says nothing of one itself; `heard` is called when
        its first token comes.
        """

    async def kind(self) -> str | None:
        """What the server calls itself (`llamacpp`, `vllm`, …), "" when it doesn't say, None when it doesn't answer."""


@dataclass(frozen=True, slots=True)
class BackendAddress:
    """`url` with or without `/v1`."""

    url: str
    api_key: str | None = None

    @property
    def base(self) -> str:
        return self.url.rstrip("/").removesuffix("/v1")

    def __repr__(self) -> str:
        return f"BackendAddress({self.base!r})"


class HttpBackend:
    """`session` is the caller's to close; see `backend_session`. `silence`: how long a begun stream may pause."""

    def __init__(self, session: aiohttp.ClientSession, address: BackendAddress, silence: timedelta = _SILENCE) -> None:
        self._session = session
        self._base = f"{address.base}/v1"
        self._models = f"{address.base}/v1/models"
        self._silence = silence
        # Whether it can't stream, or not so that it gives its counts: until it was down, it is asked no more.
        self._one_piece = False
        self._keeps_behind_streams = False
        # Identity: the answer is signed byte for byte, and it comes over loopback or a LAN.
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if address.api_key:
            self._headers["Authorization"] = f"Bearer {address.api_key}"

    async def complete(
        self,
        request: bytes,
        timeout: timedelta,
        endpoint: Endpoint = "chat/completions",
        heard: Heard | None = None,
    ) -> bytes:
        """Raises BackendFault unless the server said 200, and a stream came to its end."""
        if heard is None or self._one_piece:
            return _taken(await self._call(endpoint, request, timeout), request)
        refusal = status, body = await self._call(endpoint, _as_a_stream(request), timeout, heard)
        if status not in _REFUSALS or b"stream" not in body.lower():
            return _taken(refusal, request)
        answer = _taken(await self._call(endpoint, request, timeout), request)
        self._ask_in_one_piece("it refuses to stream")
        return answer

    async def kind(self) -> str | None:
        """Asks for the list of models; any answer at all proves that a server is there."""
        limit = aiohttp.ClientTimeout(total=_PROBE_SECONDS)
        try:
            async with self._session.get(
                self._models, headers=self._headers, timeout=limit, allow_redirects=False
            ) as response:
                if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    return None
                return _owner(await _bounded(response.content))
        except (aiohttp.ClientError, TimeoutError):
            return None
        except BackendFault:  # a list that never ends: something is there, but what?
            return ""

    async def _call(
        self, endpoint: Endpoint, request: bytes, timeout: timedelta, heard: Heard | None = None
    ) -> tuple[int, bytes]:
        """Status and body, put together where it came in a stream. Raises BackendFault."""
        limit = aiohttp.ClientTimeout(total=timeout.total_seconds(), sock_connect=_CONNECT_SECONDS)
        try:
            return await self._post(endpoint, request, limit, heard)
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            self._one_piece = self._keeps_behind_streams = False  # whoever comes back may be another server
            raise _unreachable(error) from error
        except TimeoutError as error:
            seconds = timeout.total_seconds()
            raise BackendFault(FailureCode.BACKEND_TIMEOUT, f"no answer from the backend in {seconds:.0f} s") from error
        except aiohttp.ClientError as error:
            raise BackendFault(FailureCode.BACKEND_ERROR, "the backend does not speak HTTP") from error
        except StreamFault as fault:
            raise _broken_off(fault, request) from fault

    async def _post(
        self, endpoint: Endpoint, request: bytes, limit: aiohttp.ClientTimeout, heard: Heard | None
    ) -> tuple[int, bytes]:
        try:
            return await self._post_once(endpoint, request, limit, heard)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # A kept connection that the server closed at the same moment: it has not read the request.
            return await self._post_once(endpoint, request, limit, heard)

    async def _post_once(
        self, endpoint: Endpoint, request: bytes, limit: aiohttp.ClientTimeout, heard: Heard | None
    ) -> tuple[int, bytes]:
        url = f"{self._base}/{endpoint}"
        once = heard is not None and not self._keeps_behind_streams
        headers = self._headers | {"Connection": "close"} if once else self._headers
        async with self._session.post(
            url, data=request, headers=headers, timeout=limit, allow_redirects=False
        ) as response:
            if heard is None or response.status != HTTPStatus.OK:
                return response.status, await _bounded(response.content)
            if response.content_type != "text/event-stream":
                body = await _bounded(response.content)
                if b'"choices"' in body:  # else it is no answer at all
                    self._ask_in_one_piece("it answers in one piece")
                return response.status, body
            self._keeps_behind_streams = response.headers.get("Server") != _CLOSES_BEHIND_STREAMS
            assembly = Assembly(endpoint, heard)
            body = await self._assembled(response, assembly)
            if not assembly.counted:
                self._ask_in_one_piece("its streams hold no token counts, which the node is paid by")
            return response.status, body

    async def _assembled(self, response: aiohttp.ClientResponse, assembly: Assembly) -> bytes:
        silence = Silence(self._silence.total_seconds(), response.close)
        content = response.content
        try:
            while not assembly.done and (chunk := await content.readany()):
                assembly.feed(chunk)
                if assembly.begun:
                    silence.heard()
        except aiohttp.ClientError as error:
            if not silence.too_long:
                raise
            seconds = self._silence.total_seconds()
            message = f"the backend fell silent for {seconds:.0f} s in the middle of its answer"
            raise BackendFault(FailureCode.BACKEND_TIMEOUT, message) from error
        finally:
            silence.end()
        await _tail(content)
        return assembly.body()

    def _ask_in_one_piece(self, why: str) -> None:
        if not self._one_piece:
            log.warning(
                "the backend is asked without streaming: an answer that takes longer than the coordinator's deadline "
                "for a first token counts as late",
                reason=why,
            )
        self._one_piece = True


def backend_session(slots: int) -> aiohttp.ClientSession:
    """Connections for `slots` requests at once, kept alive between them."""
    connector = aiohttp.TCPConnector(limit=slots + 1, keepalive_timeout=_KEEP_ALIVE_SECONDS)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _as_a_stream(request: bytes) -> bytes:
    """`request` is a JSON object, and not an empty one."""
    return _AS_A_STREAM + request[request.index(b"{") + 1 :]


async def _tail(content: aiohttp.StreamReader) -> None:
    """Waits for the end of the HTTP message, for a moment."""
    if content.at_eof():
        return
    try:
        async with asyncio.timeout(_TAIL_SECONDS):
            await content.readany()
    except (TimeoutError, aiohttp.ClientError):
        pass


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    chunks, size = [], 0
    async for chunk in content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_ANSWER_CHARACTERS:
            raise BackendFault(FailureCode.BACKEND_ERROR, "the backend's answer is too long")
    return b"".join(chunks)


def _unreachable(error: Exception) -> BackendFault:
    refused = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    what = "the backend can't be reached" if refused else "the connection to the backend broke"
    return BackendFault(FailureCode.BACKEND_UNREACHABLE, what)


def _taken(told: tuple[int, bytes], request: bytes) -> bytes:
    status, body = told
    if status != HTTPStatus.OK:
        raise _classified(status, body, request)
    return body


def _broken_off(fault: StreamFault, request: bytes) -> BackendFault:
    """An error in a stream may be a refusal that was only found out once 200 had been said."""
    if fault.frame is None:
        return BackendFault(FailureCode.BACKEND_ERROR, fault.message)
    status = HTTPStatus.INTERNAL_SERVER_ERROR if fault.begun else _status_in(fault.frame)
    return _classified(status, fault.frame, request)


def _status_in(frame: bytes) -> int:
    told = orjson.loads(frame)
    error = told.get("error")
    code = (error if isinstance(error, dict) else told).get("code")
    return code if isinstance(code, int) and code in _REFUSALS else HTTPStatus.INTERNAL_SERVER_ERROR


def _classified(status: int, body: bytes, request: bytes) -> BackendFault:
    if status in _REFUSALS:
        return BackendFault(FailureCode.BACKEND_REFUSED, readable(status, body, request), status)
    if status == HTTPStatus.NOT_IMPLEMENTED:
        return BackendFault(FailureCode.BACKEND_UNSUPPORTED, readable(status, body, request), status)
    told = status if 100 <= status <= 599 else None  # HTTP has no others, whatever a server says
    return BackendFault(FailureCode.BACKEND_ERROR, readable(status, body, request), told)


def _owner(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["data"][0]["owned_by"])
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
        return ""
