"""How many tokens an answer of a node is worth: one count, for what its client is charged and what the node is paid.

claimed: the least that Receipt and usage say
  ──► at most what the model's tokenizer finds in the text, and an allowance for what no text shows
  ──► at most what was asked for: max_tokens (or the model's context) and choices, bytes of the request

Where the coordinator has no tokenizer of the model, a text's bytes bound it instead: a token is at least one. Where
nothing is claimed, the tokenizer's count stands, or a token for every four bytes.

One count, because two would be a gap to earn in: a client that is charged by the answer's `usage`, and a node that is
paid by its Receipt, could be one and the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from coordinator.lifecycle import wording
from coordinator.lifecycle.money import Tokens, estimate, number
from coordinator.lifecycle.order import Terms
from coordinator.lifecycle.ports import Vocabularies
from coordinator.lifecycle.wording import Wording
from coordinator.protocol.report import Receipt

Json = Mapping[str, Any]
_UNLIMITED: Final = 2**63
# One in so many. What a model writes is not always cut as its tokenizer would cut it: measured on llama.cpp at
# temperatures 0.7 to 1.5, 400 tokens each, the recount was 0.2 to 0.7 % short.
ODD_CUTS: Final = 50


class NoVocabularies:
    """Bytes bound everything."""

    async def count(self, model: str, *texts: list[str]) -> list[int] | None:
        return None


async def earned(
    vocabularies: Vocabularies,
    terms: Terms,
    request: Json,
    answer: Json,
    receipt: Receipt,
    context_length: int | None = None,
) -> Tokens:
    """`request` and `answer`: parsed, the latter one of the endpoint's by its shape."""
    prompt, completion = wording.read(request, terms.endpoint), wording.written(request, answer)
    counts = await vocabularies.count(terms.model, prompt.texts, completion.texts)
    each = min(wording.limit_asked(request) or _UNLIMITED, context_length or _UNLIMITED)
    most = Tokens(len(terms.request), each * wording.choices_asked(request, terms.endpoint))
    found = Tokens(*counts) if counts else None
    return settled(claimed(answer, receipt), (prompt, completion), found, most)


def settled(
    claim: tuple[int | None, int | None], texts: tuple[Wording, Wording], found: Tokens | None, most: Tokens
) -> Tokens:
    """`found`: what the tokenizer counts in the texts; None where there is none. Prompt first, everywhere."""
    prompt, completion = texts
    if found is not None:
        return Tokens(
            _least(claim[0], found.prompt, found.prompt + prompt.extra, most.prompt),
            _least(claim[1], found.completion, _allowed(found.completion, completion), most.completion),
        )
    size = completion.size  # no allowance here: bytes are bound enough
    return Tokens(
        _least(claim[0], estimate(most.prompt), most.prompt, most.prompt),
        _least(claim[1], estimate(size), size, most.completion),
    )


def _allowed(found: int, text: Wording) -> int:
    return found + found // ODD_CUTS + text.extra


def _least(claim: int | None, unclaimed: int, bound: int, most: int) -> int:
    return min(most, unclaimed if claim is None else min(claim, bound))


def claimed(answer: Json, receipt: Receipt) -> tuple[int | None, int | None]:
    """Prompt and completion; None where neither Receipt nor usage says a number above 0, as with servers that don't."""
    said = answer.get("usage")
    usage = said if isinstance(said, Mapping) else {}
    prompt = _said(receipt.prompt_tokens, usage.get("prompt_tokens"))
    completion = _said(receipt.completion_tokens, usage.get("completion_tokens"))
    return prompt, None if completion is None else _of_all_choices(completion, answer)


def _said(*numbers: Any) -> int | None:
    return min((value for value in map(number, numbers) if value), default=None)


def _of_all_choices(said: int, answer: Json) -> int | None:
    """llama.cpp's server counts the first of several choices."""
    choices = answer.get("choices")
    if "timings" not in answer or not isinstance(choices, list) or len(choices) < 2:
        return said
    sizes = [wording.written({}, {"choices": [choice]}).size for choice in choices]
    return -(-said * sum(sizes) // sizes[0]) if sizes[0] else None
