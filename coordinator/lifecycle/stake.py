"""What a provider has put up for a node, as the chain has it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stake:
    """`provider`: the cold key that registered the node. `wei`: 0 once slashed or withdrawn.

    `unbonds_at`: unix seconds from which it may be withdrawn; 0 while nobody wants that.
    """

    provider: str
    wei: int
    unbonds_at: int = 0

    def suffices(self, least_wei: int) -> bool:
        return self.unbonds_at == 0 and self.wei >= least_wei


@dataclass(frozen=True, slots=True)
class Registry:
    """The NodeRegistry whose stakes count. `min_stake_wei`: below it the contract itself calls a node inactive."""

    chain_id: int
    address: str
    min_stake_wei: int
    unbonding_seconds: int


@dataclass(frozen=True, slots=True)
class Seen:
    """Up to which block the stakes are known. The hash tells later whether that block is still part of the chain."""

    registry: Registry
    block: int
    block_hash: str
