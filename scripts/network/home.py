"""The state directory: everything that outlives a run. Mode 0700, for it holds keys, prompts and answers.

DIR/up.json       where everything is, while it runs (0600)
DIR/lock          held while a supervisor uses DIR
DIR/ports.json    the ports of the last run, taken again when free
DIR/relay.toml    models, upstreams, prices: yours to edit
DIR/nodes.allow   addresses of the nodes that may sign in without a stake: yours to edit
DIR/contracts.json  where the contracts are deployed
DIR/keys/ redis/ chain/ nodes/N/ logs/
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import socket
from collections.abc import Collection
from pathlib import Path
from typing import Any

OURS = (
    "up.json",
    "ports.json",
    "relay.toml",
    "nodes.allow",
    "contracts.json",
    "keys",
    "redis",
    "chain",
    "nodes",
    "logs",
)

LOWEST_PORT, HIGHEST_PORT = 15_000, 32_000  # outgoing connections start at 32768 on Linux


class Unusable(Exception):
    """The state directory or a port can't be had; the message is one line for the user."""


class Home:
    """DIR, held by this process from `Home(...)` to `close()`. Raises Unusable when somebody else has it."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path.resolve()
        known = (self.path / "lock").exists()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Unusable(
                f"the state directory {self.path} can't be used: {error.strerror}; choose another with --state"
            ) from error
        self._take_lock()
        self.up_json.unlink(missing_ok=True)
        if fresh and known:  # else: a directory of the user's, whose `keys` and `logs` are his own
            self._empty()
        self.path.chmod(0o700)
        for name in ("keys", "redis", "chain", "nodes", "logs"):
            (self.path / name).mkdir(mode=0o700, exist_ok=True)

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 20, 0).decode().strip()
            raise Unusable(
                f"{self.path} is in use by another scripts/up (pid {holder or 'unknown'}): stop that one, "
                "or choose another directory with --state"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _empty(self) -> None:
        """Only what a supervisor made: DIR may be a directory of the user's."""
        for name in OURS:
            item = self.path / name
            if item.is_dir() and not item.is_symlink():
                shutil.rmtree(item)
            else:
                item.unlink(missing_ok=True)

    def close(self) -> None:
        self.up_json.unlink(missing_ok=True)
        os.close(self._lock)

    @property
    def up_json(self) -> Path:
        return self.path / "up.json"

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name.replace(' ', '-')}.log"

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of ours; empty when it isn't there."""
        try:
            content: dict[str, Any] = json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise Unusable(
                f"{self.path / name} is not readable as JSON: restore it, or start anew with --fresh"
            ) from error
        return content

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Whole or not at all, mode 0600."""
        write_secret(self.path / name, json.dumps(content, indent=2) + "\n")

    def port(self, name: str) -> int:
        """The port `name` had the last time when it is free, else any free one; remembered."""
        ports = self.read("ports.json")
        chosen = ports.get(name, 0)
        if not (chosen and is_free(chosen)):
            chosen = free_port(but=set(ports.values()))
            self.write("ports.json", {**ports, name: chosen})
        return int(chosen)

    def api_port(self, wanted: int) -> int:
        """`wanted`, or any when it is 0. Raises Unusable when it is taken."""
        if wanted == 0:
            return self.port("api")
        if not is_free(wanted):
            raise Unusable(
                f"port {wanted} is taken by another program: stop it, or choose another with --port (0: any)"
            )
        return wanted


def write_secret(path: Path, text: str) -> None:
    """Writes atomically and durably, readable by the owner alone."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def is_free(port: int) -> bool:
    """Whether a server could listen there; connections of an earlier one that linger (TIME_WAIT) don't count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(but: Collection[int] = ()) -> int:
    """A port below those that the kernel gives to outgoing connections.

    One of these could take it before the server does; and who asks again and again whether
    such a port answers may be answered by itself (TCP's simultaneous open).
    """
    while True:
        port = random.randint(LOWEST_PORT, HIGHEST_PORT)
        if port not in but and is_free(port):
            return port
