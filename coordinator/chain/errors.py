"""What can go wrong between us and the chain.

ChainError
├── ChainUnavailable   the endpoint can't be reached or talks nonsense: wait, it passes
├── ChainRejected      the endpoint answered with an error: what was asked did not happen
├── Superseded         another chain writer has taken over: stop
└── StartRefused       settings, key and chain don't belong together: an operator has to act
"""

from __future__ import annotations


class ChainError(Exception):
    """Holds one line that may be logged: no key, no task id."""


class ChainUnavailable(ChainError):
    """No answer. What was sent may or may not have arrived."""


class ChainRejected(ChainError):
    """A JSON-RPC error. Its text is for people: nothing is decided by it, since every client words it differently."""


class Superseded(ChainError):
    """A second chain writer started on the same store; the newer one goes on, this one must not sign any more."""


class StartRefused(ChainError):
    """Names the setting and what to do."""

    def __init__(self, setting: str, problem: str, remedy: str) -> None:
        super().__init__(f"{setting}: {problem}. {remedy}")
        self.setting, self.problem, self.remedy = setting, problem, remedy
