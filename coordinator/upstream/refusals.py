"""What an upstream's failure means to a client, and whether another upstream may be tried.

429                       UpstreamRateLimited     another
503                       CapacityExhausted       another
401 402 403 404 405 407   ProviderUnavailable     another: the relay's credential or configuration is at fault
408, no answer in time    UpstreamTimeout         none: somebody took the work
other 4xx, 501            UpstreamInvalidRequest  none: it would be as invalid elsewhere
3xx, 5xx, no completion   UpstreamError           another
no connection             ProviderUnavailable     another
"""

from __future__ import annotations

import email.utils
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
import orjson

from coordinator.errors import (
    CapacityExhausted,
    ProviderUnavailable,
    RelayError,
    UpstreamError,
    UpstreamInvalidRequest,
    UpstreamRateLimited,
    UpstreamTimeout,
)

_OPERATORS_FAULT: Final = frozenset({401, 402, 403, 404, 405, 407})
_MAX_RETRY_AFTER: Final = timedelta(hours=1)
_MAX_MESSAGE: Final = 2000
# Of several failures the one that says most: work that was taken and failed, work nobody took, and last a parameter
# that those who are up can't do.
_RANK: Final = (
    UpstreamTimeout,
    UpstreamError,
    CapacityExhausted,
    UpstreamRateLimited,
    ProviderUnavailable,
    UpstreamInvalidRequest,
)


def worst(errors: Sequence[RelayError]) -> RelayError:
    """What the client is told once every upstream has failed."""
    nobody = ProviderUnavailable("No upstream serves this model.")
    return min(errors, key=lambda error: _RANK.index(type(error)), default=nobody)


def of_status(status: int, headers: Mapping[str, str], body: bytes) -> RelayError:
    """The failure behind an answer that is not 200. Only a client's own fault is told in the upstream's words."""
    if status == 429:
        message = "The upstream is rate limited. Try again later."
        return UpstreamRateLimited(message, retry_after=_retry_after(headers))
    if status == 503:
        return CapacityExhausted("The upstream has no room now. Try again later.", retry_after=_retry_after(headers))
    if status in _OPERATORS_FAULT:
        return ProviderUnavailable("The upstream does not accept requests from this relay.")
    if status == 408:
        return UpstreamTimeout("The upstream gave up waiting.")
    if 400 <= status < 500 or status == 501:
        return UpstreamInvalidRequest(_message(body) or f"The upstream refused the request with status {status}.")
    return UpstreamError(f"The upstream failed with status {status}.")


def of_error_frame(error: object) -> RelayError:
    """The failure behind a stream that began with an error frame; `error` is the value of that member."""
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, str) and code.isascii() and code.isdigit():
        code = int(code[:4])
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return of_status(status, {}, orjson.dumps({"error": error}))


def of_exception(error: aiohttp.ClientError | TimeoutError) -> RelayError:
    """The failure behind a connection that didn't come about, or broke."""
    if isinstance(error, aiohttp.ConnectionTimeoutError | aiohttp.ClientConnectorError):
        return ProviderUnavailable("The upstream can't be reached.")
    if isinstance(error, TimeoutError):
        return UpstreamTimeout("The upstream did not answer in time.")
    return UpstreamError("The connection to the upstream broke before the answer was whole.")


def _retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Seconds or an HTTP date (RFC 9110, 10.2.3); None when there is none that makes sense."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return min(timedelta(seconds=int(value)), _MAX_RETRY_AFTER)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    left = moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)
    return max(timedelta(0), min(left, _MAX_RETRY_AFTER))


def _message(body: bytes) -> str | None:
    """The words of OpenAI's, vLLM's, FastAPI's and llama.cpp's error bodies."""
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    return found[:_MAX_MESSAGE] if isinstance(found, str) else None
