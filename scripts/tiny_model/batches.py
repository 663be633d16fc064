"""Conversations as token ids and labels, in batches of like lengths, so that little is spent on padding."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random

from scripts.tiny_model.text import Conversation, conversations
from scripts.tiny_model.tokenizer import END_OF_TEXT, TURN_CLOSE, TURN_OPEN, Tokenizer, learn_merges

IGNORED = -100
POOL = 1500
"""Conversations sorted together; more makes tighter batches, fewer makes the mix of each stretch more even."""

MERGES = 700
SAMPLED = 20_000
"""Conversations the tokenizer is learned from; more change no merge that matters."""


def trained_tokenizer(seed: int) -> Tokenizer:
    """The tokenizer of the text of `seed`; a few seconds' work, so it is made anew instead of being kept in a file."""
    texts = (message.content for one in islice(conversations(seed), SAMPLED) for message in one)
    return Tokenizer(learn_merges(texts, MERGES))


@dataclass(frozen=True)
class Sample:
    """Token ids and, for each, the label of the token that follows it."""

    ids: list[int]
    labels: list[int]


def sample(tokenizer: Tokenizer, conversation: Conversation, context: int) -> Sample:
    """The conversation as the chat template writes it. Learned are the assistant's words and the end of its turn."""
    ids: list[int] = []
    learned: list[bool] = []
    for message in conversation:
        head = tokenizer.encode(f"{TURN_OPEN}{message.role}\n")
        given = tokenizer.encode(message.content[: message.given])
        body = [*tokenizer.encode(message.content[message.given :]), tokenizer.ids[TURN_CLOSE]]
        tail = tokenizer.encode("\n")
        ids += head + given + body + tail
        ours = message.role == "assistant"
        learned += [False] * len(head + given) + [ours] * len(body) + [False] * len(tail)
    labels = [token if ours else IGNORED for token, ours in zip(ids[1:], learned[1:], strict=True)]
    return Sample(ids[: min(context, len(ids) - 1)], labels[:context])


def batches(tokenizer: Tokenizer, seed: int, tokens: int, context: int) -> Iterator[list[Sample]]:
    """Endless batches of about `tokens` token places each."""
    rng = Random(seed)
    stream = (sample(tokenizer, conversation, context) for conversation in conversations(seed))
    while True:
        pool = sorted(islice(stream, POOL), key=lambda one: len(one.ids))
        ready: list[list[Sample]] = []
        batch: list[Sample] = []
        for one in pool:
            if batch and len(one.ids) * (len(batch) + 1) > tokens:
                ready.append(batch)
                batch = []
            batch.append(one)
        ready.append(batch)
        rng.shuffle(ready)
        yield from ready


def padded(batch: list[Sample], filler: int) -> tuple[list[list[int]], list[list[int]]]:
    """Ids and labels as rectangles. What fills them up comes after each sample, where causal attention can't see it."""
    longest = max(len(one.ids) for one in batch)
    ids = [one.ids + [filler] * (longest - len(one.ids)) for one in batch]
    labels = [one.labels + [IGNORED] * (longest - len(one.labels)) for one in batch]
    return ids, labels


def filler(tokenizer: Tokenizer) -> int:
    """The token that fills batches up."""
    return tokenizer.ids[END_OF_TEXT]
