"""Addresses that everybody on the way can read along."""

from __future__ import annotations

import pytest

from node.presence.cleartext import cleartext


@pytest.mark.parametrize("url", ["http://relay.example.org/base", "redis://node-0xA:secret@192.0.2.7:6379/0"])
def test_an_address_that_is_not_encrypted_is_said_without_its_password(url: str) -> None:
    said = cleartext(url)
    assert said is not None
    assert "secret" not in said


@pytest.mark.parametrize(
    "url",
    [
        "https://relay.example.org", "rediss://x:y@192.0.2.7:6379/0", "http://127.0.0.1:8080", "http://localhost:1",
        "redis://x:y@[::1]:6379/0", "redis://127.8.8.8:6379/0",
    ],
)  # fmt: skip
def test_what_is_encrypted_or_stays_on_this_machine_is_fine(url: str) -> None:
    assert cleartext(url) is None
