"""Amounts of a chain's own coin, for people."""

from __future__ import annotations

_WEI = 10**18
_GWEI = 10**9


def coins(wei: int) -> str:
    """Exact: "0.3 ETH", or "5 wei" where the decimals would be too many to read. Every chain's coin is called ETH."""
    if wei % _GWEI and wei < _WEI:
        return f"{wei} wei"
    whole, rest = divmod(wei, _WEI)
    decimals = f"{rest:018d}".rstrip("0")
    return f"{whole}.{decimals} ETH" if decimals else f"{whole} ETH"
