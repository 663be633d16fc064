"""OpenAI's chat completion as JSON text, whole or in server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

MODEL = "relay/tiny-chat"
MODELS = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "storm"}]})


def completion(request: dict[str, Any], words: list[str], finish: str | None = "stop") -> str:
    """`finish` None: an answer that never came to its end."""
    message = {"role": "assistant", "content": "".join(words)}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    return json.dumps({**_frame("chat.completion"), "choices": [choice], "usage": _usage(request, words)})


def chunks(request: dict[str, Any], words: list[str]) -> Iterator[str]:
    """Frames of a stream, `[DONE]` the last; usage where it was asked for."""
    yield _event(delta={"role": "assistant", "content": ""})
    for word in words:
        yield _event(delta={"content": word})
    yield _event(delta={}, finish="stop")
    if (request.get("stream_options") or {}).get("include_usage"):
        yield _sent({**_frame("chat.completion.chunk"), "choices": [], "usage": _usage(request, words)})
    yield "data: [DONE]\n\n"


def _event(delta: dict[str, Any], finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return _sent({**_frame("chat.completion.chunk"), "choices": [choice]})


def _sent(frame: dict[str, Any]) -> str:
    return f"data: {json.dumps(frame)}\n\n"


def _frame(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-storm", "object": kind, "created": 1795000000, "model": MODEL}


def _usage(request: dict[str, Any], words: list[str]) -> dict[str, int]:
    prompt = sum(len(str(message.get("content", "")).split()) for message in request.get("messages", []))
    return {"prompt_tokens": prompt, "completion_tokens": len(words), "total_tokens": prompt + len(words)}
