"""What stops a command of this room."""

from __future__ import annotations


class StakingError(Exception):
    """Whole sentences for the provider: what is wrong, and what to do. Holds no key, password or endpoint's URL."""


class Unreachable(StakingError):
    """The endpoint gave no answer, or none that makes sense: what it was asked to do may be done all the same."""


class Interrupted(StakingError):
    """By Ctrl-C, when it was too late to take a transaction back."""


class Refused(Exception):
    """The contract says no: `name` and `arguments` of its custom error, or only what the endpoint says of it."""

    def __init__(self, name: str, arguments: tuple[object, ...] = ()) -> None:
        super().__init__(name, arguments)
        self.name, self.arguments = name, arguments
