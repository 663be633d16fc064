"""Money and blame."""

from __future__ import annotations

import pytest

from coordinator.lifecycle.money import Tokens
from coordinator.lifecycle.policy import Pay, client_error
from coordinator.protocol.report import Failure, FailureCode


def test_a_node_is_paid_for_counted_tokens_in_whole_wei() -> None:
    assert Pay(wei_per_prompt_token=2, wei_per_completion_token=3).amount(Tokens(5, 7)) == 31


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
