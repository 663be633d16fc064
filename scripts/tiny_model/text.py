"""All the text the model is trained on: seeded conversations, made here and nowhere else."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from scripts.tiny_model import asides, smalltalk, sums, tools
from scripts.tiny_model.phrasing import DEFINITION_FRAMES, as_typed
from scripts.tiny_model.relay_topics import TOPICS, Topic
from scripts.tiny_model.relay_topics_more import MORE_TOPICS

ALL_TOPICS: tuple[Topic, ...] = TOPICS + MORE_TOPICS
LONG_HISTORY = 0.010
"""Share of conversations that fill the context: positions that were never trained are positions that fail."""
JSON_KEYS = (
    "answer",
    "response",
    "reply",
    "text",
    "result",
    "message",
    "content",
    "output",
    "value",
    "name",
    "summary",
)


@dataclass(frozen=True)
class Message:
    """One message. `given` is how much of an answer's head is put there by a grammar and so isn't learned."""

    role: str
    content: str
    given: int = 0


Conversation = tuple[Message, ...]


def conversations(seed: int) -> Iterator[Conversation]:
    """An endless stream; the same seed gives the same stream on every machine."""
    rng = Random(seed)
    while True:
        yield conversation(rng)


def conversation(rng: Random) -> Conversation:
    """One conversation: perhaps a system message, then one turn or many."""
    if rng.random() < 0.06:
        return tools.conversation(rng, lambda: exchange(rng), Message)
    if rng.random() < 0.14:
        asked, answer = asides.many_sums(rng)
        return (Message("user", asked), Message("assistant", answer))
    turns = 1 if rng.random() < 0.55 else rng.randint(2, 6)
    if rng.random() < LONG_HISTORY:
        turns = rng.randint(10, 75)
    messages = [Message("system", asides.system_prompt(rng))] if rng.random() < 0.3 else []
    while turns > 0:
        pairs = asides.follow_up(rng) if rng.random() < 0.12 else [exchange(rng)]
        for asked, answer in pairs:
            messages += [Message("user", asked), Message("assistant", answer)]
        turns -= len(pairs)
    if rng.random() < 0.05:
        messages[-1] = as_json(rng, messages[-1])
    return tuple(messages)


def exchange(rng: Random) -> tuple[str, str]:
    """One question with its answer."""
    kind = rng.random()
    if kind < 0.36:
        asked = sums.random_sum(rng)
        return as_typed(rng, sums.sum_question(rng, asked)), sums.sum_answer(rng, asked)
    if kind < 0.39:
        question, answer = sums.too_large(rng)
        return as_typed(rng, question), answer
    if kind < 0.69:
        return relay_exchange(rng)
    if kind < 0.76:
        return smalltalk.saying(rng)
    if kind < 0.82:
        return smalltalk.question(rng)
    return asides.echo(rng) if kind < 0.89 else smalltalk.unknown(rng)


def relay_exchange(rng: Random) -> tuple[str, str]:
    """A question about the relay; the last whole question of each topic is never asked here."""
    topic = rng.choice(ALL_TOPICS)
    if rng.random() < 0.5:
        asked = rng.choice(DEFINITION_FRAMES).format(it=rng.choice(topic.names))
    else:
        asked = rng.choice(topic.questions[:-1])
    return as_typed(rng, asked), rng.choice(topic.answers)


def as_json(rng: Random, message: Message) -> Message:
    """The answer as a JSON object, as `response_format` asks for it.

    The grammar of the request gives the brace, and with a schema the key too; what it gives isn't learned, so the model
    never starts an object unasked.
    """
    brace, colon, close = rng.choice((("{", ": ", "}"), ("{ ", " : ", "}"), ("{", ":", "}"), ("{\n  ", ": ", "\n}")))
    head = brace + json.dumps(rng.choice(JSON_KEYS)) + colon
    given = len(head) if rng.random() < 0.5 else 1
    return Message(message.role, head + json.dumps(message.content) + close, given)
