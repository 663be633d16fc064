"""One attempt: a POST to a stranger's server, which sees nothing but that and is believed nothing but its status."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_address
from typing import Any, Final

import aiohttp

from coordinator.lifecycle.webhooks import Outcome
from coordinator.webhooks.ports import Resolver
from coordinator.webhooks.resolving import AddressRefused, PinningResolver, check
from coordinator.webhooks.targets import TargetRefused, parse

# From the first packet to the receiver's status.
TIMEOUT: Final = timedelta(seconds=15)
_USER_AGENT: Final = "opengpu-relay-webhooks/1"


class HttpSender:
    """A connection each, so that nothing done to one reaches another. No redirect is followed."""

    def __init__(
        self,
        names: Resolver,
        *,
        allow_private: bool,
        timeout: timedelta = TIMEOUT,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """`trust`: other certificates than the system's, for tests."""
        self._names, self._allow_private = names, allow_private
        self._timeout, self._trust = aiohttp.ClientTimeout(total=timeout.total_seconds()), trust
        self._opened: aiohttp.ClientSession | None = None

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Raises nothing: whatever went wrong is the outcome."""
        try:
            target = parse(url, allow_private=self._allow_private)
            async with self._session().post(
                target.url,
                data=body,
                headers={"Content-Type": "application/json", "User-Agent": _USER_AGENT, **headers},
                allow_redirects=False,
            ) as response:
                return _outcome(response.status)
        except TargetRefused:
            return Outcome(None, "address_refused")
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return Outcome(None, _reason(error))

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            connector = aiohttp.TCPConnector(
                limit=0,
                force_close=True,
                use_dns_cache=False,
                resolver=PinningResolver(self._names, allow_private=self._allow_private),
                socket_factory=self._socket,
                ssl=self._trust or True,
            )
            self._opened = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._opened

    def _socket(self, info: Any) -> socket.socket:
        """Every connection is made on one of these, to `info`'s address: the last look, whoever chose it."""
        family, kind, protocol, _, address = info
        check(ip_address(address[0]), allow_private=self._allow_private)
        return socket.socket(family, kind, protocol)


def _outcome(status: int) -> Outcome:
    if 200 <= status < 300:
        return Outcome(status)
    return Outcome(status, "redirect_not_followed" if 300 <= status < 400 else "not_2xx")


def _reason(error: Exception) -> str:
    """A word for the deliveries list. The exception's own text may hold the URL."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, AddressRefused):
        return "address_refused"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, aiohttp.ClientSSLError) or isinstance(cause, ssl.SSLError):
        return "tls_failed"
    if isinstance(cause, socket.gaierror):
        return "name_not_resolved"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connection_failed"
    return "connection_lost"
