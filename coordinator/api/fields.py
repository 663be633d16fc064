"""What becomes of the fields that OpenAI's clients send today beyond the published request. The one table of it: the
README's is written from it, and a test holds them equal.

passed on   to the model server, whoever runs it
direct only passed on to a managed upstream; a node is a stranger, and gets nothing that says who asks or keeps the text
ignored     accepted and dropped: it changes no answer here
refused     422 with the reason: in silence it would change what the client gets or pays

Anything that is neither here nor in a request's schema is refused as well, as an unknown field.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Fate(StrEnum):
    PASSED = "passed on"
    DIRECT = "direct only"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Row:
    """`why` is shown to the client of a refused field, after its name."""

    fate: Fate
    why: str


FIELDS: Final[dict[str, Row]] = {
    "parallel_tool_calls": Row(Fate.PASSED, "and checked: several calls after `false` are a 400"),
    "prediction": Row(Fate.PASSED, "a server that knows it answers sooner; the others ignore it"),
    "verbosity": Row(Fate.PASSED, "low, medium or high; a 400 from a server known not to do it"),
    "user": Row(Fate.DIRECT, "names the client's own user"),
    "safety_identifier": Row(Fate.DIRECT, "names the client's own user; at most 128 characters"),
    "metadata": Row(Fate.DIRECT, "names what the client likes; at most 16 pairs of 64 and 512 characters"),
    "store": Row(Fate.DIRECT, "a wish that the text be kept"),
    "prompt_cache_key": Row(Fate.DIRECT, "often a user's or a conversation's id"),
    "prompt_cache_retention": Row(Fate.DIRECT, "a wish that the text be kept"),
    "prompt_cache_options": Row(Fate.DIRECT, "a wish that the text be kept"),
    "service_tier": Row(Fate.IGNORED, "there is one tier here, and what an upstream bills is the operator's to choose"),
    "modalities": Row(Fate.IGNORED, 'when it is `["text"]`; with anything else in it, refused'),
    "audio": Row(Fate.REFUSED, "this relay serves text alone"),
    "web_search_options": Row(Fate.REFUSED, "this relay searches no web; offer a search as one of your tools"),
    "moderation": Row(Fate.REFUSED, "this relay moderates nothing; call a moderation model yourself"),
    "functions": Row(Fate.REFUSED, "deprecated by OpenAI; use tools"),
    "function_call": Row(Fate.REFUSED, "deprecated by OpenAI; use tool_choice"),
}


def of(fate: Fate) -> frozenset[str]:
    return frozenset(name for name, row in FIELDS.items() if row.fate is fate)


def refusal_of(name: object) -> str | None:
    """Why a field that is in no schema is refused, where there is more to say than that it is unknown."""
    row = FIELDS.get(name) if isinstance(name, str) else None
    return row.why if row is not None and row.fate is Fate.REFUSED else None


def readme_table() -> str:
    """As the README has it."""
    lines = [f"| `{name}` | {row.fate} | {row.why} |" for name, row in FIELDS.items()]
    return "\n".join(["| field | what becomes of it | |", "|---|---|---|", *lines])
