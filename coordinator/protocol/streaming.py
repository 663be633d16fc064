"""Which requests a node asks its backend for as a stream, so that it can tell when the first token came.

What the client gets is one body either way: the node puts it together again, and signs it. So it is done only where
servers say the same thing in a stream as they say in one piece.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from coordinator.protocol.envelope import Endpoint
from coordinator.protocol.shapes import inputs

_STREAMED: Final = frozenset({"chat/completions", "completions"})


def streams(request: Mapping[str, Any], endpoint: Endpoint) -> bool:
    """Whether an honest node says of this request when its first token came: what a deadline for it may rely on.

    Not with tools: servers parse calls out of a stream by other code than out of a whole text, and less well. Not
    several choices, whose counts llama.cpp gives in several frames, nor log-probabilities, of which it leaves out those
    of text that it held back (measured with xllamacpp 2026.10: 7 of 10). Not `best_of`, which no server can stream,
    and not `echo`, whose first words are no sign of work. A backend that can't stream at all has until that deadline
    for its whole answer: its node warns its operator of it.
    """
    if endpoint not in _STREAMED or request.get("tools") or request.get("echo"):
        return False
    log_probabilities = request.get("logprobs")  # 0 asks a text completion for those of its own tokens
    if not (log_probabilities is None or log_probabilities is False) or inputs(request.get("prompt")) > 1:
        return False
    return all(request.get(name) in (None, 1) for name in ("n", "best_of"))
