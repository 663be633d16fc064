"""Hypothesis profiles, and the real parts (tests/parts) as fixtures for every test."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.fakes.lua import compile_once
from tests.parts.missing import IN_CI

pytest_plugins = ["tests.parts.servers", "tests.parts.network"]

_SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("local", max_examples=50, deadline=timedelta(seconds=5), suppress_health_check=_SLOW_IS_FINE)
settings.register_profile(
    "ci", max_examples=200, deadline=None, derandomize=False, print_blob=True, suppress_health_check=_SLOW_IS_FINE
)
settings.load_profile("ci" if IN_CI else "local")

compile_once()


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """What a test does to this process ends with the test: whoever runs a command in here has it set up the logs."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
