"""How a failure reads on the wire: Relay's envelope, or the short one of a stream that never began.

{"detail": "…" | [{type, loc, msg}], "error": {"code", "type", "source", "message", "request_id"}}
{"error": {"message", "type", "code": <int>}}
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from coordinator.api.answers import json_response
from coordinator.api.requests import refusal
from coordinator.errors import ClientFault, IdempotencyKeyReused, InternalError, InvalidRequest, RelayError, TaskExpired
from coordinator.lifecycle.task import TaskView


@dataclass(frozen=True, slots=True)
class Failure:
    """What a client is told. `details` is FastAPI's list of a 422; `error_detail` tells apart what shares a code."""

    code: str
    status: int
    type: str
    source: str
    message: str
    details: list[dict[str, object]] | None = None
    error_detail: str | None = None
    retry_after: timedelta | None = None

    @classmethod
    def of(cls, error: RelayError) -> Failure:
        expired = "TASK_EXPIRED" if isinstance(error, TaskExpired) else None
        kind = (error.code, error.status, error.type, error.source)
        return cls(*kind, error.message, _details(error), expired, error.retry_after)

    @classmethod
    def of_task(cls, view: TaskView) -> Failure:
        """For the client that waited for a task that ended `failed`: the code and status are the task's own."""
        code = view.error_code or InternalError.code
        kind = _BY_CODE.get(code, InternalError)
        return cls(code, view.error_status or kind.status, kind.type, kind.source, view.error_message or code)

    @classmethod
    def of_framework(cls, error: HTTPException) -> Failure:
        """No such path, no such method: statuses that Relay's list of codes doesn't cover."""
        source = ClientFault.source if error.status_code < 500 else RelayError.source
        code = HTTPStatus(error.status_code).name
        where = _WHERE if error.status_code in (404, 405) else ""
        return cls(code, error.status_code, ClientFault.type, source, f"{error.detail}{where}")

    def response(self, request_id: str, *, headers: dict[str, str] | None = None) -> Response:
        error = {"code": self.code, "type": self.type, "source": self.source, "message": self.message}
        body: dict[str, Any] = {"detail": self.details or self.message, "error": error | {"request_id": request_id}}
        if self.error_detail:
            body["error_detail"] = self.error_detail
        return self._response(body, headers)

    def stream_response(self) -> Response:
        """To a client that asked for a stream, before its first frame."""
        return self._response({"error": {"message": self.message, "type": self.type, "code": self.status}}, None)

    def _response(self, body: dict[str, Any], headers: dict[str, str] | None) -> Response:
        headers = dict(headers or {})
        if self.retry_after is not None:
            headers["Retry-After"] = str(math.ceil(self.retry_after.total_seconds()))
        return json_response(orjson.dumps(body), status=self.status, headers=headers)


def _details(error: RelayError) -> list[dict[str, object]] | None:
    """The list that every 422 has: readers of FastAPI's form find one whatever the reason."""
    if isinstance(error, InvalidRequest) and error.details:
        return error.details
    if error.status != 422:
        return None
    place = ["header", "Idempotency-Key"] if isinstance(error, IdempotencyKeyReused) else ["body"]
    return [{"type": error.code.lower(), "loc": place, "msg": error.message}]


def invalid_parameters(error: RequestValidationError) -> InvalidRequest:
    """FastAPI's own complaint (path and query), in the same words and without its echo of the input."""
    return refusal(list(error.errors()))


def _kinds(kind: type[RelayError]) -> Iterator[type[RelayError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _kinds(child)


# For whoever has set an SDK's base URL to something else.
_WHERE: Final = ": OpenAI's clients are served at /v2/openai/v1, and /docs has every path and method."

# Reversed, so that of several classes with one code the first in errors.py wins.
_BY_CODE: Final = {kind.code: kind for kind in reversed([*_kinds(RelayError)])}
