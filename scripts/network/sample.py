"""One opengpu task in front of the user, step by step with times: what every client and every auditor can do."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from scripts.network.children import ROOT
from scripts.network.relay import MODEL
from scripts.network.wire import Refused, call

QUESTION = "Hello! What is this relay?"
PATIENCE = 30.0  # seconds for each of: the answer, the record


class SampleFailed(Exception):
    """What did not come out as it should; one line for the user."""


class Steps:
    """Prints a line a step with the seconds since the first."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._started = time.monotonic()

    def __call__(self, step: str, text: str) -> None:
        self._say(f"  {time.monotonic() - self._started:6.2f} s  {step:<10} {text}")


async def show_sample(up: dict[str, Any], say: Callable[[str], None]) -> None:
    """Raises SampleFailed unless the task completed and its record was read back from the chain and matched."""
    say("A task in opengpu mode:")
    step = Steps(say)
    try:
        await _show(up, step)
    except (OSError, Refused, KeyError) as error:
        raise SampleFailed(f"{error!r}") from error


async def _show(up: dict[str, Any], step: Steps) -> None:
    base = up["base_url"]
    step("asked", f"“{QUESTION}” to {MODEL}")
    body = {"model": MODEL, "mode": "opengpu", "async": True, "messages": [{"role": "user", "content": QUESTION}]}
    url = f"{base}/v2/openai/v1/chat/completions"
    accepted = await asyncio.to_thread(call, url, body, headers={"authorization": f"Bearer {up['api_key']}"})
    task_id = accepted["task_id"]
    step("accepted", task_id)
    task = await asyncio.to_thread(call, base + accepted["poll_url"])
    step("address", f"{task['task_address']}, where its contract will be")
    task = await _until(f"{base}{accepted['poll_url']}?wait=10", lambda seen: seen["status"] in ("completed", "failed"))
    proof = await asyncio.to_thread(call, f"{base}/v2/tasks/{task_id}/proof")
    if task["status"] != "completed":
        raise SampleFailed(f"the task failed: {task.get('error_code')} {task.get('error_detail')}")
    step("node", f"{proof['node']}, attempt {proof['attempt']}")
    step("answer", f"“{task['result']['choices'][0]['message']['content'].strip()}”")
    proof = await _until(f"{base}/v2/tasks/{task_id}/proof", _recorded)
    for leg in ("opening", "settlement"):
        written = proof[leg]
        step(
            "recorded",
            f"{leg}: transaction {written['tx_hash']}, block {written['block_number']}, {written['gas_used']} gas",
        )
    step("verified", await asyncio.to_thread(_verify, up, task_id))


def _recorded(proof: dict[str, Any]) -> bool:
    states = {proof["opening"]["status"], proof["settlement"]["status"]}
    if "failed" in states:
        raise SampleFailed("the chain writer gave the record up: see its log")
    return states == {"confirmed"}


async def _until(url: str, enough: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Asks until the answer is enough. Raises SampleFailed when time is up."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        seen: dict[str, Any] = await asyncio.to_thread(call, url)
        if enough(seen):
            return seen
        await asyncio.sleep(0.05)
    raise SampleFailed(f"not done after {PATIENCE:.0f} s: {url}")


def _verify(up: dict[str, Any], task_id: str) -> str:
    """What relay-verify says, as a stranger would run it. Raises SampleFailed when anything doesn't match."""
    command = [sys.executable, "-m", "coordinator.chain.verify", task_id, "--base-url", up["base_url"]]
    command += ["--rpc-url", up["rpc_url"], "--registry", up["contracts"]["TaskRegistry"]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        verdict = "found a mismatch" if done.returncode == 1 else "could not check it"
        raise SampleFailed(f"relay-verify {verdict}:\n{done.stdout}{done.stderr}")
    return "address, both hashes, the node's signature and the record on chain agree (relay-verify)"
