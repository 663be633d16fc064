"""Signatures, as the standard's own package sees them."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from coordinator.webhooks.signing import PREFIX, headers, new_secret, signature

ID = "msg_direct:00000000-0000-4000-8000-000000000000"


def test_the_example_of_the_standard() -> None:
    """From https://github.com/standard-webhooks/standard-webhooks, its libraries' test vector."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == expected


@given(body=st.text().map(str.encode))
def test_what_was_signed_is_verified_and_nothing_else(body: bytes) -> None:
    secret, other = new_secret(), new_secret()
    sent = headers([secret], ID, int(time.time()), body)
    Webhook(secret).verify(body, sent, json_parse=False)
    for key, text, changed in ((other, body, {}), (secret, body + b" ", {}), (secret, body, {"webhook-id": ID + "0"})):
        with pytest.raises(WebhookVerificationError):
            Webhook(key).verify(text, sent | changed, json_parse=False)


def test_either_secret_verifies_while_both_are_valid() -> None:
    new, old = new_secret(), new_secret()
    sent = headers([new, old], ID, int(time.time()), b"{}")
    assert Webhook(new).verify(b"{}", sent) == Webhook(old).verify(b"{}", sent) == {}
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(b"{}", sent)


def test_a_secret_is_as_long_as_the_standard_asks() -> None:
    secret = new_secret()
    assert secret.startswith(PREFIX)
    assert 24 <= len(base64.b64decode(secret[len(PREFIX) :], validate=True)) <= 64
    assert new_secret() != secret
