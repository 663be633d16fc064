"""Which requests a node asks its backend for as a stream, so that it can tell when the first token came.

What the client gets is one body either way: the node puts it together again, and signs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from coordinator.protocol.envelope import Endpoint

_STREAMED: Final = frozenset({"chat/completions", "completions"})


def streams(request: Mapping[str, Any], endpoint: Endpoint) -> bool:
    """Whether an honest node says of this request when its first token came: what a deadline for it may rely on.

    Not with tools: servers parse calls out of a stream by other code than out of a whole text, and less well. Not
    `best_of`, which no server can stream, and not `echo`, whose first words are no sign of work. A backend that can't
    stream at all has until that deadline for its whole answer: its node warns its operator of it.
    """
    if endpoint not in _STREAMED or request.get("tools") or request.get("echo"):
        return False
    best_of = request.get("best_of")
    return best_of is None or best_of == 1
