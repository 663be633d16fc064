"""A provider's commands on a real chain, and what the coordinator makes of them: `register` to `withdraw`."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
import uvicorn
from eth_account import Account
from redis.asyncio import Redis

from coordinator.chain.deploy import Deployment, deploy
from coordinator.chain.evm_stakes import EvmStakes
from coordinator.chain.rpc import connect as connect_chain
from coordinator.chain.rpc import disconnect
from coordinator.chain.stakes import StakeMirror
from coordinator.chain.writer import sleep_unless
from coordinator.protocol import session as wire
from coordinator.protocol.hashing import TaskSpace
from coordinator.settings import Settings
from coordinator.store.connection import connect
from coordinator.store.space import publish
from coordinator.store.stakes import Stakes
from coordinator.wiring import build_api
from node.__main__ import main
from node.identity import create_key, load_key
from node.presence.line import Reply, SignedLine, line_transport
from tests.parts.ports import free_port
from tests.parts.servers import Anvil, RedisServer
from tests.unit.store.network import Network

ETH = 10**18
LEAST = ETH // 2
MODEL = "relay/tiny-chat"
ROOT = Path(__file__).parents[3]
TIMEOUT = timedelta(seconds=60)


@dataclass
class Said:
    """How a command ended."""

    status: int
    out: str
    err: str


@dataclass
class Provider:
    """Somebody at a terminal with a funded cold key and the key of one node."""

    home: Path
    anvil: Anvil
    coordinator_url: str
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home.mkdir()
        self.key_file, self.node_key = self.home / "provider.key", self.home / "node.key"
        key, self.address = self.anvil.funded_account()
        self.key_file.write_text(key)
        self.key_file.chmod(0o600)
        self.node = create_key(self.node_key).address
        self.settings = {
            "NODE_KEY_FILE": str(self.node_key),
            "NODE_COORDINATOR_URL": self.coordinator_url,
            "NODE_RPC_URL": self.anvil.url,
        }

    async def types(self, words: str, **changed: str | None) -> Said:
        """`FILE` stands for the cold key's file. `changed`: settings; None takes one away."""
        for name, value in {**self.settings, **changed}.items():
            if value is None:
                self.monkeypatch.delenv(name, raising=False)
            else:
                self.monkeypatch.setenv(name, value)
        typed = shlex.split(words.replace("FILE", str(self.key_file)))
        try:
            status = await asyncio.to_thread(main, typed)
        except SystemExit as error:
            status = int(str(error.code))
        return Said(status, *self.capsys.readouterr())

    async def does(self, words: str, **changed: str | None) -> str:
        said = await self.types(words, **changed)
        assert said.status == 0, said
        return said.out

    async def fails(self, words: str, **changed: str | None) -> str:
        """One line, for people."""
        said = await self.types(words, **changed)
        assert said.status == 1, said
        assert said.err.count("\n") == 1
        assert "Traceback" not in said.err
        return said.err


@dataclass
class Coordinator:
    """A real API before a real Redis, which asks for a stake. `look`: the chain writer's next look at the stakes."""

    url: str
    redis: Redis
    look: Callable[[], object]
    deployment: Deployment

    def line(self, provider: Provider) -> SignedLine:
        return SignedLine(self.url, load_key(provider.node_key), line_transport(2))

    async def sign_in(self, provider: Provider) -> wire.SessionGrant | Reply:
        """The refusal, where there is one."""
        line = self.line(provider)
        asked = wire.ChallengeRequest(node=provider.node).model_dump_json().encode()
        reply = await line.post(wire.CHALLENGE_PATH, asked, TIMEOUT)
        if reply.ok:
            challenge = wire.Challenge.model_validate_json(reply.body).challenge
            request = wire.SessionRequest(node=provider.node, challenge=challenge, models=(MODEL,), slots=1)
            reply = await line.post(wire.SESSION_PATH, request.model_dump_json().encode(), TIMEOUT)
        await line.close()
        return wire.SessionGrant.model_validate_json(reply.body) if reply.ok else reply

    async def admitted(self, provider: Provider) -> wire.SessionGrant:
        await self.looks()
        grant = await self.sign_in(provider)
        assert isinstance(grant, wire.SessionGrant), grant
        return grant

    async def refused(self, provider: Provider) -> str:
        """What the node's owner is told to do; the same that the standing says."""
        await self.looks()
        reply = await self.sign_in(provider)
        assert isinstance(reply, Reply)
        assert (reply.status, reply.code) == (401, "NOT_ADMITTED")
        line = self.line(provider)
        standing = await line.post(wire.STANDING_PATH, b"{}", TIMEOUT)
        await line.close()
        assert wire.Standing.model_validate_json(standing.body).remedy == reply.message
        return reply.message

    async def beat(self, provider: Provider, grant: wire.SessionGrant, *running: str) -> Reply:
        line = self.line(provider)
        beat = wire.Heartbeat(session=grant.session, running=running)
        reply = await line.post(wire.HEARTBEAT_PATH, beat.model_dump_json().encode(), TIMEOUT)
        await line.close()
        return reply

    async def looks(self) -> None:
        await self.look()  # type: ignore[misc]


@pytest.fixture
async def coordinator(anvil: Anvil, redis_server: RedisServer) -> AsyncIterator[Coordinator]:
    key, _ = anvil.funded_account()
    w3 = connect_chain(anvil.url)
    deployment = await deploy(w3, Account.from_key(key))
    await disconnect(w3)
    port = free_port()
    settings = Settings(
        redis_url=redis_server.url, catalogue=ROOT / "coordinator/relay.example.toml", port=port, node_stake_wei=LEAST
    )  # type: ignore[arg-type]
    redis = connect(settings.redis_url)
    implementation = "0x" + "11" * 20
    space = TaskSpace(deployment.chain_id, deployment.task_registry, implementation, deployment.coordinator)
    await publish(redis, space, deployment.node_registry)
    chain = await EvmStakes.open(anvil.url, deployment.chain_id, deployment.node_registry)

    async def open_chain() -> EvmStakes:
        return chain

    mirror = StakeMirror(Stakes(redis), open_chain, sleep_unless, depth=1, first=0)
    server = uvicorn.Server(uvicorn.Config(build_api(settings), port=port, log_config=None, access_log=False))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(60):
        while not server.started:
            await asyncio.sleep(0.01)
    yield Coordinator(f"http://127.0.0.1:{port}", redis, lambda: mirror.look(chain), deployment)
    server.should_exit = True
    await serving
    await chain.close()
    await redis.aclose()


@pytest.fixture
def new_provider(
    tmp_path: Path,
    anvil: Anvil,
    coordinator: Coordinator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[[str], Provider]:
    return lambda name: Provider(tmp_path / name, anvil, coordinator.url, monkeypatch, capsys)


async def test_from_registration_to_withdrawal(
    coordinator: Coordinator, new_provider: Callable[[str], Provider], anvil: Anvil
) -> None:
    one, other = new_provider("one"), new_provider("other")
    assert "The coordinator has not read the chain" in str(await coordinator.sign_in(one))
    assert "is not registered on chain. Its provider stakes 0.5 ETH for it" in await coordinator.refused(one)
    assert (await one.types("stake")).status == 1
    for provider in (one, other):
        said = await provider.does("register --provider-key FILE")
        assert "staking 0.5 ETH" in said
        assert "registered: block " in said
    assert "nothing to do" in await one.does("register --provider-key FILE")
    assert re.search(rf"provider +{one.address}\nstake +0.5 ETH\n", await one.does("stake"))

    grant, second = await coordinator.admitted(one), await coordinator.admitted(other)
    assert (await coordinator.beat(one, grant)).ok
    work = Network(coordinator.redis)
    task_id = await work.submit(model=MODEL)
    [attempt] = await work.held(one.node)
    assert (await coordinator.beat(other, second)).ok

    assert "Withdraw the stake from" in await one.does("unbond --provider-key FILE")
    assert (await coordinator.beat(one, grant, attempt)).ok  # the chain writer has not looked yet
    await coordinator.looks()
    reply = await coordinator.beat(one, grant, attempt)
    assert (reply.status, reply.code) == (401, "NOT_ADMITTED")
    assert "is being withdrawn" in reply.message
    assert await work.held(one.node) == set()
    assert await work.held(other.node) == {f"{task_id}#2"}

    assert "can be withdrawn from" in await one.fails("withdraw --provider-key FILE")
    assert "is on its way out" in await one.fails("register --provider-key FILE")
    anvil.rpc("evm_increaseTime", 7 * 24 * 3600 + 1)
    anvil.rpc("evm_mine")
    assert f"withdrew 0.5 ETH to {one.address}" in await one.does("withdraw --provider-key FILE")
    assert "no stake any more" in await coordinator.refused(one)
    await one.does("register --provider-key FILE")
    await coordinator.admitted(one)


async def test_the_remedy_is_a_command_that_helps(
    coordinator: Coordinator, new_provider: Callable[[str], Provider]
) -> None:
    """Whatever the coordinator says to type, typed as it is said."""
    provider = new_provider("one")
    assert "0.2 ETH" in await provider.does(f"register --provider-key FILE --stake-wei {ETH // 5}")
    remedy = await coordinator.refused(provider)
    assert "0.2 ETH of 0.5 ETH is staked" in remedy
    typed = re.search(r"python -m node (add-stake [^.]+)\.", remedy)
    assert typed
    await provider.does(typed[1])
    await coordinator.admitted(provider)
    assert "is enough" in await provider.does("add-stake --provider-key FILE")
    assert "registered already, with 0.5 ETH. To stake 1 ETH, run python -m node add-stake" in await provider.fails(
        f"register --provider-key FILE --stake-wei {ETH}"
    )


async def test_a_cold_key_on_another_machine(coordinator: Coordinator, new_provider: Callable[[str], Provider]) -> None:
    """The node's key never meets the provider's: only a signature travels."""
    hot, cold = new_provider("hot"), new_provider("cold")
    said = await hot.types(f"consent --provider {cold.address}", NODE_RPC_URL=None)
    assert said.status == 0
    signature = said.out.strip()
    assert f"--node {hot.node} --registry {coordinator.deployment.node_registry} --chain-id 31337" in said.err
    without = {"NODE_KEY_FILE": None, "NODE_COORDINATOR_URL": None}
    words = f"register --provider-key FILE --node {hot.node} --registry {coordinator.deployment.node_registry}"
    stolen = f"{words} --stake-wei {LEAST} --consent {signature}"
    assert "is for another provider" in await hot.fails(stolen, **without)
    await cold.does(f"{words} --chain-id 31337 --stake-wei {LEAST} --consent {signature}", **without)
    await coordinator.admitted(hot)


async def test_every_refusal_says_what_to_do(
    coordinator: Coordinator, new_provider: Callable[[str], Provider], anvil: Anvil
) -> None:
    one, other = new_provider("one"), new_provider("other")
    registry = coordinator.deployment.node_registry
    await one.does("register --provider-key FILE")
    taken = await other.fails("register --provider-key FILE", NODE_KEY_FILE=str(one.node_key))
    assert f"{one.node} belongs to provider {one.address}" in taken
    for word in ("add-stake --stake-wei 5", "unbond", "withdraw"):
        said = await other.fails(f"{word} --provider-key FILE --node {one.node}")
        assert f"{other.address} is not the provider of node {one.node}" in said
    small = await other.fails("register --provider-key FILE --stake-wei 7")
    assert "7 wei is less than the registry's least stake of 0.01 ETH: pass --stake-wei 10000000000000000" in small
    assert "is not unbonding: run python -m node unbond first" in await one.fails("withdraw --provider-key FILE")
    assert "has earned nothing" in await one.fails("collect --provider-key FILE")
    assert "is the key of" in await one.fails(f"register --provider-key FILE --node {other.node}")
    assert "nothing is staked for node" in (await other.fails("add-stake --provider-key FILE")).lower()
    poor = await other.fails(f"register --provider-key FILE --stake-wei {10**30}")
    assert re.search(
        rf"{other.address} has 10000 ETH, and this takes up to 1000000000000.0*[1-9]\d* ETH, fees included: send it",
        poor,
    )
    assert "There is no contract at" in await one.fails(f"stake --registry {one.address}")
    fake = await one.fails(f"stake --registry {coordinator.deployment.task_registry}")
    assert "is not the NodeRegistry of this version: don't pay into it" in fake
    assert "is an endpoint of chain 31337, and the registry is on chain 5" in await one.fails(
        f"stake --registry {registry} --chain-id 5"
    )
    assert "The coordinator is on chain 31337, not on 5" in await one.fails("stake --chain-id 5")
    assert "can't be reached" in await one.fails("stake", NODE_COORDINATOR_URL="http://127.0.0.1:1")
    one.key_file.chmod(0o644)
    assert "run chmod 600" in await one.fails("unbond --provider-key FILE")
    anvil.kill()
    assert "The chain can't be reached" in await one.fails(f"stake --registry {registry}")
    assert (await one.types("stake", NODE_RPC_URL=None)).status == 2


async def test_while_the_chain_is_down_nobody_loses_admission(
    coordinator: Coordinator, new_provider: Callable[[str], Provider], anvil: Anvil
) -> None:
    provider = new_provider("one")
    await provider.does("register --provider-key FILE")
    grant = await coordinator.admitted(provider)
    anvil.kill()
    assert (await coordinator.beat(provider, grant)).ok
    assert isinstance(await coordinator.sign_in(provider), wire.SessionGrant)


async def test_an_encrypted_keystore(
    coordinator: Coordinator, new_provider: Callable[[str], Provider], tmp_path: Path
) -> None:
    provider = new_provider("one")
    keystore = Account.encrypt(provider.key_file.read_text(), "correct horse", kdf="pbkdf2", iterations=1)
    provider.key_file.write_text(json.dumps(keystore))
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("correct horse\n")
    wrong.write_text("battery")
    unlocked = {"NODE_PROVIDER_PASSWORD_FILE": str(right)}
    assert "is encrypted: set NODE_PROVIDER_PASSWORD_FILE" in await provider.fails("register --provider-key FILE")
    said = await provider.fails("register --provider-key FILE", NODE_PROVIDER_PASSWORD_FILE=str(wrong))
    assert said.endswith("is wrong.\n")
    await provider.does("register --provider-key FILE", **unlocked)
    await coordinator.admitted(provider)


async def test_check_tells_the_stake_and_the_chain(
    coordinator: Coordinator, new_provider: Callable[[str], Provider]
) -> None:
    provider = new_provider("one")
    nowhere = {"NODE_BACKEND_URL": f"http://127.0.0.1:{free_port()}", "NODE_MODELS": MODEL}

    async def found(**changed: str | None) -> dict[str, tuple[str, str]]:
        said = await provider.types("check --json", **nowhere, **changed)
        printed = said.out[said.out.index("[\n") :]  # behind what this process logs
        return {one["name"]: (one["level"], one["seen"] + one["remedy"]) for one in json.loads(printed)}

    await coordinator.looks()
    seen = await found()
    assert seen["chain"][0] == "ok"
    assert (seen["stake"][0], seen["admission"][0]) == ("FAILED", "FAILED")
    assert "node register" in seen["stake"][1]
    await provider.does(f"register --provider-key FILE --stake-wei {ETH // 5}")
    assert "add-stake" in (await found())["stake"][1]
    await provider.does("add-stake --provider-key FILE")
    await coordinator.looks()
    seen = await found()
    assert (seen["stake"][0], seen["admission"][0]) == ("ok", "ok")
    await provider.does("unbond --provider-key FILE")
    assert "unbonding" in (await found())["stake"][1]
    assert "stake" not in await found(NODE_RPC_URL=None)
    assert (await found(NODE_RPC_URL=coordinator.url))["chain"][0] == "FAILED"
