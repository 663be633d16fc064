"""A backend's own words on why it refused, fit to be shown to the client: short, and without the prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

_LONGEST = 500
# A run of this many characters of a prompt in the message is an echo, not chance.
_ECHO = 24
# Searching a longer prompt would take longer than the message is worth.
_SEARCHED = 1_000_000
# Where a client's words stand in a request, at every endpoint.
_WORDS = ("messages", "prompt", "suffix", "input", "prediction")


def readable(status: int, body: bytes, request: bytes) -> str:
    """At most 500 characters; a message that repeats the prompt is replaced."""
    fallback = f"the backend answered with HTTP {status}"
    message = " ".join(_message(body).split())[:_LONGEST]
    if not message or _echoes(message, request):
        return fallback
    return message


def _message(body: bytes) -> str:
    """OpenAI, vLLM, llama.cpp: {"error": {"message"}}; Ollama: {"error": text}; FastAPI: {"detail"}; or {"message"}."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(parsed, dict):
        return ""
    for key in ("error", "detail", "message"):
        if text := _text(parsed.get(key)):
            return text
    return ""


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return _text(value.get("message"))
    if isinstance(value, list):  # pydantic's list of problems; its `input` repeats what the client sent
        return "; ".join(_problem(item) for item in value if isinstance(item, dict))
    return ""


def _problem(item: dict[str, Any]) -> str:
    location = item.get("loc")
    place = ".".join(str(part) for part in location if part != "body") if isinstance(location, list) else ""
    return f"{place}: {item.get('msg', '')}" if place else str(item.get("msg", ""))


def _echoes(message: str, request: bytes) -> bool:
    if len(request) > _SEARCHED:
        return True
    try:
        fields = orjson.loads(request)
        words = [fields.get(name) for name in _WORDS]
    except (orjson.JSONDecodeError, AttributeError):
        return True
    prompt = "\n".join(" ".join(text.split()) for text in _strings(words))
    # Windows that overlap by half find every run of 1.5 windows.
    return any(message[start : start + _ECHO] in prompt for start in range(0, len(message) - _ECHO + 1, _ECHO // 2))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
