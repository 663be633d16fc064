"""One Envelope on the backend: the request out, the answer back, checked and measured."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson

from coordinator.protocol.conformity import ignored, unsupported
from coordinator.protocol.envelope import Endpoint, Envelope
from coordinator.protocol.report import FailureCode
from coordinator.protocol.shapes import is_answer, recoded
from coordinator.protocol.streaming import streams
from coordinator.protocol.wholeness import unfinished
from node.inference.backend import Backend, BackendFault, Heard

_UINT32 = 2**32 - 1
# Whether the backend streams is the node's to say: the client gets one piece.
_SAYS_HOW = frozenset({"stream", "stream_options"})


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as the backend sent it. Times in unix milliseconds; token counts 0 where it gave none."""

    body: str
    prompt_tokens: int
    completion_tokens: int
    started_at_ms: int
    finished_at_ms: int


class Inference:
    """`models` maps relay names to the backend's own; `kind` is what the backend calls itself."""

    def __init__(self, backend: Backend, models: Mapping[str, str], limit: timedelta, kind: str = "") -> None:
        self._backend = backend
        self._models = models
        self._limit = limit
        self._kind = kind

    async def run(self, envelope: Envelope, heard: Heard) -> Answer:
        """Where the backend is asked for a stream, `heard` is called at its first token. Raises BackendFault."""
        request = _request(envelope)
        if missing := ignored(self._kind, request):
            raise BackendFault(FailureCode.BACKEND_UNSUPPORTED, missing)
        started = _now_ms()
        sent, limit = self._body(envelope, request), self._time_left(envelope)
        streamed = streams(request, envelope.endpoint)
        body = await self._backend.complete(sent, limit, envelope.endpoint, heard if streamed else None)
        finished = _now_ms()
        text, completion = _parsed(body, envelope.endpoint)
        if flaw := unfinished(request, completion, envelope.endpoint):  # before what it lacks for the same reason
            raise BackendFault(FailureCode.BACKEND_ERROR, f"the backend's answer is not whole: {flaw}")
        if missing := unsupported(request, completion, envelope.endpoint):
            raise BackendFault(FailureCode.BACKEND_UNSUPPORTED, missing)
        if envelope.endpoint == "embeddings" and (again := recoded(request, completion)) is not None:
            text = orjson.dumps(again).decode()
        prompt_tokens, completion_tokens = _usage(completion)
        return Answer(text, prompt_tokens, completion_tokens, started, finished)

    def _body(self, envelope: Envelope, request: dict[str, Any]) -> bytes:
        own_name = self._models.get(envelope.model)
        if own_name is None:
            raise BackendFault(FailureCode.HANDED_BACK, f"this node does not serve {envelope.model}")
        if request.get("model") == own_name and not _SAYS_HOW.intersection(request):
            return envelope.request.encode()
        fields = {name: value for name, value in request.items() if name not in _SAYS_HOW}
        return json.dumps({**fields, "model": own_name}).encode()

    def _time_left(self, envelope: Envelope) -> timedelta:
        """A duration, not a moment: this machine's clock is not the coordinator's."""
        whole = timedelta(milliseconds=envelope.deadline_ms - envelope.assigned_at_ms)
        return max(min(whole, self._limit), timedelta(milliseconds=1))


def _request(envelope: Envelope) -> dict[str, Any]:
    try:
        request = json.loads(envelope.request)  # not orjson: a seed may have more than 64 bits
    except ValueError:
        request = None
    if not isinstance(request, dict):
        raise BackendFault(FailureCode.BACKEND_REFUSED, "the request is no JSON object")
    return request


def _parsed(body: bytes, endpoint: Endpoint) -> tuple[str, dict[str, Any]]:
    """The answer as text, byte for byte, and as JSON. Raises BackendFault when it is none to this endpoint."""
    try:
        text, completion = body.decode(), orjson.loads(body)
    except (UnicodeDecodeError, orjson.JSONDecodeError):
        raise BackendFault(FailureCode.BACKEND_ERROR, "the backend's answer is no JSON") from None
    if not is_answer(endpoint, completion):
        raise BackendFault(FailureCode.BACKEND_ERROR, f"the backend's answer is none to {endpoint}")
    return text, completion


def _usage(completion: dict[str, Any]) -> tuple[int, int]:
    usage = completion.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens"))


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _UINT32 else 0


def _now_ms() -> int:
    return int(time.time() * 1000)
