"""Did the backend do what was asked? A parameter that it can't do ends in a clear 400 that names it, never in silence.

Two pure checks, for the node and for the coordinator's direct mode alike: `ignored` before the call, from a table of
what a kind of server is known to pass over; `unsupported` after it, from the answer itself. Both say nothing where an
answer can be right: one cut off by its length limit owes no JSON, a refusal owes no tool call. What no answer can show
(temperature, seed, penalties) is left to the table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.shapes import short_completions, short_embeddings

# So many brackets are no deeper than any stack has room for.
_SHALLOW = 200
Json = Mapping[str, Any]
Check = Callable[[Json, list[Json], Json], str | None]


def ignored(kind: str, request: Mapping[str, Any]) -> str | None:
    """What a server of this `kind` would pass over in silence: the message naming the parameter, or None.

    Kinds are what a server says in `owned_by` of its list of models; `embedded` is the tiny model that the relay ships.
    """
    for parameter, asks in _PASSED_OVER.get(kind, {}).items():
        value = request.get(parameter)
        if value is not None and asks(value):
            return f"{parameter}: the model server can't do it"
    if kind == EMBEDDED and (part := _other_than_text(request.get("messages"))):
        return f"messages: the model reads text, not {part}"
    return None


def unsupported(
    request: Mapping[str, Any], answer: Mapping[str, Any], endpoint: Endpoint = "chat/completions"
) -> str | None:
    """What `answer`, one of this endpoint's, shows not to have been done: the message naming the parameter, or None."""
    if endpoint == "embeddings":
        return short_embeddings(request, answer)
    if endpoint == "completions":
        return short_completions(request, answer) or _length(request, answer["choices"], answer)
    choices: list[Json] = [choice for choice in answer.get("choices") or [] if isinstance(choice, dict)]
    for check in _CHECKS:
        if message := check(request, choices, answer):
            return message
    return None


EMBEDDED = "embedded"


def _always(_: Any) -> bool:
    return True


# Measured on llama.cpp's server (xllamacpp 2026.10): repetition_penalty is called repeat_penalty there, and the rest is
# accepted and not read. The embedded model does not reason, so there is no effort to set. The last three are of text
# completions.
_LLAMA_CPP: dict[str, Callable[[Any], bool]] = {
    "repetition_penalty": lambda value: value != 1,
    "reasoning": _always,
    "structured_outputs": bool,
    "verbosity": lambda value: value != "medium",
    "echo": bool,
    "suffix": bool,
    "best_of": lambda value: value != 1,
}
_PASSED_OVER: dict[str, dict[str, Callable[[Any], bool]]] = {
    "llamacpp": _LLAMA_CPP,
    EMBEDDED: {**_LLAMA_CPP, "reasoning_effort": lambda value: value != "none"},
}


def _other_than_text(messages: Any) -> str | None:
    for message in messages if isinstance(messages, list) else []:
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else []:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind not in ("text", "refusal"):
                return str(kind)[:40]
    return None


def _message(choice: Json) -> Json:
    message = choice.get("message")
    return message if isinstance(message, dict) else {}


def _text(choice: Json) -> str:
    content = _message(choice).get("content")
    return content if isinstance(content, str) else ""


def _whole(choices: Sequence[Json]) -> list[Json]:
    """The choices that ended of themselves, in words or calls: not cut off, filtered or refused."""
    return [
        choice
        for choice in choices
        if choice.get("finish_reason") not in ("length", "content_filter") and not _message(choice).get("refusal")
    ]


def _number_of_choices(request: Json, choices: list[Json], _: Json) -> str | None:
    asked = request.get("n") or 1
    if len(choices) < asked:
        return f"n: {asked} choices were asked for, the model server made {len(choices)}"
    return None


def _log_probabilities(request: Json, choices: list[Json], _: Json) -> str | None:
    if not request.get("logprobs"):
        return None
    for choice in choices:
        entries = _log_probability_entries(choice)
        if _text(choice) and not entries:
            return "logprobs: the model server gave none"
        if entries and request.get("top_logprobs") and not any(entry.get("top_logprobs") for entry in entries):
            return "top_logprobs: the model server gave none"
    return None


def _log_probability_entries(choice: Json) -> list[Json]:
    outer = choice.get("logprobs")
    entries = outer.get("content") if isinstance(outer, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _tool_calls(request: Json, choices: list[Json], _: Json) -> str | None:
    wanted = request.get("tool_choice")
    for choice in _whole(choices):
        calls = _calls(choice)
        if wanted == "none" and calls:
            return "tool_choice: none was asked for, the model server called a tool"
        if (wanted == "required" or isinstance(wanted, dict)) and not calls:
            return "tool_choice: a call was asked for, the model server made none"
        if (name := _wanted_function(wanted)) and any(_called(call) != name for call in calls):
            return "tool_choice: the model server called another function"
        if request.get("parallel_tool_calls") is False and len(calls) > 1:
            return "parallel_tool_calls: the model server made several calls at once"
    return None


def _calls(choice: Json) -> list[Any]:
    calls = _message(choice).get("tool_calls")
    return calls if isinstance(calls, list) else []


def _wanted_function(wanted: Any) -> str | None:
    function = wanted.get("function") if isinstance(wanted, dict) else None
    return function.get("name") if isinstance(function, dict) else None


def _called(call: Any) -> str | None:
    function = call.get("function") if isinstance(call, dict) else None
    return function.get("name") if isinstance(function, dict) else None


def _format(request: Json, choices: list[Json], _: Json) -> str | None:
    wanted = request.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or kind not in ("json_object", "json_schema"):
        return None
    for choice in _whole(choices):
        if not _message(choice).get("tool_calls") and not _is_json(_text(choice), _required_keys(wanted)):
            return f"response_format: the model server did not keep to {kind}"
    return None


def _required_keys(wanted: Json) -> list[str]:
    """The keys that the top level of a JSON schema demands; whoever needs more than that validates for himself."""
    outer = wanted.get("json_schema")
    schema = outer.get("schema") if isinstance(outer, dict) else None
    required = schema.get("required") if isinstance(schema, dict) else None
    return [key for key in required if isinstance(key, str)] if isinstance(required, list) else []


def _is_json(text: str, keys: list[str]) -> bool:
    # json goes as deep as its stack, and the text is a stranger's; orjson stops at 1,024, as most readers do
    loads = json.loads if text.count("[") + text.count("{") < _SHALLOW else orjson.loads
    try:
        value = loads(text)
    except ValueError:
        return False
    return not keys or (isinstance(value, dict) and all(key in value for key in keys))


def _stop(request: Json, choices: list[Json], _: Json) -> str | None:
    wanted = request.get("stop") or []
    for sequence in [wanted] if isinstance(wanted, str) else wanted:
        if sequence and any(sequence in _text(choice) for choice in choices):
            return "stop: the model server wrote on past a stop sequence"
    return None


def _length(request: Json, choices: list[Json], answer: Json) -> str | None:
    limits = {name: request.get(name) for name in ("max_completion_tokens", "max_tokens")}
    usage = answer.get("usage")
    made = usage.get("completion_tokens") if isinstance(usage, dict) else None
    for name, limit in limits.items():
        if isinstance(limit, int) and isinstance(made, int) and made > limit * max(1, len(choices)):
            return f"{name}: {limit} tokens were allowed, the model server made {made}"
    return None


_CHECKS: tuple[Check, ...] = (_number_of_choices, _log_probabilities, _tool_calls, _format, _stop, _length)
