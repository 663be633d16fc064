"""The look at a webhook's URL when a task is submitted with it."""

from __future__ import annotations

import asyncio
import socket
from datetime import timedelta
from typing import Final

from coordinator.errors import InvalidRequest
from coordinator.webhooks.ports import Resolver
from coordinator.webhooks.resolving import AddressRefused, check
from coordinator.webhooks.targets import Target, TargetRefused, parse

# A submit waits no longer for a name server; every attempt checks the address anyway.
PATIENCE: Final = timedelta(seconds=3)
_NO_SUCH_NAME: Final = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


class Targets:
    """Raises InvalidRequest (422) that names the field."""

    def __init__(self, names: Resolver, *, allow_private: bool, patience: timedelta = PATIENCE) -> None:
        self._names, self._allow_private, self._patience = names, allow_private, patience.total_seconds()

    def receiver(self, url: str) -> str:
        """Host and port, once the URL itself is good."""
        return self._parsed(url).receiver

    async def resolve(self, url: str) -> None:
        """Whether its host exists and is public, as far as name servers say within the patience."""
        target = self._parsed(url)
        try:
            async with asyncio.timeout(self._patience):
                for address in await self._names.addresses(target.host, target.url.port or 0):
                    check(address, allow_private=self._allow_private)
        except AddressRefused:
            raise _refused("must not lead to a private, local or reserved address") from None
        except TimeoutError:
            return
        except UnicodeError:
            raise _refused("must name a host") from None
        except OSError as error:
            if error.errno in _NO_SUCH_NAME:
                raise _refused("must name a host that exists") from None

    def _parsed(self, url: str) -> Target:
        try:
            return parse(url, allow_private=self._allow_private)
        except TargetRefused as refused:
            raise _refused(str(refused)) from None


def _refused(message: str) -> InvalidRequest:
    details: list[dict[str, object]] = [{"type": "webhook_target", "loc": ["body", "webhook_url"], "msg": message}]
    return InvalidRequest(f"webhook_url: {message}", details=details)
