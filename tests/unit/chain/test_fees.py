from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.chain.batch import Signed
from coordinator.chain.fees import GWEI, FeePolicy, Fees

WEI = st.integers(0, 2000 * GWEI)


def test_twice_the_base_fee_and_the_tip() -> None:
    assert FeePolicy(cap=100).fresh(10, 3) == Fees(23, 3)


def test_the_cap_holds() -> None:
    assert FeePolicy(cap=100).fresh(90, 300) == Fees(100, 100)
    assert FeePolicy(cap=100).bumped(Signed("0x", 95, 1), 10, 1) is None


@given(base=WEI, tip=WEI, old_base=WEI, old_tip=WEI)
def test_a_bump_is_enough_to_replace_what_waits(base: int, tip: int, old_base: int, old_tip: int) -> None:
    policy = FeePolicy()
    old = policy.fresh(old_base, old_tip)
    new = policy.bumped(Signed("0x", old.max_fee, old.tip), base, tip)
    if new is None:
        assert old.max_fee * 110 > policy.cap * 100
    else:
        assert new.max_fee * 100 >= old.max_fee * 110
        assert new.max_fee <= policy.cap
        assert new.tip <= new.max_fee
        assert new.tip * 100 >= old.tip * 110 or new.tip == new.max_fee


@given(base=WEI, tip=WEI)
def test_fees_always_hang_together(base: int, tip: int) -> None:
    fees = FeePolicy().fresh(base, tip)
    assert 0 <= fees.tip <= fees.max_fee <= FeePolicy().cap
