"""anvil with the real contracts on it, and a whole chain writer between it and a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from eth_account import Account
from hexbytes import HexBytes

from coordinator.chain.deploy import Deployer, Deployment, deploy
from coordinator.chain.evm import EvmChain
from coordinator.chain.fees import FeePolicy
from coordinator.chain.items import Leg
from coordinator.chain.policy import SendingPolicy, WriterPolicy
from coordinator.chain.registry import TaskRegistry
from coordinator.chain.rpc import connect, disconnect
from coordinator.chain.signer import RegistrySigner
from coordinator.chain.start_check import Expected, start_check
from coordinator.chain.writer import ChainWriter, build
from coordinator.protocol.hashing import TaskSpace
from tests.fakes.chain_accidents import Fuse, Mortal
from tests.fakes.chain_benches import RedisBench
from tests.fakes.chain_tasks import Task
from tests.parts.servers import Anvil

PATIENCE = 60.0  # seconds
POLICY = WriterPolicy(
    batch_wait=timedelta(milliseconds=50),
    idle_look=timedelta(milliseconds=200),
    longest_look=timedelta(milliseconds=200),
    sending=SendingPolicy(
        batch_size=10,
        rebroadcast=timedelta(milliseconds=300),
        bump=timedelta(milliseconds=600),
        patience=timedelta(milliseconds=300),
        deposit_patience=timedelta(milliseconds=300),
    ),
)


class AnvilNetwork:
    """`tests.fakes.chain_networks.Network`."""

    def __init__(self, anvil: Anvil, key_file: Path) -> None:
        key, self.address = anvil.funded_account()
        key_file.write_text(key)
        key_file.chmod(0o600)
        self.anvil, self.key_file, self.account = anvil, key_file, Account.from_key(key)
        self.w3 = connect(anvil.url)

    async def deploy(self) -> None:
        self.deployment: Deployment = await deploy(self.w3, self.account)
        self.expected = Expected(self.deployment.task_registry, self.address, self.deployment.node_registry)
        self.space: TaskSpace = await start_check(self.w3, self.expected)
        self.chain = EvmChain(self.w3, self.space, lambda: start_check(self.w3, self.expected))
        self.signer = RegistrySigner(self.account, self.space.chain_id, self.space.task_registry)
        self.registry = TaskRegistry(self.w3, self.space.task_registry)

    async def close(self) -> None:
        await disconnect(self.w3)

    async def rpc(self, method: str, *params: object) -> Any:
        return await asyncio.to_thread(self.anvil.rpc, method, *params)

    async def automine(self, on: bool) -> None:
        await self.rpc("evm_setAutomine", on)

    async def mine(self) -> None:
        await self.rpc("evm_mine")

    async def reorganise(self, depth: int) -> None:
        await self.rpc("anvil_reorg", depth, [])

    async def pay_in(self, wei: int) -> None:
        await deploy(
            self.w3,
            self.account,
            task_registry=self.space.task_registry,
            node_registry=self.deployment.node_registry,
            deposit_wei=wei,
        )

    async def sign_elsewhere(self) -> None:
        """Somebody uses the coordinator's key for something else."""
        await Deployer(self.w3, self.account, FeePolicy()).transact({"to": self.address, "data": HexBytes("0x")})


class Line:
    """Tasks on their way through a chain writer that runs in this process."""

    def __init__(self, network: AnvilNetwork, bench: RedisBench, policy: WriterPolicy = POLICY) -> None:
        self.network, self.bench, self.policy = network, bench, policy
        self.tasks: list[Task] = []
        self._stop, self._fuse, self._running = asyncio.Event(), Fuse(), None

    def writer(self, outbox: Any = None) -> ChainWriter:
        async def published(space: TaskSpace, node_registry: str) -> None:
            assert (space, node_registry) == (self.network.space, self.network.deployment.node_registry)

        return build(
            outbox or self.bench.writer(),
            rpc_url=self.network.anvil.url,
            key_file=self.network.key_file,
            task_registry=self.network.space.task_registry,
            node_registry=self.network.deployment.node_registry,
            chain_id=self.network.space.chain_id,
            policy=self.policy,
            publish=published,
        )

    def start(self) -> None:
        self._stop, self._fuse = asyncio.Event(), Fuse()
        writer = self.writer(Mortal(self.bench.writer(), self._fuse))
        self._running: asyncio.Task[None] | None = asyncio.create_task(writer.run(self._stop))

    async def stop(self) -> None:
        if self._running is not None:
            self._stop.set()
            running, self._running = self._running, None
            await running

    async def kill(self) -> None:
        """Before or after its next word to the store. Not by cancelling: a lock of web3's may stay held for ever."""
        self._fuse.left, self._fuse.after = 0, len(self.tasks) % 2 == 0
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    async def submit(self, count: int, **fields: Any) -> list[Task]:
        first = len(self.tasks)
        tasks = [Task(number, self.network.space, sign=True, **fields) for number in range(first, first + count)]
        self.tasks += tasks
        for task in tasks:
            await self.bench.write(task.id, task.submitted(), Leg.OPENING, 1)
        return tasks

    async def end(self, tasks: list[Task], *, completed: bool = True) -> None:
        for task in tasks:
            fields = task.completed() if completed else task.failed()
            await self.bench.write(task.id, fields, Leg.SETTLEMENT, 1)

    async def until(self, opening: str, settlement: str, tasks: list[Task] | None = None) -> list[dict[str, str]]:
        """The records, once all are in that state."""

        def there(record: dict[str, str]) -> bool:
            return (record["opening"], record["settlement"]) == (opening, settlement)

        return await self.until_records(there, tasks)

    async def until_on_chain(self) -> None:
        """Until all is where the chain has it: what was confirmed and is gone, confirmed anew."""
        async with asyncio.timeout(PATIENCE):
            while not all([await self._is_where_it_says(task) for task in self.tasks]):
                await asyncio.sleep(0.02)

    async def _is_where_it_says(self, task: Task) -> bool:
        record = await self.bench.record(task.id)
        for leg in Leg:
            place = await self.network.chain.place_of(task.address, leg)
            if place is None or (record[leg], record.get(f"{leg}_block")) != ("confirmed", str(place.block_number)):
                return False
        return True

    async def until_records(
        self, there: Callable[[dict[str, str]], bool], tasks: list[Task] | None = None
    ) -> list[dict[str, str]]:
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            records = [await self.bench.record(task.id) for task in tasks or self.tasks]
            if all(there(record) for record in records):
                return records
            if self._running is not None and self._running.done():
                self._running.result()
            assert asyncio.get_running_loop().time() < deadline, [record for record in records if not there(record)][:3]
            await asyncio.sleep(0.02)
