"""The unmodified OpenAI client for Node.js against the relay, in a process of its own: tests/node_client/client.mjs."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from contracts.toolchain import node_binary
from coordinator.errors import RateLimited
from tests.fakes.relay import GOOD_KEY
from tests.fakes.upstream import answering, as_asked, chunk, complete_or_stream, hang_up, never, opened_stream
from tests.integration.api.conftest import MODEL, Served
from tests.parts.missing import missing

CLIENT = Path(__file__).parents[2] / "node_client" / "client.mjs"
PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def installed() -> None:
    if not (CLIENT.parent / "node_modules" / "openai").is_dir():
        missing("OpenAI's client for Node.js: scripts/setup --test installs it")


async def node(served: Served, *scenarios: str) -> list[Any]:
    """What the client saw in each. Fails with what it said on stderr. A process takes a second to start."""
    command = (str(node_binary()), str(CLIENT), f"{served.base}/v2/openai/v1", GOOD_KEY, *scenarios)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            said, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complaint.decode()
    told: list[Any] = json.loads(said)
    return told


async def test_completions(served: Served) -> None:
    [answer] = await node(served, "completion")
    assert answer["choices"][0]["message"]["content"] == "Hello."
    assert (answer["mode"], answer["usage"]["total_tokens"]) == ("direct", 5)
    assert served.upstream.requests[0]["seed"] == 7


async def test_asynchronous_opengpu_tasks(served: Served) -> None:
    [accepted] = await node(served, "modes")
    assert (accepted["status"], accepted["poll_url"]) == ("queued", f"/v2/tasks/{accepted['task_id']}")


async def test_streaming_with_usage(served: Served) -> None:
    [parts] = await node(served, "stream")
    assert "".join(part["choices"][0]["delta"]["content"] for part in parts if part["choices"]) == "Hello."
    assert parts[-1]["usage"]["completion_tokens"] == 2


async def test_tools(served: Served) -> None:
    served.upstream.script = as_asked
    for answer in await node(served, "tools", "streamed_tools"):
        [call] = answer["choices"][0]["message"]["tool_calls"]
        assert call["function"] | {"parsed_arguments": None} == {
            "name": "weather", "arguments": '{"city":"Rome"}', "parsed_arguments": None
        }  # fmt: skip


async def test_logprobs_n_and_response_format(served: Served) -> None:
    served.upstream.script = as_asked
    likely, several, typed = await node(served, "logprobs", "choices", "format")
    logprobs = likely["choices"][0]["logprobs"]["content"][0]
    assert (logprobs["token"], len(logprobs["top_logprobs"])) == ("Hello.", 2)
    assert [choice["index"] for choice in several["choices"]] == [0, 1, 2]
    assert json.loads(typed["choices"][0]["message"]["content"]) == {"answer": "Hello."}


async def test_text_completions(served: Served) -> None:
    served.upstream.script = as_asked
    answer, parts = await node(served, "text", "text_stream")
    assert [choice["text"] for choice in answer["choices"]] == [" time.", " time."]
    assert answer["choices"][0]["logprobs"]["token_logprobs"] == [-0.1]
    assert "".join(part["choices"][0]["text"] for part in parts) == " time."


async def test_embeddings_from_a_server_that_knows_numbers_alone(served: Served) -> None:
    served.upstream.script = as_asked
    [told] = await node(served, "embeddings")
    vectors = [item["embedding"] for item in told["standard"]]
    read = [struct.unpack("<2f", base64.b64decode(v)) if isinstance(v, str) else tuple(v) for v in vectors]
    assert read == [(0.5, -2.0), (1.5, -2.0)]
    assert told["numbers"][0]["embedding"] == [0.5, -2.0]


async def test_models(served: Served) -> None:
    [told] = await node(served, "models")
    assert (told["ids"], told["one"]["id"]) == ([MODEL], MODEL)
    assert (told["none"]["kind"], told["none"]["code"]) == ("NotFoundError", "MODEL_NOT_FOUND")


async def test_fields_that_it_sends_today(served: Served) -> None:
    assert (await node(served, "harmless"))[0]["choices"]
    [sent] = served.upstream.requests
    assert "service_tier" not in sent
    assert sent["prediction"] == {"type": "content", "content": "Hello."}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "BadRequestError"), (429, "RateLimitError"), (500, "InternalServerError"), (503, "InternalServerError")],
)
async def test_upstream_failures_have_classes(served: Served, status: int, kind: str) -> None:
    served.upstream.script = answering(status, {"error": {"message": "words"}}, {"Retry-After": "7"})
    for told in await node(served, "failed", "failed_stream"):
        assert told["kind"] == kind
        assert (told["retry_after"] == "7") == (status in (429, 503))


async def test_refusals_of_the_relays_own_have_classes(served: Served) -> None:
    invalid, bad_key = await node(served, "invalid", "bad_key")
    assert (invalid["kind"], invalid["code"]) == ("UnprocessableEntityError", "VALIDATION_ERROR")
    assert "temperature" in invalid["message"]
    assert invalid["request_id"]
    assert (bad_key["kind"], bad_key["code"]) == ("AuthenticationError", "INVALID_API_KEY")


async def test_a_stream_that_breaks_is_an_exception(served: Served) -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = await opened_stream(request)
        await response.write(chunk("Hel"))
        hang_up(request)
        return response

    served.upstream.script = script
    assert (await node(served, "failed_stream"))[0]["kind"] == "APIError"


async def test_an_abort_reaches_the_upstream(served: Served) -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = await opened_stream(request)
        await response.write(chunk("Hel"))
        return await never(request, body)

    served.upstream.script = script
    assert (await node(served, "abort"))[0]["choices"][0]["delta"]["content"] == "Hel"
    async with asyncio.timeout(5):
        await served.upstream.cancelled.wait()


async def test_it_waits_as_long_as_a_rate_limited_upstream_asks_for(served: Served) -> None:
    times: list[float] = []

    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        times.append(time.monotonic())
        if len(times) == 1:
            return await answering(429, {"error": {"message": "later"}}, {"Retry-After": "2"})(request, body)
        return await complete_or_stream(request, body)

    served.upstream.script = script
    assert (await node(served, "retries"))[0]["choices"]
    assert times[1] - times[0] >= 2


async def test_it_waits_as_long_as_the_relay_asks_for(served: Served) -> None:
    served.keys.refusal = RateLimited("Too many requests.", retry_after=timedelta(seconds=2))
    asking = asyncio.create_task(node(served, "retries"))
    refused = await served.lifted()
    assert (await asking)[0]["choices"]
    assert time.monotonic() - refused >= 2
