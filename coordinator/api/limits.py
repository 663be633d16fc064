"""The gate in front of everything that costs something: who calls, may they, and is it within their limits.

One question to the store a request. What it says of the limits goes out with the response, whatever that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final

from starlette.types import Scope

from coordinator.api.credentials import Origins
from coordinator.api.ports import KeyBook
from coordinator.errors import RateLimited, RelayError
from coordinator.lifecycle.caller import Admitted, Allowance, Caller, Credential
from coordinator.lifecycle.order import Mode

# Headers for the response to a request, whoever builds it: the front door adds what a handler has put here.
RESPONSE_HEADERS: Final = "relay.response_headers"
# What the front door calls once the client has its answer, or has gone.
AT_THE_END: Final = "relay.at_the_end"


@dataclass(frozen=True, slots=True)
class Gate:
    """`credential` first, before the body is read; then `admit`, or `turn_away` when the body is no good."""

    keys: KeyBook
    origins: Origins = field(default_factory=Origins)

    def credential(self, scope: Scope) -> Credential:
        """Without asking the store. Raises InvalidApiKey for what can't be a key."""
        return self.origins.credential(scope)

    async def admit(
        self, scope: Scope, credential: Credential, choices: Mapping[Mode, str], *, waits: bool = False
    ) -> Admitted:
        """Counts the request. `choices`: the modes it may run in, the preferred first, each with its scope.

        One whose client `waits` for the answer takes up room, in direct mode, until the front door has answered it.

        Raises InvalidApiKey, KeyRevoked, ScopeDenied, ModelNotAvailable, RateLimited, StoreUnavailable.
        """
        try:
            admitted = await self.keys.admit(credential, choices, scope["request_id"] if waits else "")
        except RateLimited as error:
            if error.allowance is not None:
                _say(scope, error.allowance)
            raise
        if waits and admitted.mode == "direct":
            scope[AT_THE_END] = partial(self.keys.ended, admitted.caller.id, scope["request_id"])
        _say(scope, admitted.allowance)
        return admitted

    async def turn_away(self, credential: Credential, error: RelayError) -> RelayError:
        """`error`, or what is wrong with the key: that comes first. Nothing is counted."""
        if credential.api_key is not None:
            await self.keys.identify(credential)
        return error

    async def identify(self, scope: Scope) -> Caller:
        """Who calls, where that is all there is to know. Raises InvalidApiKey, KeyRevoked."""
        return await self.keys.identify(self.credential(scope))


def _say(scope: Scope, allowance: Allowance) -> None:
    """As OpenAI's clients know it."""
    scope.setdefault(RESPONSE_HEADERS, []).extend(
        [
            (b"x-ratelimit-limit-requests", b"%d" % allowance.limit),
            (b"x-ratelimit-remaining-requests", b"%d" % allowance.remaining),
            (b"x-ratelimit-reset-requests", duration(allowance.reset).encode()),
        ]
    )


def duration(span: timedelta) -> str:
    """As Go writes it, which is what OpenAI sends: 0s, 120ms, 7.5s, 1m0s."""
    milliseconds = -(-span // timedelta(milliseconds=1))
    if milliseconds == 0:
        return "0s"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
