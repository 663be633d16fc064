"""Hypothesis profiles, and the real parts (tests/parts) as fixtures for every test."""

from __future__ import annotations

from datetime import timedelta

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
