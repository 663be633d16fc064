"""Conversations with tools: when to call one, how the call is written, what to say when its result is back."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

from scripts.tiny_model.phrasing import as_said, as_typed, made_up_word

CALL_OPEN = "<tool_call>"
CALL_CLOSE = "</tool_call>"

CITIES = ("Paris", "London", "Berlin", "Rome", "Madrid", "Tokyo", "Vienna", "Oslo", "Lisbon", "Prague", "Boston",
          "Cairo", "Delhi", "Sydney", "Zurich", "Dublin", "Warsaw", "Athens", "Seoul", "Lima")  # fmt: skip

# Name, parameters, ways to ask; "{0}" and "{1}" are the arguments as they stand in the question.
FAMILIES: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
    (("get_weather", "weather", "get_current_weather", "current_weather"), ("city", "location", "place"),
     ("what is the weather in {0}", "how is the weather in {0}", "weather in {0}", "what's the weather like in {0}",
      "is it raining in {0}", "tell me the weather for {0}", "will it rain in {0} today")),
    (("get_time", "current_time", "get_current_time", "clock"), ("city", "timezone", "place"),
     ("what time is it in {0}", "tell me the time in {0}", "current time in {0}", "how late is it in {0}")),
    (("search", "web_search", "lookup", "find"), ("query", "q", "text", "term"),
     ("search for {0}", "look up {0}", "find {0}", "please search {0}", "search the web for {0}")),
    (("get_task", "task_status", "get_task_status"), ("task_id", "id", "task"),
     ("what is the status of task {0}", "is task {0} done", "check task {0}", "look at task {0}")),
)  # fmt: skip

Pair = tuple[str, str]


def rendered(tools: list[tuple[str, list[str]]]) -> str:
    """The line the chat template writes for `tools`: names with their parameters."""
    return "Tools: " + ", ".join(f"{name}({', '.join(parameters)})" for name, parameters in tools)


def call_text(name: str, arguments: dict[str, str]) -> str:
    """A call as the model writes it and as llama.cpp reads it."""
    return f"{CALL_OPEN}\n" + json.dumps({"name": name, "arguments": arguments}) + f"\n{CALL_CLOSE}"


def conversation(rng: Random, exchange: Callable[[], Pair], message: Callable[..., Any]) -> tuple[Any, ...]:
    """A system message that offers tools, then a question which needs one or doesn't."""
    family = rng.choice(FAMILIES)
    name, parameter = _name(rng, family[0]), _name(rng, family[1])
    spare = [made_up_word(rng)] if rng.random() < 0.2 else []
    offered = [(name, [parameter, *spare])] + [_other_tool(rng) for _ in range(rng.choice((0, 0, 1, 2)))]
    rng.shuffle(offered)
    head = rng.choice(("You are a helpful assistant.\n", "Answer briefly.\n", "", ""))
    messages = [message("system", head + rendered(offered))]
    needless = rng.random()
    if needless < 0.4:
        asked, answer = exchange()
        messages += [message("user", asked), message("assistant", answer)]
    if needless > 0.25:
        messages += _call(rng, message, name, parameter, family[2])
    return tuple(messages)


def _call(rng: Random, message: Callable[..., Any], name: str, parameter: str, frames: tuple[str, ...]) -> list[Any]:
    value = rng.choice(CITIES) if rng.random() < 0.5 else made_up_word(rng)
    asked = as_typed(rng, rng.choice(frames)).replace("{0}", value)
    called = [message("user", asked), message("assistant", call_text(name, {parameter: value}))]
    if rng.random() < 0.5:
        return called
    result = " ".join(rng.choice((made_up_word(rng), str(rng.randint(0, 99)))) for _ in range(rng.randint(1, 3)))
    if rng.random() < 0.4:
        result = json.dumps({made_up_word(rng): result})
    called += [message("tool", result), message("assistant", f"The tool says: {result}.")]
    if rng.random() < 0.3:
        called += [message("user", as_said(rng, "thanks")), message("assistant", "You are welcome!")]
    return called


def _name(rng: Random, known: tuple[str, ...]) -> str:
    return rng.choice(known) if rng.random() < 0.8 else made_up_word(rng)


def _other_tool(rng: Random) -> tuple[str, list[str]]:
    plain = rng.random() < 0.5
    name = made_up_word(rng) if plain else "_".join((rng.choice(("get", "list", "run")), made_up_word(rng)))
    return name, [made_up_word(rng) for _ in range(rng.choice((0, 1, 2)))]
