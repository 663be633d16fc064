"""Is the answer whole? An empty or truncated one is the fault of whoever gave it, and no result.

For the node, before it signs, and for the coordinator, after: both say the same of the same bytes. It says nothing
where an honest server can have meant it so, since a wrong word here costs an honest node its work:

empty      a chat message without text, call, refusal or reasoning. Not when its length limit or a filter ended it, nor
           when a stop sequence may have (what stands before the sequence can be nothing), or a bias towards the end
           token, or the reasoning was not wanted. Not a text completion, nor a chat whose last message is the model's
           own: one that is to go on may have nothing to add.
truncated  no `finish_reason`: whoever stopped writing in the middle of an answer has none to give; or one that says so
           (`abort` of vLLM and SGLang, vLLM's `error`). And `length` before the limit that was asked for, while the
           model's context had room: somebody cut it short. Told by the server's own count alone, of one choice without
           reasoning, which some servers leave out of the count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from coordinator.protocol.envelope import Endpoint

Json = Mapping[str, Any]
# Reasoning, by the names that vLLM, SGLang, llama.cpp and Ollama have for it.
REASONING: Final = ("reasoning_content", "reasoning", "thinking")
_SAYING: Final = ("content", "refusal", "tool_calls", "function_call", *REASONING)
_BROKEN_OFF: Final = ("abort", "error")
_CUT_ON_PURPOSE: Final = ("length", "content_filter")
# Servers differ in whether they count the token that ended it, and in what they keep free at a context's end.
_SLACK: Final = 16


def unfinished(request: Json, answer: Json, endpoint: Endpoint, context_length: int | None = None) -> str | None:
    """What makes `answer`, one of this endpoint's by its shape, no whole one, in words for a log; None when it is.

    `context_length` in tokens, prompt and answer together; None where it isn't known.
    """
    if endpoint == "embeddings":
        return None
    for choice in answer["choices"]:
        ended = choice.get("finish_reason")
        if not isinstance(ended, str) or not ended:
            return "cut off: no finish_reason"
        if ended in _BROKEN_OFF:
            return f"cut off: {ended}"
        if endpoint == "chat/completions" and ended not in _CUT_ON_PURPOSE and _is_empty(request, choice["message"]):
            return "an empty message"
    if context_length is not None and _cut_short(request, answer, context_length):
        return "cut off: neither its limit nor the context was reached"
    return None


def _is_empty(request: Json, message: Json) -> bool:
    excused = request.get("stop") or request.get("logit_bias") or request.get("include_reasoning") is False
    return not (excused or _goes_on(request) or any(message.get(name) for name in _SAYING))


def _goes_on(request: Json) -> bool:
    """Whether the model is to continue words that are put into its mouth."""
    messages = request.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, Mapping) and last.get("role") == "assistant"


def _cut_short(request: Json, answer: Json, context_length: int) -> bool:
    choices, usage = answer["choices"], answer.get("usage")
    limits = [request.get(name) for name in ("max_tokens", "max_completion_tokens")]
    given = [limit for limit in limits if isinstance(limit, int)]
    if len(choices) != 1 or choices[0]["finish_reason"] != "length" or not given or not isinstance(usage, Mapping):
        return False
    message = choices[0].get("message")
    if isinstance(message, Mapping) and any(message.get(name) for name in REASONING):
        return False
    made, read = usage.get("completion_tokens"), usage.get("prompt_tokens")
    if not isinstance(made, int) or not isinstance(read, int):
        return False
    return made + _SLACK < min(given) and read + made + _SLACK < context_length
