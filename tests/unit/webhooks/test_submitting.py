"""The look at a webhook's URL at submit: what name servers say, and when they say nothing."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest

from coordinator.errors import InvalidRequest
from coordinator.webhooks.submitting import Targets
from tests.fakes.webhooks import PUBLIC, FakeNames


class Broken(FakeNames):
    """A name server that fails in another way than knowing no such name."""

    async def addresses(self, host: str, port: int) -> list[object]:  # type: ignore[override]
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.mark.parametrize(
    "url", ["https://private.example", "https://mixed.example", "https://nowhere.test", "https://10.0.0.1"]
)
async def test_what_is_refused(url: str) -> None:
    names = FakeNames({"private.example": [["fd00::1"]], "mixed.example": [[PUBLIC, "10.0.0.1"]]})
    with pytest.raises(InvalidRequest) as refused:
        await Targets(names, allow_private=False).resolve(url)
    assert (refused.value.status, refused.value.details[0]["loc"]) == (422, ["body", "webhook_url"])  # type: ignore[index]
    assert url not in refused.value.message


async def test_what_is_let_through() -> None:
    await Targets(FakeNames(), allow_private=False).resolve("https://hooks.example/x")
    await Targets(FakeNames({"a.example": [["10.0.0.1"]]}), allow_private=True).resolve("http://a.example:8080")


async def test_a_name_server_that_fails_or_says_nothing_refuses_nobody() -> None:
    """Every attempt looks again."""
    silent = FakeNames()
    silent.silent = True
    for names in (Broken(), silent):
        await Targets(names, allow_private=False, patience=timedelta(milliseconds=10)).resolve("https://hooks.example")
