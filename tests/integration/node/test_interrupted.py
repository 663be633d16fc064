"""Ctrl-C in a provider's command: one line, no trace, and a status that scripts know."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from pathlib import Path

import pytest

from contracts import artifact
from scripts.network.children import ROOT
from tests.fakes.json_rpc import QuietChain, json_rpc
from tests.unit.store.network import node_address

A = node_address(1)


class Waited(QuietChain):
    """`here`: set when this method is asked for."""

    def __init__(self, method: str, **said: object) -> None:
        super().__init__(eth_getCode={"result": artifact("NodeRegistry").deployed_bytecode}, **said)
        self.here, self._method = asyncio.Event(), method

    def __call__(self, method: str) -> object:
        if method == self._method:
            self.here.set()
        return super().__call__(method)


async def interrupted(chain: Waited, key_file: Path) -> str:
    """What `unbond` says when it is interrupted there."""
    key_file.touch(0o600)
    key_file.write_text(secrets.token_hex(32))
    async with json_rpc(chain) as url:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "node", "unbond", "--provider-key", str(key_file)), *("--registry", A, "--node", A),
            cwd=ROOT, env={**os.environ, "NODE_RPC_URL": url},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            # as at a terminal: a shell starts what runs in the background, such as all of CI, deaf to Ctrl-C
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        await asyncio.wait_for(chain.here.wait(), 120)
        process.send_signal(signal.SIGINT)
        printed, _ = await process.communicate()
    assert process.returncode == 130, printed.decode()
    return printed.decode()


@pytest.mark.parametrize("method", ["eth_chainId", "eth_estimateGas"])
async def test_before_anything_was_sent(method: str, tmp_path: Path) -> None:
    chain = Waited(method, **{method: asyncio.Event()})
    assert "Traceback" not in await interrupted(chain, tmp_path / "provider.key")


async def test_while_a_block_is_waited_for(tmp_path: Path) -> None:
    said = await interrupted(Waited("eth_getTransactionReceipt"), tmp_path / "provider.key")
    assert said.startswith("Interrupted. Transaction 0x")
    assert said.count("\n") == 1
