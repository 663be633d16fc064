"""A Redis user for each session of a node, that can touch the keys of its own queue and nothing else.

Every user is in `relay:users` (see session_prelude.lua), with the time when it goes, before it is made; whoever sweeps
removes those whose time has come. So none outlives its session, whichever process dies at whatever moment.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections.abc import Iterable
from datetime import timedelta
from urllib.parse import quote

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from coordinator.errors import StoreUnavailable
from coordinator.protocol.envelope import key_prefix, queue_name
from coordinator.protocol.session import BrokerCredential
from coordinator.store.scripts import unavailable

log = structlog.get_logger(__name__)

# All that a node's consumer sends. redis-py 8 tries `client|maint_notifications`
# as well, which Redis 7 refuses to name in a rule: one harmless denial a connection in the ACL log.
_COMMANDS = ["hello", "ping", "select", "client|setname", "client|setinfo", "brpop"]
_USERS = "relay:users"
_PREFIX = "node-"
# Of a session, or of a node as older versions had it. Other names are the operator's, whatever they begin with.
_OURS = re.compile(_PREFIX + r"0x[0-9a-fA-F]{40}(-[0-9a-f]{8})?")
# Redis writes its whole users file at once and does nothing else meanwhile, 46 ms with 1,000 users: those that sign in
# together share it, and what was removed waits for company.
_SAVE_EVERY = timedelta(milliseconds=250)
_FORGET_AFTER = timedelta(seconds=5)


def user_name(node: str, session: str) -> str:
    """As session_prelude.lua has it."""
    return f"{_PREFIX}{node}-{session[:8]}"


class UserGone(Exception):
    """The session ended while its user was made."""


class BrokerUsers:
    """Makes and removes the users. `where`: redis:// or rediss:// with host and port, as nodes reach it."""

    def __init__(self, redis: Redis, where: str) -> None:
        self._redis, self.where = redis, where
        self._database = redis.connection_pool.connection_kwargs.get("db") or 0
        self._saving: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._going: set[str] = set()
        self._forgetting: asyncio.Task[None] | None = None

    async def grant(self, node: str, session: str) -> BrokerCredential:
        """For a session that the store has. Raises UserGone."""
        password, name, prefix, queue = (
            secrets.token_hex(24), user_name(node, session), key_prefix(node), queue_name(node)
        )  # fmt: skip
        digest = hashlib.sha256(password.encode()).hexdigest()
        rules = ["reset", "on", f"#{digest}", "resetchannels", "-@all"]
        rules += [f"+{command}" for command in _COMMANDS] + [f"~{prefix}{queue}"]
        with unavailable():
            pipe = self._redis.pipeline(transaction=False)
            pipe.execute_command("ACL", "SETUSER", name, *rules)
            pipe.zscore(_USERS, name)
            pipe.time()
            _, goes, (seconds, _) = await pipe.execute()
            if goes is None or goes / 1000 < seconds + 1:  # it was to be removed before it was there
                await self._redis.execute_command("ACL", "DELUSER", name)  # type: ignore[no-untyped-call]
                raise UserGone
            await self._save()
        scheme, address = self.where.split("://")
        url = f"{scheme}://{quote(name)}:{password}@{address}/{self._database}"
        return BrokerCredential(url=url, queue=queue, key_prefix=prefix)

    async def remove(self, names: Iterable[str]) -> None:
        """And every connection made with them, at once. Those that are gone already are fine.

        The users file has them a little longer: until it is saved they stay in `relay:users`, to be removed again.
        """
        gone = set(names) - self._going
        if not gone:
            return
        with unavailable():
            await self._redis.execute_command("ACL", "DELUSER", *gone)  # type: ignore[no-untyped-call]
        self._going |= gone
        if self._forgetting is None or self._forgetting.done():
            self._forgetting = asyncio.create_task(self._forget())

    async def _forget(self) -> None:
        while self._going:
            await asyncio.sleep(_FORGET_AFTER.total_seconds())
            gone = list(self._going)
            try:
                with unavailable():
                    # again: a Redis that was started anew meanwhile has them from its file
                    await self._redis.execute_command("ACL", "DELUSER", *gone)  # type: ignore[no-untyped-call]
                    await self._save()
                    await self._redis.zrem(_USERS, *gone)
            except StoreUnavailable:
                log.info("broker_users_not_saved", remedy="none: the next sweep removes them again")
            finally:
                self._going -= set(gone)

    async def remove_orphans(self) -> list[str]:
        """Users of nodes that no session has: of a store that was put back from a copy, or of an older version."""
        with unavailable():
            there = await self._redis.execute_command("ACL", "USERS")  # type: ignore[no-untyped-call]
            ours = [name for name in (raw.decode(errors="replace") for raw in there) if _OURS.fullmatch(name)]
            if not ours:
                return []
            pipe = self._redis.pipeline(transaction=False)
            for name in ours:
                pipe.zscore(_USERS, name)
            orphans = [name for name, goes in zip(ours, await pipe.execute(), strict=True) if goes is None]
        await self.remove(orphans)
        return orphans

    async def _save(self) -> None:
        """Returns once a save that began after this call has ended. Without it a restarted Redis has forgotten the
        nodes, and every one of them has to sign in anew."""
        if self._next is None:
            self._next = asyncio.create_task(self._save_after(self._saving))
        await asyncio.shield(self._next)

    async def _save_after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            await asyncio.wait([before])
        self._saving, self._next = asyncio.create_task(self._pause()), None
        try:
            await self._redis.execute_command("ACL", "SAVE")  # type: ignore[no-untyped-call]
        except ResponseError:
            log.warning("acl_not_saved", remedy="start Redis with an aclfile, so that nodes survive its restart")

    async def _pause(self) -> None:
        await asyncio.sleep(_SAVE_EVERY.total_seconds())
