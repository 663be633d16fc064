"""A stranger's node comes in by a stake and goes with it, on the whole network: nobody lets it in or puts it out."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from eth_keys.datatypes import PrivateKey

from node.identity import create_key
from scripts.network.children import ROOT, die_with
from scripts.network.wire import rpc
from tests.parts.network import RunningNetwork, eventually


@dataclass
class Stranger:
    """With a machine of his own, some test ether, and a node that runs from the start."""

    home: Path
    network: RunningNetwork

    def __post_init__(self) -> None:
        self.node = create_key(self.home / "node.key").address
        key = secrets.token_bytes(32)
        self.provider = str(PrivateKey(key).public_key.to_checksum_address())
        self.key_file, self.log = self.home / "provider.key", self.home / "node.log"
        self.key_file.write_text(key.hex())
        self.key_file.chmod(0o600)
        up = self.network.up
        rpc(up["rpc_url"], "anvil_setBalance", self.provider, hex(10**18))
        model_port = json.loads((self.network.state / "ports.json").read_text())["model"]
        self.environment = os.environ | {
            "NODE_KEY_FILE": str(self.home / "node.key"),
            "NODE_COORDINATOR_URL": up["base_url"],
            "NODE_RPC_URL": up["rpc_url"],
            "NODE_BACKEND_URL": f"http://127.0.0.1:{model_port}/v1",
            "NODE_MODELS": "relay/tiny-chat",
            "NODE_SLOTS": "1",
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node", "run"], cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, preexec_fn=die_with(os.getpid()),
            )  # fmt: skip

    def does(self, word: str) -> str:
        command = [sys.executable, "-m", "node", word, "--provider-key", str(self.key_file)]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def hears(self, words: str) -> None:
        """Waits until the node's log says so."""
        eventually(lambda: words in self.log.read_text(), what=f"{words!r} in {self.log}")


@pytest.fixture
def stranger(network: RunningNetwork, tmp_path: Path) -> Iterator[Stranger]:
    stranger = Stranger(tmp_path, network)
    yield stranger
    stranger.process.send_signal(signal.SIGTERM)
    stranger.process.wait(60)


def test_a_stranger_joins_and_leaves(
    stranger: Stranger, network: RunningNetwork, report: Callable[[str], None]
) -> None:
    stranger.hears("is not registered on chain. Its provider stakes 0.01 ETH for it")
    stranger.does("register")
    started = time.monotonic()
    stranger.hears('"event": "signed in"')
    joined = time.monotonic() - started
    allowed = (network.state / "nodes.allow").read_text()
    assert stranger.node not in allowed
    stranger.does("unbond")
    started = time.monotonic()
    stranger.hears("is being withdrawn, so it may not work")
    report(
        f"a stranger's node: registered to signed in {joined:.1f} s, "
        f"unbonding to let go {time.monotonic() - started:.1f} s"
    )


def test_what_nodes_earn_goes_to_their_provider(network: RunningNetwork) -> None:
    """Of the two nodes that scripts/up stakes for, at least the one that ran its sample task has earned something."""
    key_file = network.state / "keys/provider.key"
    said = [_collect(network, key_file, node_key) for node_key in sorted(network.state.glob("nodes/*/node.key"))]
    assert any(done.returncode == 0 and "to its provider: block" in done.stdout for done in said), said
    assert all(done.returncode == 0 or "has earned nothing" in done.stderr for done in said), said


def _collect(network: RunningNetwork, key_file: Path, node_key: Path) -> subprocess.CompletedProcess[str]:
    settings = {
        "NODE_COORDINATOR_URL": network.up["base_url"],
        "NODE_RPC_URL": network.up["rpc_url"],
        "NODE_KEY_FILE": str(node_key),
    }
    command = [sys.executable, "-m", "node", "collect", "--provider-key", str(key_file)]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, timeout=60, check=False
    )
