"""EIP-1559 fees, pure. All in wei a gas."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.chain.batch import Signed

GWEI = 10**9
# A node replaces a waiting transaction only for at least 10 % more of both fees (geth's and reth's default).
_BUMP_NUMERATOR, _BUMP_DENOMINATOR = 9, 8
_LEAST_BUMP_PERCENT = 10


@dataclass(frozen=True, slots=True)
class Fees:
    max_fee: int
    tip: int


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """`cap`: what a gas may cost at most; above it a batch waits until the chain is cheaper or the cap is raised."""

    cap: int = 500 * GWEI

    def fresh(self, base_fee: int, tip: int) -> Fees:
        """Twice the base fee outlasts six full blocks in a row (each raises it by an eighth)."""
        max_fee = min(2 * base_fee + tip, self.cap)
        return Fees(max_fee, min(tip, max_fee))

    def bumped(self, last: Signed, base_fee: int, tip: int) -> Fees | None:
        """Enough to replace `last` and to be mined now; None when the cap forbids it."""
        fresh = self.fresh(base_fee, tip)
        max_fee = min(max(_raised(last.max_fee), fresh.max_fee), self.cap)
        if max_fee * 100 < last.max_fee * (100 + _LEAST_BUMP_PERCENT):
            return None
        return Fees(max_fee, min(max(_raised(last.tip), fresh.tip), max_fee))


def _raised(fee: int) -> int:
    return -(-fee * _BUMP_NUMERATOR // _BUMP_DENOMINATOR) + 1
