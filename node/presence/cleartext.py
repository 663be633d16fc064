"""What would go over the network for everybody on the way to read: prompts, answers, the broker's password."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

_REMEDY = {"http": "https://", "redis": "rediss://"}


def cleartext(url: str) -> str | None:
    """A sentence for the operator about an http:// or redis:// address that is not this machine's; None for others."""
    parts = urlsplit(url)
    if parts.scheme not in _REMEDY or _is_here(parts.hostname or ""):
        return None
    return (
        f"{parts.scheme}://{parts.hostname} is not encrypted: whoever is on the way can read every prompt and answer. "
        f"Ask the coordinator's operator for an {_REMEDY[parts.scheme]} address."
    )


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
