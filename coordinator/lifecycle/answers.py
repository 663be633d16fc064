"""What counts as an answer: a chat completion with at least one choice that says something or calls a tool."""

from __future__ import annotations

from typing import Any

import orjson


def flaw(answer: bytes) -> str | None:
    """Why `answer` is no chat completion, in words for a log (none of its own), or None when it is one."""
    try:
        body = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return "not JSON"
    if not isinstance(body, dict):
        return "not an object"
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        return "no choices"
    if not isinstance(body.get("model"), str):
        return "no model"
    usage = body.get("usage")
    if usage is not None and not isinstance(usage, dict):
        return "usage is not an object"
    return next((found for found in map(_choice_flaw, choices) if found), None)


def _choice_flaw(choice: Any) -> str | None:
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        return "a choice without a message"
    message = choice["message"]
    content = message.get("content")
    if content is not None and not isinstance(content, str | list):
        return "content is not text"
    if content is None and not any(message.get(name) for name in ("tool_calls", "refusal", "reasoning_content")):
        return "an empty message"
    return None
