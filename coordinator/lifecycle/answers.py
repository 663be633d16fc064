"""What counts as an answer.

chat/completions   at least one choice, and every one says something or calls a tool
completions        at least one choice, every one with a text (which may be empty: the model may have nothing to add)
embeddings         at least one vector, none of them empty
"""

from __future__ import annotations

from typing import Any

import orjson

from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.shapes import is_answer


def flaw(answer: bytes, endpoint: Endpoint = "chat/completions") -> str | None:
    """Why `answer` is none of this endpoint's, in words for a log (none of its own), or None when it is one."""
    try:
        body = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return "not JSON"
    if not isinstance(body, dict):
        return "not an object"
    if not isinstance(body.get("model"), str):
        return "no model"
    usage = body.get("usage")
    if usage is not None and not isinstance(usage, dict):
        return "usage is not an object"
    if not is_answer(endpoint, body):
        return f"not an answer to {endpoint}"
    if endpoint != "chat/completions":
        return None
    return next((found for found in map(_message_flaw, body["choices"]) if found), None)


def _message_flaw(choice: Any) -> str | None:
    message = choice["message"]
    content = message.get("content")
    if content is not None and not isinstance(content, str | list):
        return "content is not text"
    if content is None and not any(message.get(name) for name in ("tool_calls", "refusal", "reasoning_content")):
        return "an empty message"
    return None
