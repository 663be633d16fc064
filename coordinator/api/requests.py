"""The request of a chat completion: its schema, its checks, and what of it goes on to the model server.

    bytes ──orjson──► dict ──pydantic, strict──► ChatRequest ──► forwarded(): the dict without the relay's own fields

Parsed once, so what was checked is what is sent: a repeated key can't carry a second, unchecked value past us.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from coordinator.errors import InvalidRequest
from coordinator.lifecycle.order import Mode

# Consumed here; a model server knows none of them.
OWN_FIELDS: Final = frozenset({"mode", "async", "webhook_url"})
# An account's name and a wish to keep the text: nothing that a stranger's machine needs.
PRIVATE_FIELDS: Final = frozenset({"store", "user"})
MAX_STOPS: Final = 4
_INT64: Final = 2**63
# A body can hold any number of mistakes; the reply shows this many.
_MAX_DETAILS: Final = 20
_MAX_NAME: Final = 100

Tokens = Annotated[int, Field(ge=1, le=128_000)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Share = Annotated[float, Field(ge=0, le=1)]
Json = dict[str, Any]


def _as_published(schema: dict[str, Any]) -> None:
    """The published document has neither this class's docstring nor `"default": null`."""
    schema.pop("description", None)
    for field in schema["properties"].values():
        if field.get("default", ...) is None:
            del field["default"]


class OpenAIChatRequest(BaseModel):
    """A chat completion as OpenAI's clients send it, with the relay's `mode` and `async`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, json_schema_extra=_as_published)

    model: str
    messages: list[Json]
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Share | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    stop: str | list[str] | None = None
    stream: bool | None = False
    response_format: Json | None = None
    seed: int | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    n: Annotated[int, Field(ge=1, le=10)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    user: str | None = None
    stream_options: Json | None = None
    store: bool | None = None
    chat_template_kwargs: Json | None = None
    mode: Literal["auto", "opengpu", "direct"] | None = "auto"
    asynchronous: bool | None = Field(default=False, alias="async")
    # newer than the published document
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Share | None = None
    repetition_penalty: Annotated[float, Field(ge=0)] | None = None
    logit_bias: Json | None = None
    reasoning_effort: Literal["none", "low", "medium", "high", "xhigh", "max"] | None = None
    reasoning: Json | None = None
    include_reasoning: bool | None = None
    structured_outputs: bool | None = None
    webhook_url: Annotated[str, Field(pattern=r"^https://", max_length=2048)] | None = None

    @field_validator("messages")
    @classmethod
    def _conversation(cls, messages: list[Json]) -> list[Json]:
        if not messages:
            raise ValueError("must hold at least one message")
        for number, message in enumerate(messages):
            role = message.get("role")
            if not isinstance(role, str) or not role:
                raise ValueError(f'message {number} has no role: a string such as "user"')
        return messages

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, stop: str | list[str] | None) -> str | list[str] | None:
        if isinstance(stop, list) and len(stop) > MAX_STOPS:
            raise ValueError(f"must hold at most {MAX_STOPS} strings")
        return stop

    @field_validator("seed", "top_k")
    @classmethod
    def _machine_sized(cls, value: int | None) -> int | None:
        if value is not None and not -_INT64 <= value < _INT64:
            raise ValueError("must fit into 64 bits")
        return value


class ChatRequest:
    """A checked request beside the JSON it came from. `fields` is what the client sent; don't change it."""

    __slots__ = ("checked", "fields")

    def __init__(self, checked: OpenAIChatRequest, fields: Json) -> None:
        self.checked = checked
        self.fields = fields

    @classmethod
    def parse(cls, body: bytes) -> ChatRequest:
        """Raises InvalidRequest (422) that names every field at fault and repeats nothing of their values."""
        try:
            fields = orjson.loads(body)
            return cls(OpenAIChatRequest.model_validate(fields), fields)
        except orjson.JSONDecodeError as error:
            raise _no_json(error) from None
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            raise refusal([item | {"loc": ("body", *item["loc"])} for item in found]) from None

    def forwarded(self, mode: Mode) -> bytes:
        """The body for the model server: no field of the relay's own, no null. Raises InvalidRequest."""
        out = OWN_FIELDS | PRIVATE_FIELDS if mode == "opengpu" else OWN_FIELDS
        kept = {name: value for name, value in self.fields.items() if value is not None and name not in out}
        try:
            return orjson.dumps(kept)
        except TypeError:
            raise invalid("body", "nested_too_deep", "JSON nested deeper than 250 levels is not accepted") from None


def invalid(field: str, kind: str, message: str, *, status: int = 422) -> InvalidRequest:
    """A refusal of one field, in the form of FastAPI's list when it is a 422."""
    location = ["body"] if field == "body" else ["body", field]
    details: list[dict[str, object]] = [{"type": kind, "loc": location, "msg": message}]
    return InvalidRequest(f"{field}: {message}", details=details if status == 422 else None, status=status)


def _no_json(error: orjson.JSONDecodeError) -> InvalidRequest:
    message = f"body: JSON decode error: {error.msg} at character {error.pos}"
    details: list[dict[str, object]] = [{"type": "json_invalid", "loc": ["body", error.pos], "msg": message}]
    return InvalidRequest(message, details=details)


def refusal(found: Sequence[Mapping[str, Any]]) -> InvalidRequest:
    """A 422 from pydantic's list of errors. Locations start at "body", "path" or "query"."""
    shown = [(_location(item["loc"]), str(item["type"]), _worded(item["type"], item["msg"])) for item in found]
    details: list[dict[str, object]] = [
        {"type": kind, "loc": location, "msg": message} for location, kind, message in shown[:_MAX_DETAILS]
    ]
    lines = [f"{'.'.join(map(str, location[1:])) or 'body'}: {text}" for location, _, text in shown[:_MAX_DETAILS]]
    if len(found) > _MAX_DETAILS:
        lines.append(f"and {len(found) - _MAX_DETAILS} more")
    return InvalidRequest("; ".join(lines), details=details)


def _location(parts: Sequence[int | str]) -> list[int | str]:
    """Where the fault is. A name is cut to a length that a name may have: it is the client's own text."""
    return [part if isinstance(part, int) or len(part) <= _MAX_NAME else part[:_MAX_NAME] + "…" for part in parts]


def _worded(kind: str, message: str) -> str:
    if kind == "model_type":
        return "Input should be a JSON object"
    return message.removeprefix("Value error, ")
