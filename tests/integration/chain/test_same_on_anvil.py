"""What tests/unit/chain asks of a chain, asked of anvil with the real contracts."""

from tests.unit.chain.test_chain_port import *  # noqa: F403
