"""What a streamed answer costs a node: CPU a frame to put it together again, and with HTTP around it.

Processor time, not wall time: it says the same on a busy machine.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import orjson

from node.inference.assembly import Assembly
from node.inference.backend import BackendAddress, HttpBackend, backend_session
from scripts.benchmark.backend import stream
from scripts.network.home import free_port

FRAMES = 2000
ANSWERS, AT_ONCE = 300, 16
_LONG = timedelta(seconds=60)


async def measure(rounds: int) -> list[str]:
    alike = [_seconds_a_frame(_frames(FRAMES)) for _ in range(rounds)]
    unlike = [_seconds_a_frame(_frames(FRAMES, differ=True)) for _ in range(rounds)]
    parsed = [_seconds(_parse, _frames(FRAMES)) for _ in range(rounds)]
    lines = [
        f"a frame like the last but for its text   {_micro(alike)} µs of CPU",
        f"a frame that differs in more             {_micro(unlike)} µs",
        f"orjson.loads of a frame, nothing else    {_micro(parsed)} µs",
    ]
    async with _server() as url:
        whole = [await _cpu_an_answer(url, 0) for _ in range(rounds)]
        lines.append(f"an answer over HTTP in one piece         {_micro(whole)} µs")
        for tokens in (9, 200):
            took = [await _cpu_an_answer(url, tokens) for _ in range(rounds)]
            more = (statistics.median(took) - statistics.median(whole)) / (tokens + 4)
            name = f"an answer over HTTP in {tokens + 4} frames"
            lines.append(f"{name:40} {_micro(took)} µs: {more * 1e6:.1f} µs a frame more")
    return lines


def _frames(count: int, *, differ: bool = False) -> list[bytes]:
    """One read each, as they come from a model that writes slowly."""
    begin, *texts, _, _, _ = stream(count).split(b"\n\n")
    if differ:
        texts = [text.replace(b"1795000000", b"%d" % number) for number, text in enumerate(texts)]
    return [frame + b"\n\n" for frame in (begin, *texts)]


def _seconds_a_frame(frames: list[bytes]) -> float:
    return _seconds(Assembly("chat/completions", lambda: None).feed, frames)


def _seconds(take: Callable[[bytes], None], frames: list[bytes]) -> float:
    started = time.process_time()
    for frame in frames:
        take(frame)
    return (time.process_time() - started) / len(frames)


def _parse(frame: bytes) -> None:
    orjson.loads(frame[6:])


async def _cpu_an_answer(url: str, tokens: int) -> float:
    """Of this process alone: in one piece where `tokens` is 0."""
    request = b'{"model":"relay/tiny-chat","max_tokens":%d,"messages":[]}' % tokens
    async with backend_session(AT_ONCE) as session:
        backend = HttpBackend(session, BackendAddress(url))
        left = iter(range(ANSWERS))

        async def caller() -> None:
            for _ in left:
                await backend.complete(request, _LONG, heard=(lambda: None) if tokens else None)

        await backend.complete(request, _LONG, heard=(lambda: None) if tokens else None)
        started = time.process_time()
        await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
        return (time.process_time() - started) / ANSWERS


@asynccontextmanager
async def _server() -> AsyncIterator[str]:
    port = free_port()
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "scripts.benchmark.backend", str(port))
    try:
        async with backend_session(1) as session, asyncio.timeout(30):
            backend = HttpBackend(session, BackendAddress(f"http://127.0.0.1:{port}"))
            while await backend.kind() is None:
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            child.terminate()
        await child.wait()


def _micro(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1e6:7.1f}"
