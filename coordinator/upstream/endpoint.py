"""One upstream as the pool sees it: where it is, how busy, and whether it is being left alone for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, get_args

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from coordinator.catalogue import Upstream
from coordinator.errors import RelayError
from coordinator.protocol.envelope import Endpoint as Path

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0


class Endpoint:
    """After failures in a row it cools down for 1, 2, 4 … 30 s, or as long as it asked for, up to a minute.

    A cooling endpoint is the last choice, not excluded: it may be the only one.
    """

    def __init__(self, upstream: Upstream, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = upstream.name
        self.models = upstream.models
        # parsed once: it is a fifth of what aiohttp takes for a call
        self.urls: dict[Path, URL] = {path: URL(f"{upstream.base_url}/{path}") for path in get_args(Path)}
        self.models_url = URL(f"{upstream.base_url}/models")
        self.kind = self._said = upstream.server  # None until it has been asked
        self.headers = CIMultiDict({"Content-Type": "application/json", "Accept-Encoding": "identity"})
        if upstream.api_key is not None:
            self.headers["Authorization"] = f"Bearer {upstream.api_key.get_secret_value()}"
        self.stream_headers = self._hang_up = CIMultiDict({**self.headers, "Connection": "close"})
        connect = upstream.connect_timeout.total_seconds()
        self.answer_timeout = aiohttp.ClientTimeout(total=upstream.answer_timeout.total_seconds(), sock_connect=connect)
        self.stream_timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect)
        self.probe_timeout = aiohttp.ClientTimeout(total=connect)
        self.first_frame_s = upstream.answer_timeout.total_seconds()
        self.silence_s = upstream.silence_timeout.total_seconds()
        self.in_flight = 0
        self.taken = 0
        self._clock = clock
        self._failures = 0
        self._rest_until = 0.0

    def body(self, model: str, request: bytes, fields: dict[str, Any]) -> bytes:
        """The request under the upstream's own name for the model; `fields` is what it says."""
        own = self.models[model]
        return request if own == model else orjson.dumps(fields | {"model": own})

    def streams_from(self, server: str) -> None:
        """`server`: its name for itself, from the head of a stream.

        llama.cpp hangs up behind each stream, though it says keep-alive, and who uses such a connection again loses his
        request: so none is kept before it is known whose it is.
        """
        self.stream_headers = self._hang_up if server == "llama.cpp" else self.headers

    def cooling(self) -> bool:
        return self._rest_until > self._clock()

    def failed(self, error: RelayError) -> None:
        pause = min(_FIRST_PAUSE_S * 2**self._failures, _LONGEST_PAUSE_S)
        if error.retry_after is not None:
            pause = max(pause, min(error.retry_after, timedelta(minutes=1)).total_seconds())
        self._failures = min(self._failures + 1, 10)
        self._rest_until = self._clock() + pause
        self.kind = self._said  # whoever comes back may be another server
        self.stream_headers = self._hang_up

    def answered(self) -> None:
        self._failures = 0
        self._rest_until = 0.0
