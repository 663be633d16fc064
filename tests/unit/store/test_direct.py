"""Asynchronous direct tasks: claimed, renewed, finished, and given to another process when one dies."""

from __future__ import annotations

from coordinator.errors import UpstreamError
from coordinator.lifecycle.order import Order, Terms
from coordinator.protocol.ids import new_task_id
from coordinator.store.direct import DirectClaim, DirectLine
from coordinator.store.signals import Signals
from tests.unit.store.network import COMMITMENT, MODEL, REQUEST, Network


def line(network: Network) -> DirectLine:
    return DirectLine(network.scripts, Signals(network.redis))


async def claimed(at: DirectLine) -> DirectClaim:
    claim = await at.claim()
    assert claim is not None
    return claim


async def test_the_oldest_is_claimed_first_and_by_one_process(network: Network) -> None:
    first, second = await network.submit(mode="direct"), await network.submit(mode="direct")
    one, other = line(network), line(network)
    claims = [await claimed(one), await claimed(other)]
    assert [claim.task_id for claim in claims] == [first, second]
    assert claims[0].request == REQUEST
    assert await one.claim() is None
    assert await network.state(first) == "running"


async def test_a_claim_says_which_endpoint_it_is_for(network: Network) -> None:
    order = Order("direct", MODEL, REQUEST, "guest", asynchronous=True, endpoint="embeddings")
    await network.tasks.submit(new_task_id("direct"), order, None)
    assert (await claimed(line(network))).endpoint == "embeddings"


async def test_an_envelope_says_which_endpoint_it_is_for(network: Network) -> None:
    node = await network.sign_in(1)
    for endpoint in ("chat/completions", "completions"):
        order = Order("opengpu", MODEL, REQUEST, "guest", asynchronous=True, endpoint=endpoint)  # type: ignore[arg-type]
        task_id = new_task_id("opengpu")
        await network.tasks.submit(task_id, order, COMMITMENT)
        [envelope] = await network.envelopes(node)
        assert envelope["endpoint"] == endpoint
        terms = await network.tasks.terms(task_id, 1, node)
        assert isinstance(terms, Terms)
        assert terms.endpoint == endpoint


async def test_a_finished_claim_ends_the_task(network: Network) -> None:
    task, at = await network.submit(mode="direct"), line(network)
    await at.finish(await claimed(at), b'{"answer":1}')
    view = await network.tasks.read(task)
    assert (view.status, view.answer) == ("completed", b'{"answer":1}')
    assert await network.redis.zcard("relay:outbox:settle") == 0


async def test_a_failed_claim_says_so(network: Network) -> None:
    task, at = await network.submit(mode="direct"), line(network)
    await at.finish(await claimed(at), UpstreamError("The upstream failed."))
    assert (await network.tasks.read(task)).error_message == "The upstream failed."


async def test_a_dead_process_loses_its_claim_and_a_late_finish_changes_nothing(network: Network) -> None:
    task, dead, alive = await network.submit(mode="direct"), line(network), line(network)
    old = await claimed(dead)
    await network.end_lease(f"{task}#1")
    new = await claimed(alive)
    assert (new.task_id, new.attempt) == (task, 2)
    await dead.finish(old, b"late")
    await alive.renew([new])
    await alive.finish(new, b"right")
    assert (await network.tasks.read(task)).answer == b"right"
