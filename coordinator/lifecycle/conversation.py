"""Which request goes on with which: digests of their beginnings, so that a conversation's next turn can go to the node
that has what was said so far in its model server's cache. Nothing is stored but digests, and a client's are its own:
nobody finds out by them what somebody else has asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final

import orjson

# How far back the turn may lie that a node has in its cache: a call of several tools adds a message for each result.
EARLIER: Final = 16
# A text prompt has no turns: it begins like another one where so many bytes more are the same.
_BLOCK: Final = 256
# What a chat template puts in front of the messages.
_FRAME: Final = ("tools", "chat_template_kwargs", "reasoning_effort")


def prefixes(client: str, model: str, fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Of a chat or text completion: the digest of all of it, then those of its beginnings, the longest first.

    Empty for what has no beginning to speak of. A first turn has nothing before it, but will be found by the second.
    """
    parts = list(_parts(fields))
    digest = blake2b(orjson.dumps([client, model, *(fields.get(name) for name in _FRAME)]), digest_size=16)
    found: list[str] = []
    for number, part in enumerate(parts):
        digest.update(b"%d:" % len(part))
        digest.update(part)
        if number >= len(parts) - 1 - EARLIER:
            found.append(digest.hexdigest())
    return tuple(reversed(found))


def _parts(fields: Mapping[str, Any]) -> Iterable[bytes]:
    messages, prompt = fields.get("messages"), fields.get("prompt")
    if isinstance(messages, list):
        return (orjson.dumps(message, option=orjson.OPT_SORT_KEYS) for message in messages)
    if isinstance(prompt, str):
        text = prompt.encode()
        return (text[start : start + _BLOCK] for start in range(0, len(text) - _BLOCK + 1, _BLOCK))
    return ()
