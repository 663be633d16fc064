"""A provider's commands without a chain: keys, words, and which registry is believed."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from contracts import artifact
from coordinator.protocol.session import Admission, Network
from node.__main__ import main
from node.staking import steps
from node.staking.account import load_account
from node.staking.chain import Mined
from node.staking.errors import Refused, StakingError
from node.staking.place import Place, place_of
from node.staking.registry import Held, Terms, is_ours
from node.staking.words import in_words
from tests.unit.store.network import node_address

A, B, REGISTRY = node_address(1), node_address(2), node_address(9)
KEY = "0x" + "11" * 32
ROOT = Path(__file__).parents[3]


def key_file(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "provider.key"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_key_as_hex(tmp_path: Path) -> None:
    with_prefix = load_account(key_file(tmp_path, KEY + "\n"), None)
    assert load_account(key_file(tmp_path, KEY[2:]), None).address == with_prefix.address


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (KEY, 0o640, "can be read by others (mode 0640): run chmod 600"),
        ("0x1234", 0o600, "holds no key: expected 64 hexadecimal digits"),
        ("ff" * 32, 0o600, "holds no key of this curve"),
        ("{}", 0o600, "is no keystore that can be read here"),
        ("{", 0o600, "is no keystore that can be read here"),
    ],
)
def test_a_file_that_holds_no_key(tmp_path: Path, text: str, mode: int, words: str) -> None:
    """And what it holds is never shown."""
    path = key_file(tmp_path, text, mode)
    password = tmp_path / "password"
    password.write_text("x")
    with pytest.raises(StakingError, match=re.escape(words)) as refused:
        load_account(path, password)
    assert text not in str(refused.value).replace(str(path), "")
    assert refused.value.__cause__ is None


def test_every_refusal_of_the_contract_has_words() -> None:
    """But for those of other callers: the constructor's and the slasher's."""
    source = (ROOT / "contracts/src/interfaces/INodeRegistry.sol").read_text()
    meant = set(re.findall(r"^    error (\w+)", source, re.MULTILINE)) - {
        "ZeroAddress",
        "ZeroMinStake",
        "SlashTooLarge",
    }
    sample = {"address": A, "uint256": 5, "uint64": 1}
    errors = [entry for entry in artifact("NodeRegistry").abi if entry["type"] == "error" and entry["name"] in meant]
    assert len(errors) == len(meant) > 5
    for entry in errors:
        refusal = Refused(entry["name"], tuple(sample[part["type"]] for part in entry["inputs"]))
        assert not in_words(refusal).startswith("The chain refuses"), entry["name"]
    assert in_words(Refused("NodeTaken")) == "The chain refuses: NodeTaken."
    assert "1970-01-01 00:00 UTC" in in_words(Refused("StillBonded", (A, 1)))


def network(**changed: object) -> Network:
    said = {
        "chain_id": 5, "task_registry": A, "node_registry": REGISTRY, "admission": Admission.STAKE, "stake_wei": 7,
        "broker": "redis://b:1", "models": (), "now_ms": 0,
    }  # fmt: skip
    return Network.model_validate(said | changed)


def test_the_coordinator_says_where_and_how_much() -> None:
    assert place_of(network(), None) == Place(REGISTRY, 5, 7, task_registry=A)
    assert place_of(network(stake_wei=None, admission=Admission.OPEN), 5) == Place(
        REGISTRY, 5, 0, "This coordinator asks for no stake.", A
    )
    with pytest.raises(StakingError, match="chain writer has not started"):
        place_of(network(node_registry=None), None)
    with pytest.raises(StakingError, match="is on chain 5, not on 6"):
        place_of(network(), 6)


class NoNode:
    """Stands in for a registry that asks for 10 wei and knows no node. `staked`: by each registration."""

    chain_id, address = 5, REGISTRY

    def __init__(self) -> None:
        self.staked: list[int] = []

    async def terms(self) -> Terms:
        return Terms(10, 60, A)

    async def held(self, node: str) -> Held:
        return Held(None, 0, 0, active=False)

    async def register(self, account: object, node: str, consent: str, wei: int) -> Mined:
        self.staked.append(wei)
        return Mined("0x", 1, 0)


@pytest.mark.parametrize(("asked", "least", "staked"), [(None, 0, 10), (None, 1, 10), (None, 11, 11), (12, 11, 12)])
async def test_what_is_staked_unless_it_is_said(asked: int | None, least: int, staked: int) -> None:
    """The stricter of coordinator and contract: an operator may ask for 1 wei, meaning whoever is registered."""
    registry: Any = NoNode()
    account: Any = SimpleNamespace(address=B)
    await steps.register(registry, account, A, "0x", asked, least, lambda _: None)
    assert registry.staked == [staked]


def test_only_our_contract_is_believed() -> None:
    """Its immutables may be anything; any other byte gives it away."""
    ours = artifact("NodeRegistry")
    code = bytearray.fromhex(ours.deployed_bytecode[2:])
    start, length = ours.immutable_references[0]
    code[start : start + length] = b"\x07" * length
    assert is_ours(bytes(code), "NodeRegistry")
    assert not is_ours(bytes(code) + b"\0", "NodeRegistry")
    code[start - 1] ^= 1
    assert not is_ours(bytes(code), "NodeRegistry")


@pytest.mark.parametrize(
    "words",
    [
        "register",
        "unbond --provider-key f --node 0x12",
        "register --provider-key f --stake-wei 0.5",
        "register --provider-key f --stake-wei 0",
        "register --provider-key f --consent 0x12",
        "consent",
    ],
)
def test_what_makes_no_sense_is_refused_at_once(words: str) -> None:
    with pytest.raises(SystemExit) as refused:
        main(words.split())
    assert refused.value.code == 2


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("NODE_KEY_FILE", "NODE_COORDINATOR_URL", "NODE_RPC_URL"):
        monkeypatch.delenv(name, raising=False)
    assert main(["stake"]) == 2
    assert "NODE_COORDINATOR_URL is missing" in capsys.readouterr().err
    assert main(["stake", "--registry", REGISTRY]) == 2
    assert "NODE_KEY_FILE is missing" in capsys.readouterr().err
    assert main(["stake", "--registry", REGISTRY, "--node", A]) == 2
    assert "NODE_RPC_URL is missing" in capsys.readouterr().err
    monkeypatch.setenv("NODE_COORDINATOR_URL", "gopher://x")
    assert main(["stake"]) == 2
    assert "NODE_COORDINATOR_URL: must be" in capsys.readouterr().err
