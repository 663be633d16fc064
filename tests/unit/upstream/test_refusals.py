"""What an upstream's failure means to a client."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import aiohttp
import orjson
import pytest

from coordinator.errors import (
    CapacityExhausted,
    ProviderUnavailable,
    RelayError,
    UpstreamError,
    UpstreamInvalidRequest,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from coordinator.upstream.refusals import of_error_frame, of_exception, of_status, worst


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, UpstreamInvalidRequest) for status in (400, 409, 413, 415, 422, 501)),
        *((status, ProviderUnavailable) for status in (401, 402, 403, 404, 405, 407)),
        *((status, UpstreamError) for status in (204, 301, 500, 502, 504, 529, 599)),
        (408, UpstreamTimeout),
        (429, UpstreamRateLimited),
        (503, CapacityExhausted),
    ],
)
def test_statuses(status: int, kind: type[RelayError]) -> None:
    error = of_status(status, {}, b'{"error":{"message":"words"}}')
    assert type(error) is kind
    assert (error.message == "words") == (kind is UpstreamInvalidRequest)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "seed is too large", "type": "x"}}, "seed is too large"),
        ({"error": "seed is too large"}, "seed is too large"),
        ({"object": "error", "message": "seed is too large"}, "seed is too large"),
        ({"detail": "seed is too large"}, "seed is too large"),
        ({"detail": [{"loc": ["body"]}]}, None),
        ([1], None),
        ("x", "x"),
        (None, None),
    ],
)
def test_the_upstreams_words(body: Any, message: str | None) -> None:
    expected = message or "The upstream refused the request with status 400."
    assert of_status(400, {}, orjson.dumps(body)).message == expected


def test_words_that_are_no_json_or_too_many() -> None:
    assert "status 400" in of_status(400, {}, b"<html>").message
    assert len(of_status(400, {}, orjson.dumps({"error": "x" * 9000})).message) == 2000


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), (" 7 ", 7), ("99999999", 3600), ("soon", 60), ("-1", 60), ("", 60), ("٣", 60), ("9" * 400, 60)],
)
def test_retry_after(value: str, seconds: float) -> None:
    error = of_status(429, {"Retry-After": value}, b"")
    assert error.retry_after == timedelta(seconds=seconds)


def test_retry_after_as_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    left = of_status(503, {"Retry-After": later}, b"").retry_after
    assert left is not None
    assert timedelta(seconds=25) < left <= timedelta(seconds=30)
    past = format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)
    assert of_status(503, {"Retry-After": past}, b"").retry_after == timedelta(0)


def test_connections() -> None:
    assert type(of_exception(aiohttp.ConnectionTimeoutError())) is ProviderUnavailable
    assert type(of_exception(aiohttp.ServerTimeoutError())) is UpstreamTimeout
    assert type(of_exception(TimeoutError())) is UpstreamTimeout
    assert type(of_exception(aiohttp.ServerDisconnectedError())) is UpstreamError
    assert type(of_exception(aiohttp.ClientPayloadError())) is UpstreamError


def test_error_frames() -> None:
    told = of_error_frame({"message": "too long", "code": 400})
    assert (type(told), told.message) == (UpstreamInvalidRequest, "too long")
    assert type(of_error_frame({"message": "x", "code": "server_error"})) is UpstreamError
    assert type(of_error_frame("x")) is UpstreamError


def test_of_many_failures_the_one_that_says_most() -> None:
    limited, unreachable, broke = UpstreamRateLimited("a"), ProviderUnavailable("b"), UpstreamError("c")
    assert worst([limited, broke, unreachable]) is broke
    assert worst([unreachable, limited]) is limited
    assert worst([UpstreamInvalidRequest("d"), unreachable]) is unreachable
    assert isinstance(worst([]), ProviderUnavailable)
