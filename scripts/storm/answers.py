"""The one right answer to each prompt: what the backends say, and what the ledger holds the relay to."""

from __future__ import annotations

import hashlib

_WORDS = ("calm", "storm", "rain", "wind", "cloud", "light", "thunder", "gale", "haze", "frost", "dew", "hail", "mist")
_FEWEST, _MOST = 6, 20


def answer_for(prompt: str) -> list[str]:
    """Words, each with the space before it, that no other prompt has: joined, they are the answer."""
    digest = hashlib.blake2b(prompt.encode(), digest_size=32).digest()
    length = _FEWEST + digest[0] % (_MOST - _FEWEST + 1)
    return [digest[1:9].hex(), *(f" {_WORDS[digest[9 + at] % len(_WORDS)]}" for at in range(length - 1))]
