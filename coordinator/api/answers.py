"""Bodies that pass through byte for byte, with the relay's own fields set into them or around them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from starlette.responses import Response

from coordinator.lifecycle.task import TaskPage, TaskView
from coordinator.protocol.ids import TaskId

_OWN: Final = ("task_id", "task_address", "mode")
_OWN_KEYS: Final = tuple(f'"{name}"'.encode() for name in _OWN)

_LONGEST_WEBHOOK: Final = 1024 * 1024


def json_response(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, status, headers, "application/json")


def with_own_fields(answer: bytes, task_id: str, task_address: str | None, mode: str) -> bytes:
    """`answer`, a JSON object, with `task_id`, `task_address` and `mode` as its last members; the rest is untouched.

    A model server that sends such members itself (another relay, or a node up to something) loses them.
    """
    own = orjson.dumps({"task_id": task_id, "task_address": task_address, "mode": mode})
    if any(key in answer for key in _OWN_KEYS):
        answer = _without_own_fields(answer)
    head = answer.strip()[:-1].rstrip()
    return own if head == b"{" else head + b"," + own[1:]


def _without_own_fields(answer: bytes) -> bytes:
    fields = orjson.loads(answer)
    if not any(name in fields for name in _OWN):
        return answer
    return orjson.dumps({name: value for name, value in fields.items() if name not in _OWN})


def accepted_body(task_id: TaskId) -> bytes:
    """The 202 of an asynchronous call. Official clients want the first three as strings, and `queued`."""
    return orjson.dumps(
        {
            "task_id": task_id,
            "status": "queued",
            "poll_url": f"/v2/tasks/{task_id}",
            "message": f"The task is accepted. Poll /v2/tasks/{task_id} until its status is completed or failed.",
        }
    )


def poll_body(view: TaskView) -> bytes:
    """The body of GET /v2/tasks/{id}; `result` is the model server's answer byte for byte."""
    return orjson.dumps(_poll_fields(view))


def webhook_body(view: TaskView) -> bytes:
    """What a webhook carries: the poll's body with `event`, and of result and error the one that is set.

    A result that makes it too long, or has expired before it could be delivered, is left out.
    """
    fields = {"event": f"task.{view.status}"} | _poll_fields(view)
    del fields["error" if view.status == "completed" else "result"]
    body = orjson.dumps(fields)
    if view.status == "completed" and (view.answer is None or len(body) > _LONGEST_WEBHOOK):
        del fields["result"]
        body = orjson.dumps(fields | {"result_omitted": True})
    return body


def list_body(page: TaskPage, limit: int) -> bytes:
    """The body of GET /v2/tasks: what the poll says of each, but for the result."""
    rows = [_poll_fields(view) for view in page.tasks]
    for row in rows:
        del row["result"]
    more = {"limit": limit, "has_more": page.cursor is not None, "next_cursor": page.cursor}
    return orjson.dumps({"tasks": rows, **more})


def _poll_fields(view: TaskView) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "task_id": view.task_id,
        "status": view.status,
        "elapsed_seconds": max(0, int(((view.ended_at or view.now) - view.created_at).total_seconds())),
        "task_address": view.task_address,
        "mode": view.mode,
        "model": view.model,
        "created_at": _timestamp(view.created_at),
        "result": orjson.Fragment(view.answer) if view.answer is not None else None,
        "error": None,
        "node": view.node,
        "attempts": view.attempt,
        "receipt": view.receipt.model_dump(mode="json") if view.receipt is not None else None,
        "queue": view.queue,
        "chain": view.chain,
    }
    if view.status == "failed":
        message = view.error_message or view.error_code
        fields |= {"error": message, "error_code": view.error_code, "error_detail": message}
    return fields


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
