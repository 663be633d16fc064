"""One choice of a streamed answer: what its deltas add up to.

Strings are written on, lists grow, of all else the last word counts: as OpenAI's own clients do it. Texts are kept as
the JSON they came in, in one growing buffer each: thousands of frames make one.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from coordinator.protocol.envelope import Endpoint

# Said once, or again and again: never written on.
_LABELS: Final = frozenset({"role", "id", "type", "name", "index"})
_MOST_CALLS: Final = 128


class Malformed(ValueError):
    """What came is no part of an answer."""


class Choice:
    """`add` each part of it; `fields` is the choice as it stands in an answer that comes in one piece."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._chat = endpoint == "chat/completions"
        self._texts: dict[str, bytearray] = {}
        self._said: dict[str, Any] = {}
        self._outside: dict[str, Any] = {}
        self.finished = False
        self.size = 0

    def add(self, part: dict[str, Any], length: int) -> bool:
        """Whether the model has said anything in it.

        `size` grows by the characters of texts, or by `length`, that of the whole frame, for whatever else adds up,
        names that were not there before included.
        """
        if not self._chat:
            self._add_around(part, length)
            return self._add_said({"text": part.get("text")}, length)
        delta = part.get("delta")
        if delta is not None and not isinstance(delta, dict):
            raise Malformed("a delta is an object")
        self._add_around(part, length)
        return self._add_said(delta or {}, length)

    def text(self, name: str) -> bytearray:
        """One of its texts, to be written on: JSON, without the quotes."""
        return self._texts.setdefault(name, bytearray())

    def fields(self) -> dict[str, Any]:
        said = self._said | {name: _plain(text) for name, text in self._texts.items()}
        if not self._chat:
            return {"text": "", **said, **self._outside}
        return {**self._outside, "message": {"role": "assistant", "content": None, **said}}

    def _add_around(self, part: dict[str, Any], length: int) -> None:
        for name, value in part.items():
            if name not in ("delta", "text"):
                if isinstance(value, list | dict) or name not in self._outside:
                    self.size += length
                _merge(self._outside, name, value)
        self.finished = bool(self._outside.get("finish_reason"))

    def _add_said(self, delta: dict[str, Any], length: int) -> bool:
        anything = False
        for name, value in delta.items():
            if isinstance(value, str) and name not in _LABELS:
                self._said.pop(name, None)
                self.text(name).extend(orjson.dumps(value)[1:-1])
                self.size += len(value)
                anything = anything or bool(value)
            elif isinstance(value, list | dict):
                self.size += length
                anything = anything or bool(value)
                if name == "tool_calls":
                    self._add_calls(value)
                else:
                    _merge(self._said, name, value)
            elif value is not None or name not in self._texts:
                if name not in self._said:
                    self.size += length
                _merge(self._said, name, value)
        return anything

    def _add_calls(self, deltas: Any) -> None:
        """Of tools: each has an index of its own. Rare here, since a request with tools is not streamed."""
        calls = self._said.setdefault("tool_calls", [])
        for delta in deltas:
            index = delta.pop("index", 0) if isinstance(delta, dict) else None
            if not isinstance(index, int) or not 0 <= index <= min(len(calls), _MOST_CALLS):
                raise Malformed("a tool call has an index")
            if index == len(calls):
                calls.append({})
            for name, value in delta.items():
                _write_on(calls[index], name, value)


def _merge(whole: dict[str, Any], name: str, value: Any) -> None:
    """Lists grow, objects are merged, and null is no word."""
    old = whole.get(name)
    if isinstance(old, list) and isinstance(value, list):
        old.extend(value)
    elif isinstance(old, dict) and isinstance(value, dict):
        for inner, part in value.items():
            _merge(old, inner, part)
    elif value is not None or name not in whole:
        whole[name] = value


def _write_on(whole: dict[str, Any], name: str, value: Any) -> None:
    old = whole.get(name)
    if isinstance(old, dict) and isinstance(value, dict):
        for inner, part in value.items():
            _write_on(old, inner, part)
    elif isinstance(old, str) and isinstance(value, str) and name not in _LABELS:
        whole[name] = old + value
    elif value or name not in whole:
        whole[name] = value


def _plain(text: bytearray) -> str:
    try:
        plain: str = orjson.loads(b'"' + text + b'"')
    except orjson.JSONDecodeError:
        raise Malformed("a text is JSON") from None
    return plain
