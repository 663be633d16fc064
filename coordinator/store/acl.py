"""A Redis user for each node's session, that can touch the keys of its own queue and nothing else."""

from __future__ import annotations

import hashlib
import secrets
from urllib.parse import quote

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from coordinator.protocol.envelope import key_prefix, queue_name
from coordinator.protocol.session import BrokerCredential
from coordinator.store.scripts import unavailable

log = structlog.get_logger(__name__)

# All that a node's consumer sends. redis-py 8 tries `client|maint_notifications`
# as well, which Redis 7 refuses to name in a rule: one harmless denial a connection in the ACL log.
_COMMANDS = ["hello", "ping", "select", "client|setname", "client|setinfo", "brpop"]


class BrokerUsers:
    """Makes and removes the users. `address` is host:port as nodes reach it."""

    def __init__(self, redis: Redis, address: str, *, tls: bool = False) -> None:
        self._redis, self._address, self._scheme = redis, address, "rediss" if tls else "redis"

    @property
    def where(self) -> str:
        """Scheme, host and port, without a credential."""
        return f"{self._scheme}://{self._address}"

    async def grant(self, node: str) -> BrokerCredential:
        """A new password, and an end to every connection made with an old one."""
        password, name, prefix, queue = secrets.token_hex(24), f"node-{node}", key_prefix(node), queue_name(node)
        digest = hashlib.sha256(password.encode()).hexdigest()
        rules = ["reset", "on", f"#{digest}", "resetchannels", "-@all"]
        rules += [f"+{command}" for command in _COMMANDS] + [f"~{prefix}{queue}"]
        with unavailable():
            await self._redis.execute_command("ACL", "SETUSER", name, *rules)  # type: ignore[no-untyped-call]
            await self._redis.execute_command("CLIENT", "KILL", "USER", name)  # type: ignore[no-untyped-call]
            await self._save()
        url = f"{self._scheme}://{quote(name)}:{password}@{self._address}/0"
        return BrokerCredential(url=url, queue=queue, key_prefix=prefix)

    async def revoke(self, node: str) -> None:
        with unavailable():
            await self._redis.execute_command("ACL", "DELUSER", f"node-{node}")  # type: ignore[no-untyped-call]
            await self._save()

    async def _save(self) -> None:
        """Without it a restarted Redis has forgotten the nodes, and every one of them has to sign in anew."""
        try:
            await self._redis.execute_command("ACL", "SAVE")  # type: ignore[no-untyped-call]
        except ResponseError:
            log.warning("acl_not_saved", remedy="start Redis with an aclfile, so that nodes survive its restart")
