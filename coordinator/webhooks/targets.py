"""Where a webhook may go: https, a public host, nothing that two parsers could read in two ways. No I/O.

Checked when a task is submitted, and again at every attempt: the URL, and each address that is connected to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from yarl import URL

# Anything else belongs percent-encoded or, in a host, in punycode; a backslash is a slash to some parsers.
_PLAIN: Final = re.compile(r"[!-\[\]-~]+")
_NAME: Final = re.compile(
    r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
)
# The last label of a name that resolvers take for a number: 2130706433, 0x7f.1, 127.1 (WHATWG URL, 3.5).
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PRIVATE_NAMES: Final = ("localhost", "local", "internal", "lan", "home.arpa")

# IANA's special-purpose registries (2025): all that is not globally reachable, or goes to more than one.
_CLOSED_4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
            "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        ),
    )
)  # fmt: skip
# Global unicast is 2000::/3 alone, without protocol assignments and Teredo, documentation, 6to4, AS112.
_OPEN_6: Final = IPv6Network("2000::/3")
_CLOSED_6: Final = tuple(
    map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"))
)
# What a NAT64 gateway takes for an IPv4 address in its last 32 bits (RFC 6052).
_NAT64: Final = IPv6Network("64:ff9b::/96")


class TargetRefused(Exception):
    """The message names the rule, and nothing of the URL."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was checked. `host` is what will be resolved; `receiver` host and port."""

    url: URL
    host: str
    receiver: str


def parse(text: str, *, allow_private: bool) -> Target:
    """Raises TargetRefused. With `allow_private` (tests, private networks) http and private hosts may be."""
    if not _PLAIN.fullmatch(text):
        raise TargetRefused("must be written in printable ASCII without spaces and backslashes")
    try:
        url = URL(text)
        host, port = url.raw_host, url.explicit_port or url.port
    except ValueError:
        raise TargetRefused("is no URL") from None
    if url.scheme != "https" and not (allow_private and url.scheme == "http"):
        raise TargetRefused("must begin with https://")
    if "@" in re.split("[/?#]", text.partition("://")[2])[0]:
        raise TargetRefused("must hold no user name and no password; a secret may stand in its path")
    if url.raw_fragment or "#" in text:
        raise TargetRefused("must hold no fragment")
    if not host or not port:
        raise TargetRefused("must name a host")
    _check_host(host.lower(), allow_private)
    return Target(url, host.lower(), f"{host.lower()}:{port}")


def _check_host(host: str, allow_private: bool) -> None:
    if (address := _literal(host)) is not None:
        if not allow_private and not is_public(address):
            raise TargetRefused("must not lead to a private, local or reserved address")
        return
    if host.endswith("."):
        raise TargetRefused("must name its host without a dot at the end")
    if not _NAME.fullmatch(host):
        raise TargetRefused("must name a host, or an address in its usual form")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        raise TargetRefused("must have an address in its usual form: four decimal numbers")
    private = "." not in host or any(host == name or host.endswith("." + name) for name in _PRIVATE_NAMES)
    if private and not allow_private:
        raise TargetRefused("must name a public host")


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that `host` is, in the one form that every parser reads alike."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is one host's anywhere on the internet."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_4)
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _OPEN_6 and not any(address in network for network in _CLOSED_6)
