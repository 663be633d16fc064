"""The backend: whether it answers, each model with one token and then a few more, and many at once."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from coordinator.protocol.conformity import EMBEDDED
from coordinator.protocol.envelope import Endpoint, Envelope
from coordinator.protocol.hashing import new_salt, salted_hash
from coordinator.protocol.report import FailureCode
from node.check.outcome import Outcome, failed, ok, warning
from node.inference.backend import Backend, BackendAddress, BackendFault, HttpBackend, backend_session
from node.inference.run import Answer, Inference
from node.settings import Settings, SettingsError

# The first call may have to load the model.
_LONGEST = timedelta(seconds=120)
_SOME_TOKENS = 32
# At once, at most: enough to see whether the server batches, too few to disturb a node that runs on it.
_AT_ONCE = 16
# A server that takes one after the other makes the last of n wait n times as long.
_BATCHES = 0.75

_GONE = (FailureCode.BACKEND_UNREACHABLE, FailureCode.BACKEND_TIMEOUT)

_QUESTION = [{"role": "user", "content": "Count from one to twenty."}]
_REQUESTS: dict[Endpoint, dict[str, object]] = {
    "chat/completions": {"messages": _QUESTION},
    "completions": {"prompt": "One, two, three,"},
    "embeddings": {"input": "One, two, three."},
}


@dataclass(frozen=True, slots=True)
class Timed:
    answer: Answer
    seconds: float


class BackendChecks:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def run(self) -> list[Outcome]:
        try:
            async with _backend(self._settings) as (backend, where, kind):
                found = kind if kind is not None else await backend.kind()
                if found is None:
                    remedy = "start the model server and let it load, or set NODE_BACKEND_URL to where it listens"
                    return [failed("backend", f"{where} does not answer, or only that it can't (HTTP 5xx)", remedy)]
                inference = Inference(backend, self._settings.served, _LONGEST, found)
                named = "embedded llama.cpp, in this process" if kind else f"{found or 'a server'} at {where}"
                return [ok("backend", named), *await self._models(inference)]
        except SettingsError as error:
            return [failed("backend", str(error), "name a file that holds the key alone")]
        except RuntimeError as error:
            return [failed("backend", str(error), "run scripts/setup again, or set NODE_BACKEND_URL")]

    async def _models(self, inference: Inference) -> list[Outcome]:
        found = []
        for model in self._settings.served:
            found += await self._model(inference, model)
        return found

    async def _model(self, inference: Inference, model: str) -> list[Outcome]:
        """One token on the first endpoint that the server has for it, then how fast, then how many at once."""
        faults = []
        for endpoint in _REQUESTS:
            try:
                one = await _call(inference, model, endpoint, 1)
            except BackendFault as fault:
                faults.append(fault)
                if fault.code in _GONE:
                    break
            else:
                return [await _speed(inference, model, endpoint, one), await self._slots(inference, model, endpoint)]
        said, remedy = _shown(faults[0]), _remedy(faults[0], self._settings.served[model])
        return [failed("model", f"{model}: {said}", remedy)]

    async def _slots(self, inference: Inference, model: str, endpoint: Endpoint) -> Outcome:
        """The first call is warm by now; it is timed again, beside many of its kind."""
        count = min(self._settings.slots, _AT_ONCE)
        try:
            alone = await _call(inference, model, endpoint, 1)
            began = time.monotonic()
            await asyncio.gather(*(_call(inference, model, endpoint, 1) for _ in range(count)))
        except BackendFault as fault:
            return failed(
                "slots", f"{count} at once: {_shown(fault)}", "let the server take as many, or lower NODE_SLOTS"
            )
        times = (time.monotonic() - began) / max(alone.seconds, 0.001)
        seen = f"{self._settings.slots}; {count} calls at once take {times:.1f} times as long as one"
        if count > 2 and times > count * _BATCHES and alone.seconds > 0.02:
            return warning("slots", seen, "the server takes one after the other: let it batch, or lower NODE_SLOTS")
        return ok("slots", seen)


async def _speed(inference: Inference, model: str, endpoint: Endpoint, one: Timed) -> Outcome:
    first = f"{model}: one token after {one.seconds * 1000:.0f} ms"
    if endpoint == "embeddings":
        return ok("model", f"{model}: an embedding after {one.seconds * 1000:.0f} ms; it does not chat")
    try:
        some = await _call(inference, model, endpoint, _SOME_TOKENS)
    except BackendFault as fault:
        return failed("model", f"{first}, then {_shown(fault)}", _remedy(fault, model))
    if not some.answer.completion_tokens:
        remedy = "a server that gives no usage is paid by the length of its text: let it count"
        return warning("model", f"{first}; it doesn't count its tokens", remedy)
    rate = some.answer.completion_tokens / max(some.seconds, 0.001)
    only = "" if endpoint == "chat/completions" else "; it does not chat"
    return ok("model", f"{first}, {rate:.0f} tokens/s in a row{only}")


async def _call(inference: Inference, model: str, endpoint: Endpoint, tokens: int) -> Timed:
    """As an attempt would. Raises BackendFault."""
    began = time.monotonic()
    answer = await inference.run(_envelope(model, endpoint, tokens), lambda: None)
    return Timed(answer, time.monotonic() - began)


def _envelope(model: str, endpoint: Endpoint, tokens: int) -> Envelope:
    request = {"model": model, **_REQUESTS[endpoint]}
    if endpoint != "embeddings":
        request["max_tokens"] = tokens
    body, salt, now = json.dumps(request), new_salt(), round(time.time() * 1000)
    return Envelope(
        task_id=f"opengpu:{uuid.uuid4()}",
        attempt=1,
        model=model,
        endpoint=endpoint,
        task_address="0x" + secrets.token_hex(20),
        salt="0x" + salt.hex(),
        request_hash=salted_hash(salt, body.encode()),
        request=body,
        assigned_at_ms=now,
        deadline_ms=now + round(_LONGEST.total_seconds() * 1000),
    )


@asynccontextmanager
async def _backend(settings: Settings) -> AsyncIterator[tuple[Backend, str, str | None]]:
    """The backend, where it is, and what it is where that is known. Raises RuntimeError, SettingsError."""
    if settings.backend_url is not None:
        address = BackendAddress(settings.backend_url, settings.api_key())
        async with backend_session(settings.slots) as session:
            yield HttpBackend(session, address), address.base, None
        return
    from node.inference.embedded import EmbeddedServer  # 100 MB that a node with a backend of its own has no use for

    with EmbeddedServer(next(iter(settings.served.values())), settings.slots) as server:
        async with backend_session(settings.slots) as session:
            yield HttpBackend(session, BackendAddress(server.url)), "this process", EMBEDDED


def _shown(fault: BackendFault) -> str:
    status = f" (HTTP {fault.backend_status})" if fault.backend_status else ""
    return f"{fault.message}{status}"


def _remedy(fault: BackendFault, own_name: str) -> str:
    if fault.backend_status in (401, 403):
        return "set NODE_BACKEND_API_KEY_FILE to the server's key"
    if fault.code in _GONE:
        return "see the server's own log, and whether it has loaded the model"
    return f"see that the server has a model {own_name}; NODE_MODELS says name=backend-name where they differ"
