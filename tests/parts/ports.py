"""Ports for servers of tests that run side by side, and that are killed and started again on the same port."""

from __future__ import annotations

import os

from scripts.network import home

_given: set[int] = set()


def free_port() -> int:
    """One that no other test has, nor will have: each of xdist's workers has its own, and gives none twice.

    `home.free_port` alone may say the same to two that ask before the first one's server listens.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while (port := home.free_port(but=_given)) % workers != worker:
        pass
    _given.add(port)
    return port
