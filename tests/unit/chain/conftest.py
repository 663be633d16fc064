"""Here the chain is a fake; tests/integration/chain runs the same tests on anvil with the real contracts."""

from __future__ import annotations

import pytest

from tests.fakes.chain_networks import FakeNetwork, Network


@pytest.fixture
def network() -> Network:
    return FakeNetwork()
