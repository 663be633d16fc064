"""Names to addresses, on threads of its own: a name server that says nothing stalls nobody but webhooks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

from coordinator.webhooks.ports import Resolver
from coordinator.webhooks.targets import is_public


class AddressRefused(PermissionError):
    """A name, or a connection, leads where no webhook may go. An OSError, so that aiohttp takes it for a failed one."""


class SystemResolver:
    """As this machine resolves names, hosts file included."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, "webhook-names")

    async def addresses(self, host: str, port: int) -> Sequence[IPv4Address | IPv6Address]:
        """Raises socket.gaierror."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [ip_address(address[0]) for *_, address in found]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class PinningResolver(AbstractResolver):
    """For aiohttp: the addresses handed out are those that were checked, and nobody resolves the name again.

    A name with one private address is refused as a whole.
    """

    def __init__(self, names: Resolver, *, allow_private: bool) -> None:
        self._names, self._allow_private = names, allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises AddressRefused, OSError."""
        addresses = await self._names.addresses(host, port)
        for address in addresses:
            check(address, allow_private=self._allow_private)
        return [
            {
                "hostname": host,
                "host": str(address),
                "port": port,
                "family": socket.AF_INET if address.version == 4 else socket.AF_INET6,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for address in addresses
        ]

    async def close(self) -> None:
        pass


def check(address: IPv4Address | IPv6Address, *, allow_private: bool) -> None:
    """Raises AddressRefused."""
    if not allow_private and not is_public(address):
        raise AddressRefused("the address is private, local or reserved")
