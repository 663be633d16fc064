"""TLS on every way between a node and its coordinator. The Redis of the tests speaks none: a wire before it does."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import SecretStr

from coordinator.errors import StoreUnavailable
from coordinator.protocol.session import BrokerCredential
from coordinator.store.connection import connect
from coordinator.store.space import load
from node.consumer.worker import CeleryWorker, Ending, WorkerEvents
from tests.fakes.coordinator_http import envelope, until
from tests.integration.node.broker import Broker
from tests.parts.coordinator import SmallNetwork
from tests.parts.servers import RedisServer
from tests.parts.wire import Wire


@dataclass
class Papers:
    """An authority that nobody knows, and a certificate of it for 127.0.0.1; PEM files."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def server(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    home, authority = tmp_path_factory.mktemp("papers"), trustme.CA()
    made = Papers(home / "authority.pem", home / "certificate.pem", home / "key.pem")
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(made.authority))
    made.certificate.write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(str(made.key))
    return made


class Heard:
    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.endings: list[Ending] = []
        self.events = WorkerEvents(
            envelope=self.taken.append, beat=lambda: None, ready=lambda: None, ended=self.endings.append
        )


def secured(credential: BrokerCredential, plain: str, through: str) -> BrokerCredential:
    url = credential.url.replace("redis://", "rediss://").replace(plain, through)
    return credential.model_copy(update={"url": url})


async def test_a_consumer_takes_from_a_broker_whose_authority_it_was_told(broker: Broker, papers: Papers) -> None:
    port = int(broker.server.address.rpartition(":")[2])
    async with Wire(port, papers.server) as wire:
        heard, credential = Heard(), secured(broker.grant(), broker.server.address, wire.address)
        worker = CeleryWorker(credential, heard.events, asyncio.get_running_loop(), ca_file=papers.authority)
        given = envelope()
        broker.put(given)
        await until(lambda: heard.taken)
        assert heard.taken[0]["task_id"] == given.task_id
        worker.stop()
        await until(lambda: heard.endings)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_a_consumer_gives_its_password_to_nobody_it_can_not_check(
    broker: Broker, papers: Papers, name: str
) -> None:
    """kombu as it comes checks nothing. By the second name the authority is known, and the certificate another's."""
    async with Wire(int(broker.server.address.rpartition(":")[2]), papers.server) as wire:
        where = wire.address.replace("127.0.0.1", name)
        heard, credential = Heard(), secured(broker.grant(), broker.server.address, where)
        ca_file = papers.authority if name == "localhost" else None
        broker.put(envelope())
        CeleryWorker(credential, heard.events, asyncio.get_running_loop(), ca_file=ca_file)
        await until(lambda: heard.endings)
        assert not heard.endings[0].refused
        assert not heard.taken


async def test_the_store_is_checked_as_well(redis_server: RedisServer, papers: Papers) -> None:
    async with Wire(int(redis_server.address.rpartition(":")[2]), papers.server) as wire:
        url = SecretStr(redis_server.url.replace("redis://", "rediss://").replace(redis_server.address, wire.address))
        known, unknown = connect(url, papers.authority), connect(url)
        assert await load(known) is None
        with pytest.raises(StoreUnavailable):
            await load(unknown)
        await known.aclose()
        await unknown.aclose()


async def test_a_task_from_end_to_end_over_https_and_rediss(tmp_path: Path, papers: Papers) -> None:
    network = SmallNetwork(
        tmp_path, papers.authority,
        RELAY_TLS_CERT_FILE=str(papers.certificate), RELAY_TLS_KEY_FILE=str(papers.key),
        RELAY_REDIS_CA_FILE=str(papers.authority),
    )  # fmt: skip
    plain = network.redis_server.address
    async with Wire(int(plain.rpartition(":")[2]), papers.server) as wire:
        url = network.redis_server.url.replace("redis://", "rediss://").replace(plain, wire.address)
        network.settings["RELAY_REDIS_URL"] = url
        async with network:
            told = (await network.http.get("/v2/node/network")).json()
            assert told["broker"] == f"rediss://{wire.address}"
            await network.start_node(NODE_CA_FILE=str(papers.authority))
            assert (await network.ended(await network.submit()))["status"] == "completed"
            assert not [line for line in network.log("node-1-0.log") if line["level"] in ("warning", "error")
                        and "streaming" not in line["event"]]  # fmt: skip
