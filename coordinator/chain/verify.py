"""`relay-verify`: checks one task against the chain without trusting the relay.

Exit status: 0 all checks hold, 1 one of them doesn't, 2 it can't be checked (yet).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from urllib.parse import quote

from eth_utils.address import is_hex_address

from contracts import deployment
from coordinator.chain.checks import Check, OnChain, Proof, checks
from coordinator.chain.errors import ChainError, ChainRejected
from coordinator.chain.items import Leg
from coordinator.chain.registry import TaskRegistry
from coordinator.chain.rpc import W3, connect, disconnect, reaching
from coordinator.chain.space import task_space
from coordinator.chain.task import Task

_TIMEOUT_SECONDS = 20
_WIDEST = 46


class Unverifiable(Exception):
    """Says what is missing."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status."""
    options = _arguments(argv)
    try:
        proof = fetch_proof(options.base_url, options.task_id)
        found = asyncio.run(_verify(proof, options.rpc_url, options.registry))
    except (Unverifiable, ChainError) as error:
        sys.stderr.write(f"relay-verify: {error}\n")
        return 2
    sys.stdout.write(table(found))
    return 0 if all(check.ok for check in found) else 1


def fetch_proof(base_url: str, task_id: str) -> Proof:
    """The body of GET /v2/tasks/{id}/proof. Raises Unverifiable."""
    if not base_url.startswith(("http://", "https://")):
        raise Unverifiable("--base-url must begin with http:// or https://")
    url = f"{base_url.rstrip('/')}/v2/tasks/{quote(task_id, safe=':')}/proof"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - the scheme was checked
            proof: Proof = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise Unverifiable(f"the relay answered {error.code}: {_reason(error.read())}") from None
    except (OSError, ValueError) as error:
        raise Unverifiable(f"no proof from {base_url} ({type(error).__name__})") from error
    if not isinstance(proof, dict):
        raise Unverifiable("the relay's answer is no proof")
    if proof.get("mode", "opengpu") != "opengpu" or not proof.get("task_address"):
        raise Unverifiable("the task has no record on chain: only tasks of mode opengpu have one")
    return proof


async def read_chain(w3: W3, proof: Proof, registry_address: str) -> OnChain:
    """What the chain says of the task. Raises Unverifiable while it says nothing, and ChainUnavailable."""
    try:
        space = await task_space(w3, registry_address, proof["coordinator"])
    except ChainRejected as error:
        raise Unverifiable(
            f"no TaskRegistry of this version at {registry_address} ({error}): correct --registry or --rpc-url"
        ) from error
    registry = TaskRegistry(w3, registry_address)
    # the address that we compute, so that no look-alike contract can answer for the task
    address = space.task_address(proof["task_key"], proof["request_hash"])
    with reaching():
        code = await w3.eth.get_code(Task(w3, address).address)
    if not code:
        raise Unverifiable(f"no task contract at {address}: {_leg_state(proof, Leg.OPENING)}")
    task = Task(w3, address)
    try:
        settled_at = await registry.place_of(address, Leg.SETTLEMENT)
    except ChainRejected:
        settled_at = None
    return OnChain(
        space=space,
        predicted=await registry.task_address(space.coordinator, proof["task_key"], proof["request_hash"]),
        status=await task.status(),
        task_key=await task.task_id(),
        request_hash=await task.request_hash(),
        response_hash=await task.response_hash(),
        failure_code=await task.failure_code(),
        node=await task.node(),
        payment_wei=await task.payment(),
        registry=await task.registry(),
        settled_at=settled_at,
    )


def table(found: Sequence[Check]) -> str:
    """For a terminal: long values are cut in the middle, unless they differ."""
    lines = [f"{'check':<28} {'expected':<{_WIDEST}} {'found':<{_WIDEST}} ok"]
    for check in found:
        expected, actual = (_cut(value) if check.ok else value for value in (check.expected, check.found))
        lines.append(f"{check.name:<28} {expected:<{_WIDEST}} {actual:<{_WIDEST}} {'yes' if check.ok else 'NO'}")
    failed = sum(not check.ok for check in found)
    lines.append(f"{len(found)} checks, all hold" if not failed else f"{len(found)} checks, {failed} DO NOT HOLD")
    return "\n".join(lines) + "\n"


async def _verify(proof: Proof, rpc_url: str, registry: str | None) -> list[Check]:
    if proof.get("status") not in ("completed", "failed"):
        raise Unverifiable(f"the task is {proof.get('status')}: try again when it has ended")
    w3 = connect(rpc_url)
    try:
        chain = await read_chain(w3, proof, registry or await _known_registry(w3) or proof["task_registry"])
        if chain.status == "open":
            raise Unverifiable(f"the task is open on chain: {_leg_state(proof, Leg.SETTLEMENT)}")
        return checks(proof, chain)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise Unverifiable(f"the proof is malformed ({type(error).__name__}: {error})") from error
    finally:
        await disconnect(w3)


async def _known_registry(w3: W3) -> str | None:
    """The registry that this package knows for the chain: better than taking the relay's word for it."""
    with reaching():
        chain_id = await w3.eth.chain_id
    return (deployment(chain_id) or {}).get("TaskRegistry")


def _leg_state(proof: Proof, leg: Leg) -> str:
    return f"its {leg} is {(proof.get(leg) or {}).get('status', 'unknown')}, try again later"


def _reason(body: bytes) -> str:
    try:
        error = json.loads(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)[:300]
    except (ValueError, KeyError, TypeError):
        return "no reason given"


def _cut(value: str) -> str:
    return value if len(value) <= _WIDEST else f"{value[:26]}…{value[-19:]}"


def _address(text: str) -> str:
    if not is_hex_address(text):
        raise argparse.ArgumentTypeError("must be an address: 0x and 40 hexadecimal digits")
    return text


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="relay-verify", description="Check a task's record on chain.")
    parser.add_argument("task_id", metavar="TASK_ID")
    parser.add_argument("--base-url", required=True, help="of the relay's API, for example http://127.0.0.1:8080")
    parser.add_argument("--rpc-url", required=True, help="of an EVM node that you trust")
    parser.add_argument(
        "--registry",
        type=_address,
        help="the TaskRegistry that you trust (default: the one known for the chain, else the relay's)",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
