"""The committed artifacts are those of the sources, and are what the chain room was written against."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from eth_utils.abi import abi_to_signature, event_abi_to_log_topic, function_abi_to_4byte_selector
from eth_utils.crypto import keccak

from contracts import NAMES, ROOT, artifact, deployment
from contracts.compilation import sources_sha256

SETTLEMENT = "(bytes32,bytes32,bytes32,address,uint32,uint32,uint32,uint64,uint64,uint96,bytes)"

INTERFACE: dict[str, dict[str, set[str]]] = {
    "TaskRegistry": {
        "function": {
            "open((bytes32,bytes32)[])",
            f"settle({SETTLEMENT}[])",
            "fail((bytes32,bytes32,bytes32)[])",
            "deposit()",
            "withdrawDeposit(address,uint256)",
            "withdrawCredit(address)",
            "depositOf(address)",
            "creditOf(address)",
            "taskAddress(address,bytes32,bytes32)",
            "implementation()",
            "nodeRegistry()",
            "statusOf(address)",
            "responseHashOf(address)",
            "failureCodeOf(address)",
            "nodeOf(address)",
            "paymentOf(address)",
            "receiptDigest(address,uint32,bytes32,bytes32,uint32,uint32,uint64,uint64)",
            "eip712Domain()",
        },
        "event": {
            "TaskOpened(address,address,bytes32,bytes32)",
            "TaskCompleted(address,address,bytes32,uint96,uint32,uint32)",
            "TaskFailed(address,bytes32)",
            "ItemSkipped(address,uint8)",
            "Deposited(address,uint256)",
            "DepositWithdrawn(address,address,uint256)",
            "CreditWithdrawn(address,address,uint256)",
        },
    },
    "NodeRegistry": {
        "function": {
            "register(address,bytes)",
            "addStake(address)",
            "unbond(address)",
            "withdraw(address)",
            "slash(address,uint256,bytes32)",
            "providerOf(address)",
            "stakeOf(address)",
            "isActive(address)",
            "unbondsAt(address)",
            "registrationDigest(address,address)",
            "SLASHER_ROLE()",
        },
        "event": {
            "NodeRegistered(address,address,uint256)",
            "StakeAdded(address,uint256,uint256)",
            "NodeUnbonding(address,uint64)",
            "StakeWithdrawn(address,address,uint256)",
            "NodeSlashed(address,address,uint256,bytes32)",
        },
    },
    "Task": {
        "function": {
            "status()",
            "taskId()",
            "requestHash()",
            "responseHash()",
            "failureCode()",
            "node()",
            "payment()",
            "registry()",
        },
        "event": set(),
    },
}


def entries(name: str, kind: str) -> dict[str, Any]:
    return {abi_to_signature(entry): entry for entry in artifact(name).abi if entry["type"] == kind}  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["function", "event"])
def test_the_agreed_interface_is_there(name: str, kind: str) -> None:
    assert INTERFACE[name][kind] - entries(name, kind).keys() == set()


@pytest.mark.parametrize("name", NAMES)
def test_the_code_answers_every_selector_and_event(name: str) -> None:
    code = artifact(name).deployed_bytecode
    for entry in entries(name, "function").values():
        # A selector that begins with zeros is pushed without them.
        assert function_abi_to_4byte_selector(entry).hex().lstrip("0") in code
    for signature in INTERFACE[name]["event"]:
        assert event_abi_to_log_topic(entries(name, "event")[signature]).hex() in code


def test_events_are_indexed_as_agreed() -> None:
    indexed = {
        signature.partition("(")[0]: [field["name"] for field in entry["inputs"] if field["indexed"]]
        for signature, entry in entries("TaskRegistry", "event").items()
    }
    assert indexed["TaskOpened"] == ["task", "coordinator"]
    assert indexed["TaskCompleted"] == ["task", "node"]
    assert indexed["TaskFailed"] == ["task"]
    assert indexed["ItemSkipped"] == ["task"]
    assert indexed["DepositWithdrawn"] == ["coordinator"]
    assert indexed["CreditWithdrawn"] == ["node", "to"]


def test_the_receipt_type_is_in_the_code() -> None:
    receipt = (
        "Receipt(address task,uint32 attempt,bytes32 requestHash,bytes32 responseHash,uint32 promptTokens,"
        "uint32 completionTokens,uint64 startedAt,uint64 finishedAt)"
    )
    assert keccak(text=receipt).hex() in artifact("TaskRegistry").deployed_bytecode


@pytest.mark.parametrize("name", NAMES)
def test_artifacts_were_compiled_from_these_sources(name: str) -> None:
    """The fast half of ``scripts/contracts check``, which compiles and compares bytes."""
    assert artifact(name).compiler["sourcesSha256"] == sources_sha256(), "run scripts/contracts build"


@pytest.mark.parametrize("name", NAMES)
def test_immutables_are_zeros_in_the_deployed_code(name: str) -> None:
    code = bytes.fromhex(artifact(name).deployed_bytecode[2:])
    assert artifact(name).immutable_references
    for start, length in artifact(name).immutable_references:
        assert code[start : start + length] == bytes(length)


def test_another_name_is_refused() -> None:
    with pytest.raises(LookupError, match="TaskRegistry"):
        artifact("Tasks")


def test_a_deployment_is_read_by_chain(tmp_path: Path) -> None:
    stored = {"TaskRegistry": "0x" + "11" * 20}
    (tmp_path / "31337.json").write_text(json.dumps(stored), encoding="utf-8")
    assert deployment(31337, tmp_path) == stored
    assert deployment(1, tmp_path) is None


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
    unpinned = [name for name, package in lock["packages"].items() if name and "integrity" not in package]
    assert unpinned == []


def test_a_task_stays_under_the_gas_it_may_cost() -> None:
    gas = json.loads((ROOT / "snapshots" / "TaskRegistry.json").read_text(encoding="utf-8"))
    assert int(gas["a task, 10 nodes with credit"]) <= 130_000
    assert int(gas["a task, 10 new nodes"]) <= 130_000


def test_every_source_has_its_licence() -> None:
    for path in [*(ROOT / "src").rglob("*.sol"), *(ROOT / "test").rglob("*.sol")]:
        assert re.match(r"// SPDX-License-Identifier: Apache-2\.0\n", path.read_text(encoding="utf-8")), path
