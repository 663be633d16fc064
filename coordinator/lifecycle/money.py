"""What a request costs: whole nano-dollars, a token at a time. No fraction and no float comes near it.

bill (most it can cost, set aside before it runs) ──► counted tokens, within the bill's bounds ──► charge ≤ bill
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import orjson

NANO: Final = 10**9
_MILLION: Final = 10**6
# Ten thousand dollars for a million tokens: what the largest request costs then is still exact in a script's doubles.
MAX_NANO_PER_TOKEN: Final = 10**7
# Where a model server says nothing of tokens. Measured on English and code: 3.5 to 4.5 bytes each.
_BYTES_PER_TOKEN: Final = 4


def per_token(dollars_per_million: Decimal) -> int:
    """Nano-dollars. Raises ValueError for a price that is no whole number of them, or beyond all measure."""
    exact = dollars_per_million * NANO / _MILLION
    if exact != int(exact):
        raise ValueError("must have at most 3 decimals: a token is charged in whole billionths of a dollar")
    if exact > MAX_NANO_PER_TOKEN:
        raise ValueError(f"must be at most {MAX_NANO_PER_TOKEN * _MILLION // NANO}")
    return int(exact)


def dollars(nano: int) -> str:
    """Exact, in plain digits: 1500000 is "0.0015"."""
    sign, (whole, rest) = "-" if nano < 0 else "", divmod(abs(nano), NANO)
    return f"{sign}{whole}.{rest:09d}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What went in and what came out."""

    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars a token."""

    prompt: int
    completion: int

    def of(self, tokens: Tokens) -> int:
        return tokens.prompt * self.prompt + tokens.completion * self.completion


FREE: Final = Price(0, 0)


@dataclass(frozen=True, slots=True)
class Bill:
    """Whom a request is counted to, and charged to if it has a price. `most`: it is never charged for more tokens."""

    account: str
    key_id: str
    mode: str
    model: str
    price: Price
    most: Tokens

    @property
    def amount(self) -> int:
        """What it can cost at most, in nano-dollars."""
        return self.price.of(self.most)


def counted(answer: bytes, request_bytes: int) -> Tokens:
    """The tokens of an upstream's answer: what it says, within what the text can hold. A node's: earnings.py.

    A token is at least one byte of text; where nothing is said, a text counts a token for every four bytes.
    """
    body = _parsed(answer)
    choices = body.get("choices")
    texts = [_text_bytes(choice) for choice in choices] if isinstance(choices, list) else []
    return bounded(body.get("usage"), request_bytes, texts, first_only="timings" in body)


def bounded(usage: Any, request_bytes: int, texts: list[int], *, first_only: bool = False) -> Tokens:
    """`texts`: bytes of each choice. `first_only`: the server is one that counts the first of several (llama.cpp)."""
    said = usage if isinstance(usage, Mapping) else {}
    prompt, completion = number(said.get("prompt_tokens")), number(said.get("completion_tokens"))
    total = sum(texts)
    if completion is not None and first_only and len(texts) > 1:
        completion = -(-completion * total // texts[0]) if texts[0] else None
    return Tokens(
        estimate(request_bytes) if prompt is None else min(prompt, request_bytes),
        estimate(total) if completion is None else min(completion, total),
    )


def text_bytes(part: Any) -> int:
    """Bytes of all text in a message, a delta or a tool call; an answer's tokens are no more than that."""
    size, left = 0, [part]
    while left:  # not by recursion: an upstream's JSON may be nested deeper than Python's stack
        value = left.pop()
        if isinstance(value, str):
            size += len(value) if value.isascii() else len(value.encode(errors="surrogatepass"))
        elif isinstance(value, dict):
            left += [inner for name, inner in value.items() if name != "role"]
        elif isinstance(value, list):
            left += value
    return size


def _text_bytes(choice: Any) -> int:
    if not isinstance(choice, Mapping):
        return 0
    return text_bytes(choice.get("message")) + text_bytes(choice.get("text"))


def estimate(size: int) -> int:
    """Tokens of a text of `size` bytes that nobody has counted."""
    return -(-size // _BYTES_PER_TOKEN)


def number(value: Any) -> int | None:
    """A count as JSON has it; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _parsed(answer: bytes) -> Mapping[str, Any]:
    try:
        body = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}
