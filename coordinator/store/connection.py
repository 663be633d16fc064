"""One place that knows how to reach Redis."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

# A dropped connection is tried again at once; a Redis that is down is reported within a second, not waited for.
_RETRIES = 3


def connect(url: SecretStr) -> Redis:
    """A client on a pool of its own. Bytes in, bytes out: bodies are never re-encoded."""
    return Redis.from_url(
        url.get_secret_value(),
        socket_timeout=10,
        socket_connect_timeout=2,
        socket_keepalive=True,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), _RETRIES),
        retry_on_error=[RedisConnectionError],
    )


def broker_address(url: SecretStr) -> str:
    """host:port of the store's own address, for nodes that reach Redis where the coordinator does."""
    parts = urlsplit(url.get_secret_value())
    return f"{parts.hostname}:{parts.port or 6379}"
