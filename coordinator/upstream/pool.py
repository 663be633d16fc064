"""Direct mode's upstreams: the least busy one takes the call; another one if it fails before its first byte."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import aiohttp
import orjson
import structlog

from coordinator.catalogue import Upstream
from coordinator.errors import RelayError, UpstreamError, UpstreamInvalidRequest, UpstreamTimeout
from coordinator.protocol import conformity
from coordinator.protocol.envelope import Endpoint as Path
from coordinator.protocol.report import MAX_ANSWER_CHARACTERS
from coordinator.protocol.shapes import is_answer, recoded
from coordinator.upstream.endpoint import Endpoint
from coordinator.upstream.refusals import of_exception, of_status, worst
from coordinator.upstream.stream import EventStream

MAX_ATTEMPTS: Final = 3
# As much of an upstream's refusal as is read.
_MAX_REFUSAL: Final = 64 * 1024
# Below the 5 s after which uvicorn closes an idle connection, so that a call seldom meets a closing one.
_KEEP_ALIVE_S: Final = 4.0

Json = dict[str, Any]
Answer = TypeVar("Answer")
Call = Callable[[Endpoint, Path, bytes, Json], Awaitable[Answer]]
# (request, answer, path) → what the upstream silently left out of what was asked, or None.
Conformity = Callable[[Json, Json, Path], str | None]

log = structlog.get_logger("upstream")


class UpstreamPool:
    """One aiohttp session for all of them. Cancelling a call closes its connection, which stops the upstream.

    A client's fault is told at once; every other failure only when no upstream is left to try, or three have been.
    """

    def __init__(self, upstreams: Sequence[Upstream], unsupported: Conformity = conformity.unsupported) -> None:
        self._endpoints = [Endpoint(upstream) for upstream in upstreams]
        self._unsupported = unsupported
        self._opened_session: aiohttp.ClientSession | None = None
        self._order = itertools.count(1)

    async def complete(self, model: str, request: bytes, path: Path = "chat/completions") -> bytes:
        """The body of the answer, as the upstream sent it. Raises RelayError."""
        return await self._first(model, request, path, self._complete)

    async def stream(self, model: str, request: bytes, path: Path = "chat/completions") -> EventStream:
        """Returns once the first frame has come. Raises RelayError."""
        return await self._first(model, request, path, self._stream)

    async def close(self) -> None:
        if self._opened_session is not None:
            await self._opened_session.close()

    async def _first(self, model: str, request: bytes, path: Path, call: Call[Answer]) -> Answer:
        """The answer of the first upstream that has one."""
        fields: Json = orjson.loads(request)
        failures: list[RelayError] = []
        for endpoint in self._choices(model):
            if missing := conformity.ignored(await self._kind(endpoint), fields):
                failures.append(UpstreamInvalidRequest(missing))  # another one may know the parameter
                continue
            try:
                answer = await call(endpoint, path, endpoint.body(model, request, fields), fields)
            except UpstreamInvalidRequest:
                raise
            except RelayError as error:
                endpoint.failed(error)
                log.warning("upstream failed", upstream=endpoint.name, code=error.code, status=error.status)
                failures.append(error)
                if isinstance(error, UpstreamTimeout):  # somebody took the work and may still be at it
                    break
            else:
                endpoint.answered()
                return answer
        raise worst(failures)

    def _choices(self, model: str) -> Iterator[Endpoint]:
        """Up to three different ones, each the best at the time it is asked for."""
        left = [endpoint for endpoint in self._endpoints if model in endpoint.models]
        for _ in range(min(MAX_ATTEMPTS, len(left))):
            choice = min(left, key=lambda endpoint: (endpoint.cooling(), endpoint.in_flight, endpoint.taken))
            left.remove(choice)
            choice.taken = next(self._order)
            yield choice

    async def _complete(self, endpoint: Endpoint, path: Path, body: bytes, fields: Json) -> bytes:
        endpoint.in_flight += 1
        try:
            async with self._post(endpoint, path, body, endpoint.answer_timeout) as response:
                if response.status != 200:
                    raise await _refusal(response)
                answer = await _bounded(response)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise of_exception(error) from error
        finally:
            endpoint.in_flight -= 1
        return self._checked(path, fields, answer)

    async def _stream(self, endpoint: Endpoint, path: Path, body: bytes, fields: Json) -> EventStream:
        try:
            async with asyncio.timeout(endpoint.first_frame_s):
                stream = EventStream(endpoint, await self._opened(endpoint, path, body))
                try:
                    await stream.begin()
                except BaseException:
                    await stream.aclose()
                    raise
                return stream
        except TimeoutError:
            raise UpstreamTimeout("The upstream did not begin its answer in time.") from None

    async def _opened(self, endpoint: Endpoint, path: Path, body: bytes) -> aiohttp.ClientResponse:
        endpoint.in_flight += 1
        try:
            sending = self._post(endpoint, path, body, endpoint.stream_timeout, endpoint.stream_headers)
            response: aiohttp.ClientResponse = await sending
        except (aiohttp.ClientError, TimeoutError) as error:
            raise of_exception(error) from error
        finally:
            endpoint.in_flight -= 1
        if response.status == 200 and response.content_type == "text/event-stream":
            endpoint.streams_from(response.headers.get("Server", ""))
            return response
        async with response:
            if response.status != 200:
                raise await _refusal(response)
        raise UpstreamError("The upstream answered a request for a stream with something else.")

    async def _kind(self, endpoint: Endpoint) -> str:
        """What sort of server it is, asked once; "" for one that doesn't say."""
        if endpoint.kind is None:
            try:
                async with self._session().get(
                    endpoint.models_url, headers=endpoint.headers, timeout=endpoint.probe_timeout
                ) as response:
                    endpoint.kind = _owner(await _bounded(response))
            except aiohttp.ClientError:
                return ""  # not there: the call itself will tell, and the next one asks again
            except (TimeoutError, RelayError):
                endpoint.kind = ""
        return endpoint.kind

    def _post(
        self,
        endpoint: Endpoint,
        path: Path,
        body: bytes,
        timeout: aiohttp.ClientTimeout,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        return self._session().post(
            endpoint.urls[path],
            data=body,
            headers=headers or endpoint.headers,
            timeout=timeout,
            allow_redirects=False,
        )

    def _session(self) -> aiohttp.ClientSession:
        if self._opened_session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S)
            self._opened_session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), skip_auto_headers=("User-Agent",)
            )
        return self._opened_session

    def _checked(self, path: Path, fields: Json, answer: bytes) -> bytes:
        """The answer as it came, but for embeddings in another encoding than was asked for.

        Raises UpstreamError for what is no answer, UpstreamInvalidRequest for what lacks something asked for.
        """
        told = _parsed(answer)
        if not is_answer(path, told):
            raise UpstreamError(f"The upstream's answer is none to {path}.")
        missing = self._unsupported(fields, told, path)
        if missing is not None:
            raise UpstreamInvalidRequest(missing)
        again = recoded(fields, told) if path == "embeddings" else None
        return answer if again is None else orjson.dumps(again)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """The whole body. Raises UpstreamError when it is longer than any answer."""
    if response.content_length is not None and response.content_length <= MAX_ANSWER_CHARACTERS:
        return await response.read()
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_ANSWER_CHARACTERS:
            raise UpstreamError("The upstream's answer is too long.")
    return b"".join(chunks)


async def _refusal(response: aiohttp.ClientResponse) -> RelayError:
    try:
        body = await response.content.read(_MAX_REFUSAL)
    except (aiohttp.ClientError, TimeoutError):
        body = b""
    return of_status(response.status, response.headers, body)


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _owner(body: bytes) -> str:
    told = _parsed(body)
    try:
        return str(told["data"][0]["owned_by"])
    except (KeyError, IndexError, TypeError):
        return ""
