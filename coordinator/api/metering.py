"""A stream that is counted as it passes, and paid for before its end goes out.

The upstream is asked for its own count (`stream_options.include_usage`); a client that did not ask does not see it. A
client that hangs up before the count has come pays for the text that went out, a token for every four bytes; a stream
that fails costs nothing.
"""

from __future__ import annotations

import re
import time
from typing import Any, Final

import orjson

from coordinator.api.billing import Till
from coordinator.api.ports import FrameStream
from coordinator.errors import StoreUnavailable
from coordinator.lifecycle.money import Bill, Tokens, bounded, text_bytes
from coordinator.protocol.ids import TaskId

_EVENT: Final = re.compile(rb"^data:[ ]?([^\r\n]*)\r?\n(?:\r?\n)?", re.MULTILINE)
_OPTIONS: Final = "stream_options"


class Meter:
    """Reads the frames of one stream."""

    def __init__(self, request: bytes) -> None:
        fields = orjson.loads(request)
        options = fields.get(_OPTIONS) or {}
        self._shows_usage = bool(options.get("include_usage"))
        self.request = orjson.dumps(fields | {_OPTIONS: {**options, "include_usage": True}})
        self._request_bytes = len(request)
        self._usage: Any = None
        self._counted = 0
        self._texts: dict[int, int] = {}
        self.whole = self.failed = False

    def take(self, frames: bytes) -> bytes:
        """What of them the client sees: without the count that it has not asked for."""
        if frames.startswith(b"data: {") and frames.find(b"\n") == len(frames) - 2:  # one event, as a rule
            return b"" if self._read(frames[6:]) and not self._shows_usage else frames
        kept, at = [], 0
        for event in _EVENT.finditer(frames):
            if event[1].rstrip() == b"[DONE]":
                self.whole = True
            elif self._read(event[1]) and not self._shows_usage:
                kept.append(frames[at : event.start()])
                at = event.end()
        return b"".join([*kept, frames[at:]]) if kept else frames

    def tokens(self) -> Tokens | None:
        """So far; None of a stream that has failed."""
        if self.failed:
            return None
        return bounded(self._usage, self._request_bytes, list(self._texts.values()))

    def _read(self, data: bytes) -> bool:
        """Whether it holds the count, and nothing else."""
        try:
            told = orjson.loads(data)
        except orjson.JSONDecodeError:
            return False
        if not isinstance(told, dict):
            return False
        choices = told.get("choices")
        if told.get("error") and not choices:
            self.failed = True
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict):
                self._count(choice)
        if not isinstance(told.get("usage"), dict):
            return False
        self._usage = told["usage"]
        if not choices and "timings" in told:
            self._add(told["usage"])
        return not choices

    def _add(self, usage: dict[str, Any]) -> None:
        """llama.cpp's server sends a count for each of several choices."""
        said = usage.get("completion_tokens")
        self._counted += said if isinstance(said, int) else 0
        self._usage = {**usage, "completion_tokens": self._counted}

    def _count(self, choice: dict[str, Any]) -> None:
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        part = choice.get("delta") or choice.get("text")
        self._texts[index] = self._texts.get(index, 0) + text_bytes(part)


class MeteredStream:
    """The frames of `frames`, as far as the client is to see them."""

    def __init__(self, frames: FrameStream, meter: Meter, till: Till, task_id: TaskId, bill: Bill) -> None:
        self._frames, self._meter, self._till = frames, meter, till
        self._task_id, self._bill = task_id, bill
        self._settled = False
        self._renewed = time.monotonic()

    def __aiter__(self) -> MeteredStream:
        return self

    async def __anext__(self) -> bytes:
        seen = b""
        while not seen:
            seen = self._meter.take(await anext(self._frames))  # type: ignore[call-overload]
        if self._meter.whole or self._meter.failed:
            await self._settle()
        else:
            await self._renew()
        return seen

    async def aclose(self) -> None:
        await self._frames.aclose()
        if not self._settled:  # the client hung up
            self._settled = True
            self._till.settle_later(self._task_id, self._bill, self._meter.tokens())

    async def _settle(self) -> None:
        self._settled = True
        if self._bill.amount:
            await self._till.settle(self._task_id, self._bill, self._meter.tokens())
        else:
            self._till.settle_later(self._task_id, self._bill, self._meter.tokens())

    async def _renew(self) -> None:
        """What is held for a call that has died is let go after a while; this one lives."""
        purse, now = self._till.purse, time.monotonic()
        if purse is None or not self._bill.amount or now - self._renewed < purse.hold_for.total_seconds() / 3:
            return
        self._renewed = now
        try:
            await purse.renew(self._task_id)
        except StoreUnavailable:
            self._renewed = 0.0
