"""What a request came with: a key, or the address that a guest is known by. No key is ever taken for a guest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.types import Scope

from coordinator.errors import InvalidApiKey
from coordinator.lifecycle.caller import Credential

Headers = Iterable[tuple[bytes, bytes]]
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
# One customer of an IPv6 provider has at least a /64 of addresses; limits are his, not each address's.
_IPV6_SHARE: Final = 64
_NOWHERE: Final = "unknown"


def api_key(headers: Headers) -> str | None:
    """The key that was sent: X-API-Key wins over Authorization. Raises InvalidApiKey for what can't be one."""
    bearer = None
    for name, value in headers:
        if name == b"x-api-key":
            return value.decode("latin-1").strip()
        if name == b"authorization":
            bearer = value.decode("latin-1")
    if bearer is None:
        return None
    scheme, _, token = bearer.partition(" ")
    if scheme.lower() != "bearer":
        raise InvalidApiKey("The Authorization header must read: Bearer relay_sk_…")
    return token.strip()


@dataclass(frozen=True, slots=True)
class Origins:
    """Who sent a request, past the proxies that are believed: X-Forwarded-For is read from its right end.

    The first address that is no trusted proxy's counts; what stands to its left anybody may have written.
    """

    trusted: Sequence[Network] = ()

    def credential(self, scope: Scope) -> Credential:
        """Raises InvalidApiKey."""
        key = api_key(scope["headers"])
        return Credential(key, "" if key is not None else self.address(scope))

    def address(self, scope: Scope) -> str:
        """The guest's address; of an IPv6 address its network."""
        peer = _address(scope["client"][0]) if scope.get("client") else None
        if peer is None:
            return _NOWHERE
        for hop in reversed(_forwarded(scope["headers"]) if self._trusts(peer) else []):
            found = _address(hop)
            if found is None:  # whoever wrote this is believed no further
                break
            peer = found
            if not self._trusts(peer):
                break
        return _shown(peer)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self.trusted)


def _forwarded(headers: Headers) -> list[str]:
    lines = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    return [hop.strip() for hop in ",".join(lines).split(",")] if lines else []


def _address(text: str) -> Address | None:
    """Of `1.2.3.4`, `1.2.3.4:5`, `2001:db8::1`, `[2001:db8::1]:5`; an IPv4 address that came as IPv6 is one of IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def _shown(address: Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((address, _IPV6_SHARE), strict=False))
