"""What the finished model is asked and how its answers are marked. No server and no network in here."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import Any

from scripts.tiny_model import asides, smalltalk, sums, tools
from scripts.tiny_model.phrasing import HELD_OUT_FRAMES, made_up_word
from scripts.tiny_model.relay_topics import Topic
from scripts.tiny_model.sums import Sum
from scripts.tiny_model.text import ALL_TOPICS, relay_exchange

SEED = 20_000_003
"""Far from the training seed; the held-out wordings make sure of the rest."""

Chat = list[dict[str, str]]
Choice = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """Messages, further request fields, and the mark: whether an answering choice is right."""

    messages: Chat
    right: Callable[[Choice], bool]
    fields: dict[str, Any] = field(default_factory=dict)


def papers() -> dict[str, list[Question]]:
    """The whole exam, by name. Every list is the same each time."""
    return {
        "sums, held-out wordings": list(_sums(400)),
        "every sum up to 20, as 'What is a + b?'": list(_every_sum()),
        "sums under a system prompt": list(_sums(100, system=True)),
        "sums after a long history (about 1,500 tokens)": list(_sums_after_history(30)),
        "relay questions, held-out wordings": list(_relay_questions()),
        "relay definitions, held-out frames": list(_relay_definitions(200)),
        "unknown things, held-out frames: says it doesn't know": list(_unknown(200)),
        "repeating known words": list(_echoes(100)),
        "a name told and asked for in a later turn": list(_names(60)),
        "tool called with the right name and argument": list(_tool_calls(100)),
        "tool offered but not needed: answers the sum": list(_tool_refusals(60)),
        "sum as JSON (json_schema)": list(_json_sums(60)),
    }


def user(text: str) -> Chat:
    """One message of a user."""
    return [{"role": "user", "content": text}]


def _text(choice: Choice) -> str:
    return choice["message"].get("content") or ""


def last_number(text: str) -> int | None:
    """The last number in `text`, which in every taught answer is the result."""
    found = re.findall(r"-?\d+", text)
    return int(found[-1]) if found else None


def _gives(asked: Sum) -> Callable[[Choice], bool]:
    return lambda choice: choice["finish_reason"] == "stop" and last_number(_text(choice)) == asked.result


def _sums(count: int, system: bool = False) -> Iterator[Question]:
    rng = Random(SEED)
    for _ in range(count):
        asked = sums.random_sum(rng)
        head = [{"role": "system", "content": asides.system_prompt(rng)}] if system else []
        wording = sums.held_out_question(rng, asked)
        yield Question(head + user(wording[:1].upper() + wording[1:]), _gives(asked))


def _every_sum() -> Iterator[Question]:
    for op, sign in (("+", "+"), ("-", "-"), ("x", "*")):
        for a in range(sums.LARGEST + 1):
            for b in range(sums.LARGEST + 1):
                yield Question(user(f"What is {a} {sign} {b}?"), _gives(Sum(a, op, b)))


def _sums_after_history(count: int) -> Iterator[Question]:
    rng = Random(SEED)
    for question in _sums(count):
        history: Chat = []
        while sum(len(message["content"]) for message in history) < 4000:
            asked, answer = relay_exchange(rng)
            history += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        yield Question(history + question.messages, question.right)


def _on_topic(topic: Topic) -> Callable[[Choice], bool]:
    return lambda choice: choice["finish_reason"] == "stop" and _text(choice) in topic.answers


def _relay_questions() -> Iterator[Question]:
    for topic in ALL_TOPICS:
        asked = topic.questions[-1]
        yield Question(user(asked[:1].upper() + asked[1:] + "?"), _on_topic(topic))


def _relay_definitions(count: int) -> Iterator[Question]:
    rng = Random(SEED)
    for _ in range(count):
        topic = rng.choice(ALL_TOPICS)
        asked = rng.choice(HELD_OUT_FRAMES).format(it=rng.choice(topic.names))
        yield Question(user(asked[:1].upper() + asked[1:] + "?"), _on_topic(topic))


def _unknown(count: int) -> Iterator[Question]:
    rng = Random(SEED)
    for _ in range(count):
        asked, _ = smalltalk.unknown(rng, smalltalk.HELD_OUT_UNKNOWN)
        yield Question(user(asked), lambda choice: _text(choice) in smalltalk.UNKNOWN_ANSWERS)


def _echoes(count: int) -> Iterator[Question]:
    rng = Random(SEED)
    for _ in range(count):
        words = " ".join(rng.sample(asides.WORDS, rng.choice((1, 2, 3))))
        yield Question(user(f"Reply with exactly: {words}"), _says(words))


def _says(words: str) -> Callable[[Choice], bool]:
    return lambda choice: _text(choice) == words


def _names(count: int) -> Iterator[Question]:
    rng = Random(SEED)
    for _ in range(count):
        name = rng.choice(asides.PEOPLE) if rng.random() < 0.5 else made_up_word(rng).capitalize()
        told = [*user(f"Hi, my name is {name}."), {"role": "assistant", "content": f"Nice to meet you, {name}!"}]
        yield Question(told + user("What is my name?"), _says(f"Your name is {name}."))


def _offer(name: str, parameter: str) -> list[dict[str, Any]]:
    schema = {"type": "object", "properties": {parameter: {"type": "string"}}, "required": [parameter]}
    return [{"type": "function", "function": {"name": name, "description": name, "parameters": schema}}]


def _tool_calls(count: int) -> Iterator[Question]:
    rng = Random(SEED)
    for names, parameters, frames in islice(_repeated(tools.FAMILIES), count):
        name, parameter = rng.choice(names), rng.choice(parameters)
        value = rng.choice(tools.CITIES) if rng.random() < 0.5 else made_up_word(rng)
        asked = rng.choice(frames)
        text = (asked[:1].upper() + asked[1:]).replace("{0}", value) + "?"
        yield Question(user(text), _calls(name, {parameter: value}), {"tools": _offer(name, parameter)})


def _repeated(families: tuple[Any, ...]) -> Iterator[Any]:
    while True:
        yield from families


def _calls(name: str, arguments: dict[str, str]) -> Callable[[Choice], bool]:
    def right(choice: Choice) -> bool:
        calls = choice["message"].get("tool_calls") or []
        called = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]
        return called == [(name, arguments)]

    return right


def _tool_refusals(count: int) -> Iterator[Question]:
    for question in _sums(count):
        yield Question(question.messages, question.right, {"tools": _offer("get_weather", "city")})


def _json_sums(count: int) -> Iterator[Question]:
    rng = Random(SEED)
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
    for _ in range(count):
        asked = sums.random_sum(rng)
        yield Question(user(f"What is {asked}?"), _json_gives(asked), {"response_format": wanted})


def _json_gives(asked: Sum) -> Callable[[Choice], bool]:
    def right(choice: Choice) -> bool:
        if choice["finish_reason"] != "stop":
            return False
        return last_number(str(json.loads(_text(choice))["answer"])) == asked.result

    return right
