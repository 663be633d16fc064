"""The text that a model has read and written for a task: what its tokenizer can count, and what no text shows.

Only what stands here can earn anything: text in fields that no model writes (ids, annotations, a server's own) doesn't.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.shapes import inputs
from coordinator.protocol.wholeness import REASONING

Json = Mapping[str, Any]

# Allowances for tokens that are in no text, in tokens; generous, since they only widen a bound on an honest count.
PER_CHOICE: Final = 8  # the end of its turn, the marks around reasoning or of a channel
PER_CALL: Final = 16  # the marks around a tool call, which servers take out of the text
MOST_CALLS: Final = 32  # that get it, of one choice: empty calls by the thousand earn nothing
PER_MESSAGE: Final = 8  # a role and its marks: 4 or 5 in ChatML and Llama 3, 7 in Harmony
PER_PROMPT: Final = 128  # what a template says by itself: model, dates, how to reason; Harmony's is the longest
FOR_TOOLS: Final = 256  # what a template says about tools, before and after their list


@dataclass(frozen=True, slots=True)
class Wording:
    """`texts` to count one by one. `extra`: tokens that may be there beside them, at most."""

    texts: list[str]
    extra: int

    @property
    def size(self) -> int:
        """Bytes of the texts."""
        return sum(len(text) if text.isascii() else len(text.encode(errors="surrogatepass")) for text in self.texts)


def read(request: Json, endpoint: Endpoint) -> Wording:
    """What the model was given to read."""
    if endpoint == "chat/completions":
        return _conversation(request)
    prompt = request.get("input" if endpoint == "embeddings" else "prompt")
    count = inputs(prompt)
    suffix = request.get("suffix")
    tokens, texts = _given(prompt)
    return Wording(texts + ([suffix] * count if isinstance(suffix, str) else []), tokens + PER_MESSAGE * count)


def written(request: Json, answer: Json) -> Wording:
    """What the model has written: text, reasoning, refusals, and the names and arguments of its calls."""
    texts, extra = [], 0
    for choice in _objects(answer.get("choices")):
        text, message = choice.get("text"), choice.get("message")
        if isinstance(text, str):
            texts.append(_new_text(request, text))
        if isinstance(message, Mapping):
            calls = list(_calls(message))
            texts += [*_message_texts(message), *(text for call in calls for text in call)]
            extra += PER_CALL * min(len(calls), MOST_CALLS)
        extra += PER_CHOICE
    return Wording(texts, extra)


def choices_asked(request: Json, endpoint: Endpoint) -> int:
    """How many texts the model may have written for it."""
    if endpoint == "embeddings":
        return 0
    wanted = [value for value in (request.get("n"), request.get("best_of")) if isinstance(value, int)]
    return max([1, *wanted]) * (inputs(request.get("prompt")) if endpoint == "completions" else 1)


def limit_asked(request: Json) -> int | None:
    """Tokens of one choice at most; None where the request doesn't say."""
    given = [request.get(name) for name in ("max_tokens", "max_completion_tokens")]
    return max((limit for limit in given if isinstance(limit, int)), default=None)


def _conversation(request: Json) -> Wording:
    texts, extra = [], PER_PROMPT
    for message in _objects(request.get("messages")):
        extra += PER_MESSAGE + PER_CALL * len(list(_objects(message.get("tool_calls"))))
        for name, value in message.items():
            if name == "content" and isinstance(value, list):
                seen, unseen = _parts(value)
                texts += seen
                extra += unseen
            elif name != "role":
                texts += strings(value)
    if request.get("tools"):
        extra += FOR_TOOLS
    # templates write JSON with spaces or in lines
    rest = [request.get(name) for name in ("tools", "response_format", "chat_template_kwargs")]
    return Wording(texts + [orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() for value in rest if value], extra)


def _parts(content: list[Any]) -> tuple[list[str], int]:
    """The texts, and the bytes of parts that are none: a picture has no more tokens than its description has bytes."""
    texts, size = [], 0
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in ("text", "refusal"):
            texts += strings(part.get(kind))
        else:
            size += len(orjson.dumps(part))
    return texts, size


def _given(prompt: Any) -> tuple[int, list[str]]:
    """Tokens and texts of a prompt: a text, a list of texts, tokens, or a list of tokens."""
    if isinstance(prompt, str):
        return 0, [prompt]
    items = prompt if isinstance(prompt, list) else []
    tokens = sum(len(item) if isinstance(item, list) else 1 for item in items if not isinstance(item, str))
    return tokens, [item for item in items if isinstance(item, str)]


def _message_texts(message: Json) -> list[str]:
    texts = strings(message.get("refusal"))
    content = message.get("content")
    if isinstance(content, list):
        texts += [text for part in _objects(content) for text in strings(part.get("text"))]
    else:
        texts += strings(content)
    # some servers say it twice, under the old name and the new one
    thought = max(("".join(strings(message.get(name))) for name in REASONING), key=len)
    return [*texts, thought] if thought else texts


def _calls(message: Json) -> Iterator[list[str]]:
    """Name and arguments of each."""
    called = [message["function_call"]] if isinstance(message.get("function_call"), Mapping) else []
    for call in _objects(message.get("tool_calls")):
        called += [part for part in (call.get("function"), call.get("custom")) if isinstance(part, Mapping)][:1]
    for call in called:
        yield [text for name in ("name", "arguments", "input") for text in strings(call.get(name))]


def _new_text(request: Json, text: str) -> str:
    """Without the prompt that `echo` has put before it."""
    prompt = request.get("prompt")
    return text.removeprefix(prompt) if request.get("echo") and isinstance(prompt, str) else text


def strings(value: Any) -> list[str]:
    """All texts in a JSON value, but for the names of fields; however deep it is."""
    found, left = [], [value]
    while left:
        part = left.pop()
        if isinstance(part, str):
            found.append(part)
        elif isinstance(part, Mapping):
            left.extend(part.values())
        elif isinstance(part, list):
            left.extend(part)
    return found


def _objects(value: Any) -> Iterator[Json]:
    return (item for item in value if isinstance(item, Mapping)) if isinstance(value, list) else iter(())
