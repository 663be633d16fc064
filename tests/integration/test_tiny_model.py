"""The shipped model behind llama.cpp's real server says what a newcomer would try first, and stops by itself."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from scripts.tiny_model import server


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    running = server.start(slots=2)
    with httpx.Client(base_url=running.listening_address, timeout=60) as client:
        yield client
    del running


def ask(client: httpx.Client, text: str, **fields: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 100, **fields}
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    choice: dict[str, Any] = reply.json()["choices"][0]
    return choice


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("Hello!", ("Hello", "Hi")),
        ("What is a lease?", ("lease",)),
        ("What is 7 + 5?", ("= 12.",)),
        ("3 times 4", ("= 12.",)),
        ("What is nine minus two?", ("= 7.",)),
    ],
)
def test_it_answers_and_stops(client: httpx.Client, asked: str, said: tuple[str, ...]) -> None:
    choice = ask(client, asked)
    assert choice["finish_reason"] == "stop"
    assert any(word in choice["message"]["content"] for word in said), choice


def test_it_stops_when_sampled(client: httpx.Client) -> None:
    ends = {ask(client, "What is a task?", temperature=0.8, seed=seed)["finish_reason"] for seed in range(10)}
    assert ends == {"stop"}


def test_it_goes_by_the_name_the_relay_gives_it(client: httpx.Client) -> None:
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == [server.MODEL_ALIAS]
