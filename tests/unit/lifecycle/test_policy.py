"""Money and blame."""

from __future__ import annotations

import pytest

from coordinator.lifecycle.policy import Pay, client_error
from coordinator.protocol.report import Failure, FailureCode


def test_a_nodes_token_counts_are_bounded_by_the_text() -> None:
    pay = Pay(wei_per_prompt_token=2, wei_per_completion_token=3)
    honest = pay.amount(prompt_tokens=5, completion_tokens=7, request_bytes=100, answer_bytes=100)
    greedy = pay.amount(prompt_tokens=10**9, completion_tokens=10**9, request_bytes=100, answer_bytes=100)
    assert (honest, greedy) == (31, 500)


@pytest.mark.parametrize(
    ("code", "error", "status"),
    [
        (FailureCode.BACKEND_REFUSED, "UPSTREAM_INVALID_REQUEST", 400),
        (FailureCode.BACKEND_UNSUPPORTED, "UPSTREAM_INVALID_REQUEST", 400),
        (FailureCode.BACKEND_TIMEOUT, "UPSTREAM_TIMEOUT", 504),
        (FailureCode.BACKEND_ERROR, "UPSTREAM_ERROR", 502),
        (FailureCode.BACKEND_UNREACHABLE, "UPSTREAM_ERROR", 502),
    ],
)
def test_a_failure_reads_to_the_client_as_what_it_is(code: FailureCode, error: str, status: int) -> None:
    seen = client_error(Failure(code=code, message="n: at most 1"))
    assert (seen.code, seen.status) == (error, status)


def test_a_nodes_own_trouble_is_not_told_in_its_words() -> None:
    assert "10.0.0.7" not in client_error(Failure(code=FailureCode.BACKEND_ERROR, message="at 10.0.0.7")).message
