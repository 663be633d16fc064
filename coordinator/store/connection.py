"""One place that knows how to reach Redis."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

# A dropped connection is tried again at once; a Redis that is down is reported within a second, not waited for.
_RETRIES = 3
# A burst waits in line for one of these: redis-py's own pool refuses the 101st call of a moment.
_CONNECTIONS = 100


def connect(url: SecretStr, ca_file: Path | None = None) -> Redis:
    """A client on a pool of its own. Bytes in, bytes out: bodies are never re-encoded.

    `ca_file`: PEM certificates that a rediss:// server is checked against, beside those of the machine.
    """
    secure = url.get_secret_value().startswith("rediss://") and ca_file is not None
    pool = BlockingConnectionPool.from_url(
        url.get_secret_value(),
        **({"ssl_ca_certs": str(ca_file)} if secure else {}),
        max_connections=_CONNECTIONS,
        timeout=10,
        socket_timeout=10,
        socket_connect_timeout=2,
        socket_keepalive=True,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), _RETRIES),
        retry_on_error=[RedisConnectionError],
    )
    return Redis.from_pool(pool)


def broker_url(url: SecretStr, told: str | None) -> str:
    """Where nodes reach the broker, without a credential: `told` as it is, or with the store's scheme where it is
    host:port alone; without it, where the coordinator itself does."""
    parts = urlsplit(url.get_secret_value())
    if told is not None:
        return told if "://" in told else f"{parts.scheme}://{told}"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or 6379}"
