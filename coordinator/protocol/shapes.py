"""What an answer of each endpoint looks like, and what it owes to what was asked, beyond chat completions.

completions  choices with a `text` each; a choice for each prompt and each `n`
embeddings   data with an `embedding` each: numbers, or base64 of little-endian 32-bit floats; one for each input
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from coordinator.protocol.envelope import Endpoint

Json = Mapping[str, Any]
_FLOAT_BYTES: Final = 4


def is_answer(endpoint: Endpoint, answer: Any) -> bool:
    """Whether `answer` is what an OpenAI server says at this endpoint, by its shape."""
    if not isinstance(answer, dict):
        return False
    items = answer.get("data" if endpoint == "embeddings" else "choices")
    whole: Callable[[Json], bool] = _WHOLE[endpoint]
    return isinstance(items, list) and bool(items) and all(isinstance(item, dict) and whole(item) for item in items)


def is_vector(embedding: Any) -> bool:
    """Numbers, or what may be base64 of them."""
    if isinstance(embedding, str):
        return bool(embedding)
    return isinstance(embedding, list) and bool(embedding) and all(map(_is_number, embedding))


def inputs(asked: Any) -> int:
    """How many texts a `prompt` or an `input` holds: a text, a list of texts, tokens, or a list of tokens."""
    if isinstance(asked, list) and asked and isinstance(asked[0], str | list):
        return len(asked)
    return 1


def short_completions(request: Json, answer: Json) -> str | None:
    """What a text completion lacks of what was asked for: the message naming the parameter, or None."""
    choices = answer["choices"]
    asked = (request.get("n") or 1) * inputs(request.get("prompt"))
    if len(choices) < asked:
        return f"n: {asked} choices were asked for, the model server made {len(choices)}"
    if request.get("logprobs") is not None and any(choice["text"] and not choice.get("logprobs") for choice in choices):
        return "logprobs: the model server gave none"
    prompt, texts = request.get("prompt"), [choice["text"] for choice in choices]
    if request.get("echo"):
        echoed = not isinstance(prompt, str) or all(text.startswith(prompt) for text in texts)
        return None if echoed else "echo: the model server did not repeat the prompt"
    stop = request.get("stop") or []
    for sequence in [stop] if isinstance(stop, str) else stop:
        if sequence and any(sequence in text for text in texts):
            return "stop: the model server wrote on past a stop sequence"
    return None


def short_embeddings(request: Json, answer: Json) -> str | None:
    """As short_completions, for embeddings."""
    vectors = [item["embedding"] for item in answer["data"]]
    asked = inputs(request.get("input"))
    if len(vectors) != asked:
        return f"input: {asked} embeddings were asked for, the model server made {len(vectors)}"
    wanted = request.get("dimensions")
    if wanted is not None and any(_size(vector) != wanted for vector in vectors):
        return f"dimensions: the model server does not give {wanted}"
    return None


def recoded(request: Json, answer: Json) -> dict[str, Any] | None:
    """Embeddings in the encoding that was asked for, where the server gave the other; None where nothing is to do.

    OpenAI's clients ask for base64 of their own accord, and several model servers know numbers alone.
    """
    wants_text = request.get("encoding_format") == "base64"
    if all(isinstance(item["embedding"], str) is wants_text for item in answer["data"]):
        return None
    recode = _packed if wants_text else _unpacked
    return {**answer, "data": [{**item, "embedding": recode(item["embedding"])} for item in answer["data"]]}


def _packed(vector: Any) -> Any:
    if isinstance(vector, str):
        return vector
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except (OverflowError, struct.error):  # no 32-bit float holds it
        return vector


def _unpacked(vector: Any) -> Any:
    """As it was when it is no base64 of numbers."""
    size = _size(vector)
    if isinstance(vector, list) or not size:
        return vector
    return list(struct.unpack(f"<{size}f", base64.b64decode(vector)[: size * _FLOAT_BYTES]))


def _size(vector: Any) -> int | None:
    if isinstance(vector, list):
        return len(vector)
    try:
        return len(base64.b64decode(vector, validate=True)) // _FLOAT_BYTES
    except (binascii.Error, ValueError):
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_WHOLE: Final[dict[Endpoint, Callable[[Json], bool]]] = {
    "chat/completions": lambda choice: isinstance(choice.get("message"), dict),
    "completions": lambda choice: isinstance(choice.get("text"), str),
    "embeddings": lambda item: is_vector(item.get("embedding")),
}
