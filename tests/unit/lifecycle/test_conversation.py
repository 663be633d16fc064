"""What a request's beginnings are, and whose."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from coordinator.lifecycle.conversation import EARLIER, prefixes


def of(*texts: str, client: str = "me", model: str = "m", **fields: Any) -> tuple[str, ...]:
    roles = ("user", "assistant")
    messages = [{"role": roles[number % 2], "content": text} for number, text in enumerate(texts)]
    return prefixes(client, model, {"messages": messages, **fields})


def test_the_next_turn_begins_with_the_one_before() -> None:
    first, second, third = of("a"), of("a", "b", "c"), of("a", "b", "c", "d", "e")
    assert len(first) == 1
    assert second[2] == first[0]
    assert (third[2], third[4]) == (second[0], first[0])


def test_what_differs_anywhere_before_is_another_conversation() -> None:
    known = of("a", "b", "c")[0]
    others = [
        of("A", "b", "c", "d", "e"), of("a", "b", "c ", "d", "e"), of("a", "bc", "", "d", "e"),
        of("a", "b", "c", "d", "e", client="you"), of("a", "b", "c", "d", "e", model="n"),
        of("a", "b", "c", "d", "e", tools=[{"type": "function"}]),
    ]  # fmt: skip
    assert known in of("a", "b", "c", "d", "e", temperature=1, max_tokens=7)
    assert not any(known in other for other in others)


def test_the_order_of_a_messages_members_says_nothing() -> None:
    messages = [{"content": "a", "role": "user"}, {"role": "user", "content": "b"}]
    assert prefixes("me", "m", {"messages": messages})[1:] == of("a")


@given(st.integers(1, 60))
def test_a_few_beginnings_are_looked_for_whatever_the_length(turns: int) -> None:
    found = of(*("x" * turns))
    assert len(found) == min(turns, EARLIER + 1) == len(set(found))


def test_a_text_that_grows_is_a_conversation_too() -> None:
    text = "".join(f"{number} is a number. " for number in range(200))
    earlier = prefixes("me", "m", {"prompt": text[:2_000]})
    assert earlier[0] in prefixes("me", "m", {"prompt": text[:3_000]})[1:]
    assert earlier[0] not in prefixes("me", "m", {"prompt": "!" + text[:3_000]})
    assert prefixes("me", "m", {"prompt": text[:100]}) == ()


def test_what_has_no_beginning_has_none() -> None:
    for fields in ({"input": "text"}, {"prompt": ["a", "b"]}, {"prompt": [1, 2, 3]}, {"messages": []}):
        assert prefixes("me", "m", fields) == ()
