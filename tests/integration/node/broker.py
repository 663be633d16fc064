"""A node's corner of a real Redis: the queue, and the one user that reaches it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from coordinator.protocol.envelope import Envelope, key_prefix, queue_name
from coordinator.protocol.session import BrokerCredential
from node.identity import Identity
from tests.fakes.coordinator_http import celery_message
from tests.parts.servers import RedisServer

# All that the consumer sends: it declares nothing, acknowledges nothing, and pops one key.
COMMANDS = ("hello", "ping", "brpop", "client|setinfo", "client|maint_notifications")


@dataclass
class Broker:
    """One node's corner of a real Redis."""

    server: RedisServer
    identity: Identity

    @property
    def queue(self) -> str:
        return queue_name(self.identity.address)

    @property
    def key(self) -> str:
        return key_prefix(self.identity.address) + self.queue

    def grant(self, _: str = "") -> BrokerCredential:
        """A user with a new password; the old one's connections end."""
        password = secrets.token_hex(8)
        rules = ("reset", "on", f">{password}", "resetchannels", "-@all", *(f"+{name}" for name in COMMANDS))
        self.server.command_line("ACL", "SETUSER", "node", *rules, f"~{self.key}")
        self.server.command_line("CLIENT", "KILL", "USER", "node")
        url = f"redis://node:{password}@{self.server.address}/0"
        return BrokerCredential(url=url, queue=self.queue, key_prefix=key_prefix(self.identity.address))

    def forget(self) -> None:
        self.server.command_line("ACL", "DELUSER", "node")

    def save_users(self) -> None:
        self.server.command_line("ACL", "SAVE")

    def cut(self) -> None:
        """Every connection of the node, closed by the server."""
        self.server.command_line("CLIENT", "KILL", "USER", "node")

    def put(self, given: Envelope, *, base64_body: bool = False) -> None:
        self.put_raw(celery_message(given, self.queue, base64_body=base64_body))

    def put_raw(self, message: str) -> None:
        self.server.command_line("LPUSH", self.key, message)

    def denied(self) -> bytes:
        return self.server.command_line("ACL", "LOG")
