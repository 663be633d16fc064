"""How end-to-end tests talk to the relay: plain HTTP as any client would, and the chain as any auditor would."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import httpx
from eth_utils.crypto import keccak

from scripts.network.wire import rpc

MODEL = "relay/tiny-chat"
COMPLETED, FAILED = 2, 3  # ITaskRegistry.Status
OPENED_EVENT = "TaskOpened(address,address,bytes32,bytes32)"
COMPLETED_EVENT = "TaskCompleted(address,address,bytes32,uint96,uint32,uint32)"
CHAT = "/v2/openai/v1/chat/completions"


def body(content: str = "Hello!", **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_completion_tokens": 24, **more}


def client(up: dict[str, Any]) -> httpx.AsyncClient:
    """With the client key of up.json, and room for many calls at once."""
    return httpx.AsyncClient(
        base_url=up["base_url"],
        headers={"authorization": f"Bearer {up['api_key']}"},
        timeout=60,
        limits=httpx.Limits(max_connections=100),
        trust_env=False,
    )


async def submit(http: httpx.AsyncClient, content: str, patience: float = 60.0) -> str:
    """The id of an accepted asynchronous opengpu task; asks again while the relay is down or full."""
    deadline = time.monotonic() + patience
    while True:
        try:
            answer = await http.post(CHAT, json=body(content, mode="opengpu", **{"async": True}))
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.status_code == 202:
            accepted = answer.json()
            assert accepted["status"] == "queued"
            assert accepted["poll_url"] == f"/v2/tasks/{accepted['task_id']}"
            return str(accepted["task_id"])
        assert time.monotonic() < deadline, f"not accepted: {answer and answer.text}"
        assert answer is None or answer.status_code in (429, 502, 503), answer.text
        await asyncio.sleep(0.1)


async def ended(http: httpx.AsyncClient, task_id: str, patience: float = 90.0) -> dict[str, Any]:
    """The task, once it has ended; asks again while the relay is down."""
    deadline = time.monotonic() + patience
    seen: dict[str, Any] = {}
    while seen.get("status") not in ("completed", "failed"):
        assert time.monotonic() < deadline, f"not ended: {seen}"
        try:
            answer = await http.get(f"/v2/tasks/{task_id}", params={"wait": 10})
        except httpx.TransportError:
            await asyncio.sleep(0.1)
            continue
        if answer.status_code == 503:
            await asyncio.sleep(0.1)
            continue
        assert answer.status_code == 200, answer.text
        seen = answer.json()
    return seen


async def recorded(http: httpx.AsyncClient, task_id: str, patience: float = 90.0) -> dict[str, Any]:
    """The task's proof, once both legs of its record are confirmed."""
    deadline = time.monotonic() + patience
    while True:
        proof: dict[str, Any] = (await http.get(f"/v2/tasks/{task_id}/proof")).raise_for_status().json()
        legs = {leg: proof[leg]["status"] for leg in ("opening", "settlement")}
        if set(legs.values()) == {"confirmed"}:
            return proof
        assert "failed" not in legs.values(), proof
        assert time.monotonic() < deadline, f"not recorded: {legs}"
        await asyncio.sleep(0.1)


def events(up: dict[str, Any], signature: str) -> Counter[str]:
    """How often the registry has told an event of each task (its first topic), by the task's lower-case address."""
    query = {
        "fromBlock": "0x0",
        "toBlock": "latest",
        "address": up["contracts"]["TaskRegistry"],
        "topics": ["0x" + keccak(text=signature).hex()],
    }
    return Counter("0x" + entry["topics"][1][-40:] for entry in rpc(up["rpc_url"], "eth_getLogs", query))


class TaskOnChain:
    """A task's own contract, asked by bare JSON-RPC: none of our chain code in between."""

    def __init__(self, rpc_url: str, address: str) -> None:
        self._rpc_url, self._address = rpc_url, address

    def _ask(self, method: str) -> bytes:
        call = {"to": self._address, "data": "0x" + keccak(text=f"{method}()")[:4].hex()}
        return bytes.fromhex(rpc(self._rpc_url, "eth_call", call, "latest")[2:])

    @property
    def status(self) -> int:
        return int.from_bytes(self._ask("status"), "big")

    @property
    def request_hash(self) -> str:
        return "0x" + self._ask("requestHash").hex()

    @property
    def response_hash(self) -> str:
        return "0x" + self._ask("responseHash").hex()

    @property
    def node(self) -> str:
        return "0x" + self._ask("node")[12:].hex()


def salted(salt: str, text: str) -> str:
    """keccak-256 over salt ‖ exact bytes, recomputed here so that the test leans on nothing of the relay's."""
    return "0x" + keccak(bytes.fromhex(salt.removeprefix("0x")) + text.encode()).hex()
