"""GET /v2/tasks/{id}: what has become of a task. Knowing the id is the right to ask."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from coordinator.api.answers import json_response, poll_body
from coordinator.api.hangup import HangUp
from coordinator.api.ports import Relay
from coordinator.api.responses import Failed, TaskProof, TaskStatus
from coordinator.errors import TaskNotFound
from coordinator.protocol.ids import TASK_ID, TaskId

MAX_WAIT_S: Final = 30
_UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {404: {"model": Failed, "description": "Unknown, or expired"}}

Id = Annotated[str, Path(description="As the call that made the task returned it; the colon may be sent as %3A")]
Wait = Annotated[int | None, Query(ge=1, le=MAX_WAIT_S, description="Seconds to wait for the task's end")]


def task_routes(relay: Relay) -> APIRouter:
    router = APIRouter(tags=["Tasks"])

    @router.get("/v2/tasks/{task_id}", responses={200: {"model": TaskStatus}, **_UNKNOWN}, summary="Poll a task")
    async def read_task(request: Request, task_id: Id, wait: Wait = None) -> Response:
        known = _known(task_id)
        if wait is None:
            return json_response(poll_body(await relay.read(known)))
        async with HangUp(request.receive):
            return json_response(poll_body(await relay.wait(known, timedelta(seconds=wait))))

    @router.get(
        "/v2/tasks/{task_id}/proof",
        responses={200: {"model": TaskProof}, **_UNKNOWN},
        summary="What it takes to check a task against the chain",
    )
    async def read_proof(task_id: Id) -> Response:
        return json_response(orjson.dumps(await relay.proof(_known(task_id))))

    return router


def _known(task_id: str) -> TaskId:
    if not TASK_ID.fullmatch(task_id):
        raise TaskNotFound("No task has this id: it reads opengpu:{uuid4} or direct:{uuid4}.")
    return TaskId(task_id)
