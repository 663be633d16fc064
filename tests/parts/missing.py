"""A real part that is missing skips a test locally and fails it in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false", "no")


def missing(what: str) -> NoReturn:
    if IN_CI:
        pytest.fail(f"{what} (CI skips nothing)")
    pytest.skip(what)
