"""An OpenAI-compatible server over HTTP: vLLM, SGLang, llama.cpp, Ollama, TGI."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Protocol

import aiohttp
import orjson

from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.report import MAX_ANSWER_CHARACTERS, FailureCode
from node.inference.refusal import readable

# uvicorn (vLLM, SGLang) and llama.cpp close an idle connection after 5 s: let go of it before they do.
_KEEP_ALIVE_SECONDS = 4
_CONNECT_SECONDS = 5
_PROBE_SECONDS = 5
# The request was understood and is wrong. Not 404: the path and the model's name are the node's own settings.
_REFUSALS = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY})


class BackendFault(Exception):
    """No answer. `message` is for the client, and goes no further: it may name a parameter."""

    def __init__(self, code: FailureCode, message: str, backend_status: int | None = None) -> None:
        super().__init__(code.value)
        self.code = code
        self.message = message
        self.backend_status = backend_status


class Backend(Protocol):
    """Port: what runs a request."""

    async def complete(self, request: bytes, timeout: timedelta, endpoint: Endpoint = "chat/completions") -> bytes:
        """The body of the answer, of whatever content. Raises BackendFault."""

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
    """`session` is the caller's to close; see `backend_session`."""

    def __init__(self, session: aiohttp.ClientSession, address: BackendAddress) -> None:
        self._session = session
        self._base = f"{address.base}/v1"
        self._models = f"{address.base}/v1/models"
        # Identity: the answer is signed byte for byte, and it comes over loopback or a LAN.
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if address.api_key:
            self._headers["Authorization"] = f"Bearer {address.api_key}"

    async def complete(self, request: bytes, timeout: timedelta, endpoint: Endpoint = "chat/completions") -> bytes:
        """Raises BackendFault unless the server said 200."""
        limit = aiohttp.ClientTimeout(total=timeout.total_seconds(), sock_connect=_CONNECT_SECONDS)
        try:
            status, body = await self._post(f"{self._base}/{endpoint}", request, limit)
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise _unreachable(error) from error
        except TimeoutError as error:
            seconds = timeout.total_seconds()
            raise BackendFault(FailureCode.BACKEND_TIMEOUT, f"no answer from the backend in {seconds:.0f} s") from error
        except aiohttp.ClientError as error:
            raise BackendFault(FailureCode.BACKEND_ERROR, "the backend does not speak HTTP") from error
        if status != HTTPStatus.OK:
            raise _classified(status, body, request)
        return body

    async def kind(self) -> str | None:
        """Asks for the list of models; any answer at all proves that a server is there."""
        limit = aiohttp.ClientTimeout(total=_PROBE_SECONDS)
        try:
            async with self._session.get(self._models, headers=self._headers, timeout=limit) as response:
                if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    return None
                return _owner(await response.read())
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def _post(self, url: str, request: bytes, limit: aiohttp.ClientTimeout) -> tuple[int, bytes]:
        try:
            return await self._post_once(url, request, limit)
        except aiohttp.ServerDisconnectedError:
            # A kept connection that the server closed at the same moment: it has not read the request.
            return await self._post_once(url, request, limit)

    async def _post_once(self, url: str, request: bytes, limit: aiohttp.ClientTimeout) -> tuple[int, bytes]:
        async with self._session.post(
            url, data=request, headers=self._headers, timeout=limit, allow_redirects=False
        ) as response:
            return response.status, await _bounded(response.content)


def backend_session(slots: int) -> aiohttp.ClientSession:
    """Connections for `slots` requests at once, kept alive between them."""
    connector = aiohttp.TCPConnector(limit=slots + 1, keepalive_timeout=_KEEP_ALIVE_SECONDS)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


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


def _classified(status: int, body: bytes, request: bytes) -> BackendFault:
    if status in _REFUSALS:
        return BackendFault(FailureCode.BACKEND_REFUSED, readable(status, body, request), status)
    if status == HTTPStatus.NOT_IMPLEMENTED:
        return BackendFault(FailureCode.BACKEND_UNSUPPORTED, readable(status, body, request), status)
    return BackendFault(FailureCode.BACKEND_ERROR, readable(status, body, request), status if status >= 100 else None)


def _owner(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["data"][0]["owned_by"])
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
        return ""
