"""schemathesis over the served OpenAPI document, against the real coordinator: no 500, every response as described.

FUZZ=full asks 25 times as much.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from coordinator.api.completions import OpenAICompletionRequest
from coordinator.api.embeddings import OpenAIEmbeddingRequest
from coordinator.api.requests import OpenAIChatRequest
from tests.integration.api.real import MODEL, NETWORK_MODEL, RealApi, real  # noqa: F401 - a fixture
from tests.integration.api.test_fuzz import FULL

with warnings.catch_warnings():  # its own, at import
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import CHECKS, load_all_checks

# An upstream that has failed and a network without nodes are honest answers: 500 alone is not.
HONEST_5XX = {502, 503, 504}
EXAMPLES = 300 if FULL else 15
pytestmark = pytest.mark.timeout(14_400 if FULL else 240)
SEEN: set[tuple[str, int]] = set()
# What can't be answered well here: a key must be revoked first.
NEVER_WELL = {"DELETE /v2/customer/keys/{key_id}"}
CHAT = "/v2/openai/v1/chat/completions"
OPTIONAL_TO_ASK = {
    name.alias or key
    for kind in (OpenAIChatRequest, OpenAICompletionRequest, OpenAIEmbeddingRequest)
    for key, name in kind.model_fields.items()
    if not name.is_required()
}


def not_broken(context: Any, response: Any, case: Any) -> None:
    assert response.status_code < 500 or response.status_code in HONEST_5XX, response.text


@pytest.fixture(scope="module")
def schema(real: RealApi) -> Any:  # noqa: F811
    load_all_checks()
    return schemathesis.openapi.from_url(f"{real.base}/v2/openapi-public.json")


@pytest.fixture(scope="module")
def pool(real: RealApi) -> dict[str, list[str]]:  # noqa: F811
    """Ids that mean something: tasks in every state that there is without nodes, and keys."""
    with httpx.Client(base_url=real.base, headers={"X-API-Key": real.superkey}, trust_env=False) as client:
        asked = {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}]}
        answers = [client.post(CHAT, json=asked | more) for more in ({}, {"async": True}, {"async": True, "n": 2})]
        keys = [client.post("/v2/customer/keys", json={"name": f"key {number}"}) for number in range(4)]
    return {
        "task_id": [answer.json()["task_id"] for answer in answers],
        "key_id": [key.json()["key_id"] for key in keys],
        "model": [MODEL, NETWORK_MODEL],
    }


@pytest.fixture(scope="module", autouse=True)
def everything_was_asked_and_answered(schema: Any) -> Iterator[None]:
    yield
    asked = {result.ok().label for result in schema.get_all_operations()}
    assert {name for name, _ in SEEN} == asked
    answered = {name for name, status in SEEN if status < 300}
    assert {name for name in asked - answered if "deliver" not in name} <= NEVER_WELL


def operations(schema: Any) -> list[Any]:
    return [result.ok() for result in schema.get_all_operations()]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_operation(
    schema: Any,
    real: RealApi,  # noqa: F811
    pool: dict[str, list[str]],
    mode: GenerationMode,
) -> None:
    """`mode`: requests that the document allows, and such as it forbids."""
    wrong: list[str] = []
    for operation in operations(schema):
        try:
            ask(operation, real, pool, mode)
        except BaseExceptionGroup as group:
            wrong += [f"{operation.label}: {error}" for error in group.exceptions]
        except Exception as error:
            wrong.append(f"{operation.label}: {error}")
    assert not wrong, "\n\n".join(text[:1500] for text in wrong)


def only_the_body_is_wrong(case: Any) -> bool:
    """On the way into a query or a header a wrong value may become a right one: a list of one is its item."""
    parts = {place: part.mode for place, part in case.meta.components.items()}
    wrong = [place for place, how in parts.items() if how is GenerationMode.NEGATIVE]
    return [str(place.value) for place in wrong] == ["body"]


def with_meaning(case: Any, pool: dict[str, list[str]], number: int) -> None:
    """Puts names and ids that exist where random ones never would."""
    if isinstance(case.body, dict):
        if number == 1:  # one plain request, so that every operation has a good answer to be held to its schema
            case.body = {name: value for name, value in case.body.items() if name not in OPTIONAL_TO_ASK}
            case.body.update({name: "Hello!" for name in ("prompt", "input") if name in case.body})
        if isinstance(case.body.get("model"), str):
            case.body["model"] = pool["model"][number % 2]
        messages = case.body.get("messages")
        if isinstance(messages, list) and all(isinstance(message, dict) for message in messages):
            case.body["messages"] = [{**message, "role": "user"} for message in messages] or [{"role": "user"}]
    for name in pool.keys() & case.path_parameters.keys():
        case.path_parameters[name] = pool[name][number % len(pool[name])]


def ask(operation: Any, real: RealApi, pool: dict[str, list[str]], mode: GenerationMode) -> None:  # noqa: F811
    names = ["status_code_conformance", "content_type_conformance", "response_schema_conformance"]
    checks, rejection = [not_broken, *CHECKS.get_by_names(names)], CHECKS.get_by_names(["negative_data_rejection"])

    plain = iter([True])  # once at least, whatever is drawn

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=not FULL,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode), number=st.integers(0, 15))
    def run(case: Any, number: int) -> None:
        number = 1 if next(plain, False) else number
        if mode is GenerationMode.POSITIVE and number:
            with_meaning(case, pool, number)
        response = case.call(headers={"X-API-Key": real.superkey})
        SEEN.add((operation.label, response.status_code))
        wrong_body = mode is GenerationMode.NEGATIVE and only_the_body_is_wrong(case)
        case.validate_response(response, checks=[*checks, *rejection] if wrong_body else checks)

    run()
