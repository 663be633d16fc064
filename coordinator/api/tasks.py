"""/v2/tasks: what has become of a task, for whoever knows its id; a key's own; and taking one back."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from coordinator.api.answers import json_response, list_body, poll_body
from coordinator.api.hangup import HangUp
from coordinator.api.limits import Gate
from coordinator.api.ports import Relay
from coordinator.api.responses import Failed, TaskList, TaskProof, TaskStatus
from coordinator.errors import MissingCredentials, TaskNotFound
from coordinator.protocol.ids import TASK_ID, TaskId

MAX_WAIT_S: Final = 30
_UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {404: {"model": Failed, "description": "Unknown, or expired"}}
_KEYS: Final[dict[int | str, dict[str, Any]]] = {401: {"model": Failed, "description": "No key, or a bad one"}}
_FOREIGN: Final[dict[int | str, dict[str, Any]]] = {403: {"model": Failed, "description": "The task is another key's"}}
MAX_LIMIT: Final = 100
DEFAULT_LIMIT: Final = 20

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Cursor = Annotated[
    str | None, Query(pattern=TASK_ID.pattern, description="The `next_cursor` of the page before, or any of your tasks")
]
Id = Annotated[str, Path(description="As the call that made the task returned it; the colon may be sent as %3A")]
Wait = Annotated[int | None, Query(ge=1, le=MAX_WAIT_S, description="Seconds to wait for the task's end")]


def task_routes(relay: Relay, gate: Gate) -> APIRouter:
    router = APIRouter(tags=["Tasks"])

    @router.get("/v2/tasks", responses={200: {"model": TaskList}, **_KEYS, **_UNKNOWN}, summary="List your tasks")
    async def list_tasks(request: Request, limit: Limit = DEFAULT_LIMIT, starting_after: Cursor = None) -> Response:
        caller = await gate.identify(request.scope)
        if caller.key_id is None:
            raise MissingCredentials("A key has a list of its tasks, a guest has none: send an API key.")
        after = TaskId(starting_after) if starting_after is not None else None
        return json_response(list_body(await relay.listed(caller.id, after, limit), limit))

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

    @router.post(
        "/v2/tasks/{task_id}/cancel",
        responses={200: {"model": TaskStatus}, **_KEYS, **_FOREIGN, **_UNKNOWN},
        summary="Cancel a task; one that has ended stays as it is",
    )
    async def cancel_task(request: Request, task_id: Id) -> Response:
        caller = await gate.identify(request.scope)
        return json_response(poll_body(await relay.cancel(_known(task_id), caller.id)))

    return router


def _known(task_id: str) -> TaskId:
    if not TASK_ID.fullmatch(task_id):
        raise TaskNotFound("No task has this id: it reads opengpu:{uuid4} or direct:{uuid4}.")
    return TaskId(task_id)
