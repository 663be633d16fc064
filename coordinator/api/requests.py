"""The requests that go on to a model server: their schemas, their checks, and what of them goes on.

    bytes ──orjson──► dict ──pydantic, strict──► Asked ──► forwarded(): the dict without the relay's own fields

Parsed once, so what was checked is what is sent: a repeated key can't carry a second, unchecked value past us.
Chat completions are here, the others in completions.py and embeddings.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, field_validator

from coordinator.api import fields as table
from coordinator.api.fields import Fate
from coordinator.errors import InvalidRequest
from coordinator.lifecycle.order import Mode
from coordinator.protocol.envelope import Endpoint

# Consumed here; a model server knows none of them, or is not to choose them.
OWN_FIELDS: Final = frozenset({"mode", "async", "webhook_url"}) | table.of(Fate.IGNORED)
# Who asks, and wishes to keep the text: nothing that a stranger's machine needs.
PRIVATE_FIELDS: Final = table.of(Fate.DIRECT)
MAX_STOPS: Final = 4
_INT64: Final = 2**63
# A body can hold any number of mistakes; the reply shows this many.
_MAX_DETAILS: Final = 20
_MAX_NAME: Final = 100
_KEY: Final = re.compile(r"relay_sk_[\w-]+")

Tokens = Annotated[int, Field(ge=1, le=128_000)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Share = Annotated[float, Field(ge=0, le=1)]
MetadataKey = Annotated[str, Field(max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]
Json = dict[str, Any]
# Checked in full where it is known what the operator allows (coordinator/webhooks); the document says what is usual.
WebhookUrl = Annotated[
    str, Field(max_length=2048), WithJsonSchema({"type": "string", "pattern": "^https://", "maxLength": 2048})
]


def _as_published(schema: dict[str, Any]) -> None:
    """The published document has neither this class's docstring nor `"default": null`."""
    schema.pop("description", None)
    for field in schema["properties"].values():
        if field.get("default", ...) is None:
            del field["default"]


class RelayRequest(BaseModel):
    """What every request to a model server holds: its model, and the relay's own fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, json_schema_extra=_as_published)
    endpoint: ClassVar[Endpoint]

    model: str
    mode: Literal["auto", "opengpu", "direct"] | None = "auto"
    asynchronous: bool | None = Field(default=False, alias="async")
    webhook_url: WebhookUrl | None = None
    user: str | None = None

    @property
    def streamed(self) -> bool:
        """Whether the answer is to come in frames."""
        return False

    @property
    def most_choices(self) -> int:
        """How many texts the model may write for it, whatever comes back: what it can cost at most."""
        return 0


class GeneratingRequest(RelayRequest):
    """What chat and text completions share."""

    max_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Share | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    stop: str | list[str] | None = None
    stream: bool | None = False
    stream_options: Json | None = None
    seed: int | None = None
    n: Annotated[int, Field(ge=1, le=10)] | None = None
    # newer than the published document
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Share | None = None
    repetition_penalty: Annotated[float, Field(ge=0)] | None = None
    logit_bias: Json | None = None

    @property
    def streamed(self) -> bool:
        return bool(self.stream)

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


class OpenAIChatRequest(GeneratingRequest):
    """A chat completion as OpenAI's clients send it, with the relay's `mode` and `async`."""

    endpoint = "chat/completions"

    messages: list[Json]
    max_completion_tokens: Tokens | None = None
    response_format: Json | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    store: bool | None = None
    chat_template_kwargs: Json | None = None
    # newer than the published document
    reasoning_effort: Literal["none", "low", "medium", "high", "xhigh", "max"] | None = None
    reasoning: Json | None = None
    include_reasoning: bool | None = None
    structured_outputs: bool | None = None
    # what OpenAI's clients send today: fields.py says what becomes of each
    parallel_tool_calls: bool | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    prediction: Json | None = None
    modalities: list[Literal["text"]] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    safety_identifier: Annotated[str, Field(max_length=128)] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    prompt_cache_options: Json | None = None

    @property
    def most_choices(self) -> int:
        return self.n or 1

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


Checked = TypeVar("Checked", bound=RelayRequest)


class Asked(Generic[Checked]):
    """A checked request beside the JSON it came from. `fields` is what the client sent; don't change it."""

    __slots__ = ("checked", "fields")

    def __init__(self, checked: Checked, fields: Json) -> None:
        self.checked = checked
        self.fields = fields

    @classmethod
    def parse(cls, kind: type[Checked], body: bytes) -> Asked[Checked]:
        """Raises InvalidRequest (422) that names every field at fault and repeats nothing of their values."""
        try:
            fields = orjson.loads(body)
            return cls(kind.model_validate(fields), fields)
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
    shown = [(_location(item["loc"]), str(item["type"]), _worded(item)) for item in found]
    details: list[dict[str, object]] = [
        {"type": kind, "loc": location, "msg": message} for location, kind, message in shown[:_MAX_DETAILS]
    ]
    lines = [f"{'.'.join(map(str, location[1:])) or 'body'}: {text}" for location, _, text in shown[:_MAX_DETAILS]]
    if len(found) > _MAX_DETAILS:
        lines.append(f"and {len(found) - _MAX_DETAILS} more")
    return InvalidRequest("; ".join(lines), details=details)


def _location(parts: Sequence[int | str]) -> list[int | str]:
    """Where the fault is. A name is the client's own text: it is cut to a length that a name may have, and a key that
    was pasted in its place isn't repeated."""
    return [part if isinstance(part, int) else _name(part) for part in parts]


def _name(text: str) -> str:
    hidden = _KEY.sub("relay_sk_…", text)
    return hidden if len(hidden) <= _MAX_NAME else hidden[:_MAX_NAME] + "…"


def _worded(item: Mapping[str, Any]) -> str:
    if item["type"] == "model_type":
        return "Input should be a JSON object"
    if item["type"] == "extra_forbidden" and (why := table.refusal_of(item["loc"][-1])):
        return f"is not accepted: {why}"
    return str(item["msg"]).removeprefix("Value error, ")
