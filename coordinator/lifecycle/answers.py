"""What counts as an answer. Anything else that a node posts as one is its fault, and the task goes elsewhere.

chat/completions   at least one choice, and every one says something or calls a tool, and was not cut off
completions        at least one choice, every one with a text (which may be empty: the model may have nothing to add)
embeddings         at least one vector, none of them empty

And it is no longer than what was asked for can be, and does what was asked for as far as an answer can show it: the
very checks that a node makes before it signs (protocol/wholeness.py, protocol/conformity.py), so an honest one never
fails. Not checked, since an honest server may do so: the name it has for the model, arguments of a call that are no
JSON (the model wrote them), and whether the text is any good.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from coordinator.lifecycle.wording import choices_asked, limit_asked
from coordinator.protocol.conformity import unsupported
from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.report import MAX_ANSWER_CHARACTERS
from coordinator.protocol.shapes import inputs, is_answer
from coordinator.protocol.wholeness import unfinished

Json = Mapping[str, Any]

# What surrounds the text: ids, usage, timings, what a server adds of its own.
_FRAME_BYTES: Final = 64 * 1024
# The longest token of the usual vocabularies is 128 spaces; escaped in JSON, a byte is 6.
_TOKEN_BYTES: Final = 1024
# With log-probabilities: the token again, its bytes as numbers, and that for each alternative.
_PROBABILITY_BYTES: Final = 1024
# 8,192 dimensions of up to 24 characters; the largest published models have half of that.
_VECTOR_BYTES: Final = 200_000


class BadAnswer(Exception):
    """None of the endpoint's. `flaw` is for a log: it has nothing of the answer's own words."""

    def __init__(self, flaw: str) -> None:
        super().__init__(flaw)
        self.flaw = flaw


def checked(answer: bytes, asked: Json, endpoint: Endpoint, context_length: int | None = None) -> dict[str, Any]:
    """The answer, parsed. `asked` is the request's body. Raises BadAnswer."""
    if len(answer) > most_bytes(asked, endpoint, context_length):
        raise BadAnswer("longer than what was asked for can be")
    body = _parsed(answer)
    if not isinstance(body.get("model"), str):
        raise BadAnswer("no model")
    usage = body.get("usage")
    if usage is not None and not isinstance(usage, dict):
        raise BadAnswer("usage is not an object")
    if not is_answer(endpoint, body):
        raise BadAnswer(f"not an answer to {endpoint}")
    if endpoint != "embeddings" and len(body["choices"]) > choices_asked(asked, endpoint):
        raise BadAnswer("more choices than were asked for")
    if endpoint == "chat/completions" and any(map(_is_garbled, body["choices"])):
        raise BadAnswer("content or calls are not what they should be")
    found = unfinished(asked, body, endpoint, context_length) or unsupported(asked, body, endpoint)
    if found is not None:
        raise BadAnswer(found)
    return body


def most_bytes(asked: Json, endpoint: Endpoint, context_length: int | None = None) -> int:
    """How long an answer may be: room for every token that may be in it, with all that is said about a token."""
    told = limit_asked(asked)
    limit = context_length if told is None else told
    if endpoint == "embeddings":
        size = _VECTOR_BYTES * inputs(asked.get("input"))
    elif limit is None:
        return MAX_ANSWER_CHARACTERS
    else:
        size = choices_asked(asked, endpoint) * limit * (_TOKEN_BYTES + _PROBABILITY_BYTES * _alternatives(asked))
        if asked.get("echo"):
            size += choices_asked(asked, endpoint) * 6 * len(orjson.dumps(asked.get("prompt")))
    return min(_FRAME_BYTES + size, MAX_ANSWER_CHARACTERS)


def _alternatives(asked: Json) -> int:
    """How many tokens are named for each one written, itself counted; 0 without log-probabilities."""
    wanted, more = asked.get("logprobs"), asked.get("top_logprobs")
    if wanted is None or wanted is False:
        return 0
    numbers = [value for value in (wanted, more) if isinstance(value, int)]
    return 1 + sum(numbers)


def _parsed(answer: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(answer)
    except orjson.JSONDecodeError:
        raise BadAnswer("not JSON") from None
    if not isinstance(body, dict):
        raise BadAnswer("not an object")
    try:
        orjson.dumps(body)  # whoever shows it to the client may have to write it anew, and can't beyond 250 levels
    except TypeError:
        raise BadAnswer("nested too deep") from None
    return body


def _is_garbled(choice: Any) -> bool:
    """Whether a client that expects OpenAI's types would stumble."""
    message = choice["message"]
    content, calls = message.get("content"), message.get("tool_calls")
    if content is not None and not isinstance(content, str | list):
        return True
    return calls is not None and not (isinstance(calls, list) and all(map(_is_call, calls)))


def _is_call(call: Any) -> bool:
    if not isinstance(call, dict):
        return False
    function, custom = call.get("function"), call.get("custom")
    if isinstance(custom, dict):
        return isinstance(custom.get("name"), str) and isinstance(custom.get("input"), str)
    return (
        isinstance(function, dict)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("arguments"), str)
    )
