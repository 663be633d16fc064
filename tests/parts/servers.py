"""Real Redis and real anvil, one a test, each on a free port, that a test may kill and start again.

def test_x(redis_server: RedisServer): redis_server.url ...; redis_server.kill(); redis_server.start()
def test_y(anvil: Anvil): key, address = anvil.funded_account(); anvil.url ...
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from eth_keys.datatypes import PrivateKey

from contracts.toolchain import ToolMissing, anvil_binary
from scripts.network.chain import CHAIN_ID, Chain
from scripts.network.children import die_with
from scripts.network.redis import Redis, binary
from scripts.network.wire import rpc
from tests.parts.missing import missing
from tests.parts.ports import free_port

PATIENCE = 60.0  # seconds; a machine that is busy with other tests takes long to import a coordinator


@dataclass
class Server:
    """A child process that listens. `kill` is kill -9; `start` after it goes on with the same files and port."""

    command: Callable[[], Sequence[str]]
    answers: Callable[[], bool]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with(os.getpid())
            )
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"it did not start: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.01)

    def tell(self, number: signal.Signals) -> None:
        """SIGSTOP lets it hang, SIGCONT go on."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class RedisServer(Server):
    """As scripts/up configures it: append-only file, fsync always, password, users file."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.redis = Redis.at(home, free_port(), home / "password")
        self.redis.configure()
        super().__init__(lambda: [str(binary()), str(home / "redis.conf")], self.redis.answers, home / "redis.log")

    @property
    def url(self) -> str:
        return self.redis.url

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.redis.port}"

    def command_line(self, *words: str) -> bytes:
        """One command's raw reply."""
        return self.redis.command(*words)


class Anvil(Server):
    """As scripts/up runs it: automine, no accounts of its own. `save` keeps the chain for a `start` after a `kill`."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.chain = Chain(home, free_port())
        super().__init__(self.chain.command, self.chain.answers, home / "anvil.log")

    chain_id = CHAIN_ID

    @property
    def url(self) -> str:
        return self.chain.url

    def save(self) -> None:
        self.chain.save_now()

    def rpc(self, method: str, *params: object) -> object:
        return rpc(self.url, method, *params)

    def fund(self, address: str, wei: int = 10**22) -> None:
        self.rpc("anvil_setBalance", address, hex(wei))

    def funded_account(self) -> tuple[str, str]:
        """A new private key (0x-hex) and its address, with test ether."""
        key = secrets.token_bytes(32)
        address = str(PrivateKey(key).public_key.to_checksum_address())
        self.fund(address)
        return "0x" + key.hex(), address


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    try:
        binary()
    except FileNotFoundError as error:
        missing(str(error))
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def anvil(tmp_path: Path) -> Iterator[Anvil]:
    try:
        anvil_binary()
    except ToolMissing as error:
        missing(str(error))
    server = Anvil(tmp_path / "anvil")
    server.start()
    yield server
    server.kill()
