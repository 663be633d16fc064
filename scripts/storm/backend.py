"""A model server that answers each prompt in its one right way, or fails as it is told to.

`python -m scripts.storm.backend PORT`. OpenAI's chat completions, streamed or not; `POST /mood {"mood", "share"}` has
that share of the requests spoiled, `GET /mood` says how many were.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from scripts.storm.answers import answer_for
from scripts.storm.shapes import MODELS, chunks, completion

FINE = "fine"
SLOW_SECONDS = 3.0
FIRST_WORD_SECONDS, WORD_SECONDS = 0.15, 0.08
# Spreads any share evenly over the requests (the golden ratio's multiples are as far apart as can be).
_SPREAD = 0.6180339887

_NO_COMPLETION = (
    '{"choices": "soon"}',
    "[]",
    '{"object":"chat.completion","model":"m","choices":[{"index":0}]}',
    "\0\1",
)
_NO_FRAMES = ("data: {\n\n", "data: [1, 2]\n\n", 'data: {"choices": 7}\n\ndata: [DONE]\n\n', "\0\1\2\n\n")


class Hangup(Exception):
    """Close the connection without another byte."""


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    path: str
    body: dict[str, Any]


@dataclass
class Model:
    """`number` counts requests; `spoiled` those that failed on purpose, by mood."""

    mood: str = FINE
    share: float = 1.0
    number: int = 0
    spoiled: Counter[str] = field(default_factory=Counter)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def turn_to(self, mood: str, share: float) -> None:
        self.mood, self.share = mood, share
        self.changed.set()
        self.changed = asyncio.Event()

    def mood_for_next(self) -> str:
        self.number += 1
        spoils = self.mood != FINE and self.number * _SPREAD % 1 < self.share
        self.spoiled[self.mood] += spoils
        return self.mood if spoils else FINE


class Connection:
    """HTTP/1.1 with keep-alive, as much of it as a node speaks."""

    def __init__(self, model: Model, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._model, self._reader, self._writer = model, reader, writer

    async def serve(self) -> None:
        with contextlib.suppress(OSError, Hangup, asyncio.IncompleteReadError):
            while True:
                await self._answer(await self._read())
        self._writer.close()

    async def _read(self) -> Call:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        lines = (line.partition(":") for line in head.lower().split("\r\n"))
        length = next((int(value) for name, _, value in lines if name == "content-length"), 0)
        body = await self._reader.readexactly(length)
        return Call(method, path, json.loads(body) if body else {})

    async def _answer(self, call: Call) -> None:
        model = self._model
        if call.path == "/mood":
            if call.method == "POST":
                model.turn_to(call.body["mood"], call.body["share"])
            return await self._send(200, json.dumps({"served": model.number, "spoiled": model.spoiled}))
        if call.method == "GET":
            return await self._send(200, MODELS)
        mood = model.mood_for_next()
        if mood == "hung":
            return await self._hang()
        if mood == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        if mood == "error500":
            status = 500 if model.number % 2 else 503
            return await self._send(status, '{"error": {"message": "the storm broke it", "type": "server_error"}}')
        await self._complete(call.body, mood)

    async def _hang(self) -> None:
        """Until the node gives up or the storm is over, whichever comes first."""
        over, gone = asyncio.ensure_future(self._model.changed.wait()), asyncio.ensure_future(self._reader.read(1))
        await asyncio.wait({over, gone}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel(), gone.cancel()
        raise Hangup

    async def _complete(self, request: dict[str, Any], mood: str) -> None:
        words = answer_for(str(request["messages"][-1]["content"]))
        if mood == "empty":
            words = []
        if request.get("stream"):
            await self._stream(request, words, mood)
        else:
            await self._whole(request, words, mood)

    async def _whole(self, request: dict[str, Any], words: list[str], mood: str) -> None:
        await asyncio.sleep(FIRST_WORD_SECONDS + WORD_SECONDS * len(words))
        odd = bool(self._model.number % 2)
        if mood == "garbage":
            return await self._send(200, _NO_COMPLETION[self._model.number % len(_NO_COMPLETION)])
        if mood == "truncated" and odd:
            text = completion(request, words)
            self._head(200, len(text), "application/json")
            self._writer.write(text[: len(text) // 2].encode())
            await self._writer.drain()
            raise Hangup
        if mood == "truncated":
            return await self._send(200, completion(request, words[: len(words) // 2], finish=None))
        await self._send(200, completion(request, words))

    async def _stream(self, request: dict[str, Any], words: list[str], mood: str) -> None:
        self._head(200, None, "text/event-stream")
        async for text in self._frames(request, words, mood):
            self._chunk(text)
            await self._writer.drain()
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def _frames(self, request: dict[str, Any], words: list[str], mood: str) -> AsyncIterator[str]:
        frames: Iterator[str] = iter(chunks(request, words))
        number = self._model.number
        await asyncio.sleep(FIRST_WORD_SECONDS)
        if mood == "garbage":
            yield next(frames)
            yield _NO_FRAMES[number % len(_NO_FRAMES)]
            return
        for at, frame in enumerate(frames):
            if mood == "truncated" and at == len(words) // 2:
                if number % 2:
                    raise Hangup
                return
            yield frame
            await asyncio.sleep(WORD_SECONDS)

    async def _send(self, status: int, text: str) -> None:
        self._head(status, len(text.encode()), "application/json")
        self._writer.write(text.encode())
        await self._writer.drain()

    def _head(self, status: int, length: int | None, kind: str) -> None:
        size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        self._writer.write(f"HTTP/1.1 {status} Storm\r\ncontent-type: {kind}\r\n{size}\r\n\r\n".encode())

    def _chunk(self, text: str) -> None:
        self._writer.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())


async def serve(port: int) -> None:
    model = Model()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Connection(model, reader, writer).serve()

    server = await asyncio.start_server(connected, "127.0.0.1", port, backlog=256)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
