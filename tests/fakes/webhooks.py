"""Fakes of what webhooks stand on: name servers, the store's deliveries, a receiver that checks signatures."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from aiohttp import web

from coordinator.lifecycle.webhooks import Attempt, Outcome
from coordinator.protocol.ids import TaskId

PUBLIC = "93.184.216.34"


class FakeNames:
    """A name server. Answers are said once each, the last for ever; `….example` and `….example.com` are public."""

    def __init__(self, names: Mapping[str, Sequence[Sequence[str]]] | None = None) -> None:
        self.names = {name: list(answers) for name, answers in (names or {}).items()}
        self.asked: list[str] = []
        self.silent = False

    async def addresses(self, host: str, port: int) -> Sequence[IPv4Address | IPv6Address]:
        self.asked.append(host)
        if self.silent:
            await asyncio.Event().wait()
        try:
            return [ip_address(host)]
        except ValueError:
            pass
        if host in self.names:
            answers = self.names[host]
            return [ip_address(text) for text in (answers.pop(0) if len(answers) > 1 else answers[0])]
        if host.endswith(("example", "example.com")):
            return [ip_address(PUBLIC)]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@dataclass
class Got:
    headers: dict[str, str]
    body: bytes
    path: str


@dataclass
class Receiver:
    """A server on this machine. `answer` says what it does, or `statuses`, one a request; else 204."""

    statuses: list[int] = field(default_factory=list)
    got: list[Got] = field(default_factory=list)
    port: int = 0
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    at_once: int = 0
    most_at_once: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            headers = {name.lower(): value for name, value in request.headers.items()}
            got = Got(headers, await request.read(), request.path)
            async with self.arrived:
                self.got.append(got)
                self.arrived.notify_all()
            if self.answer is not None:
                return await self.answer(request)
            return web.Response(status=self.statuses.pop(0) if self.statuses else 204)
        finally:
            self.at_once -= 1

    @asynccontextmanager
    async def serving(self, port: int = 0, ssl_context: Any = None) -> AsyncIterator[Receiver]:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=ssl_context)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(60), self.arrived:
            await self.arrived.wait_for(lambda: len(self.got) >= count)


class FakeSender:
    """Does what `script` says, at once or after a while; 200 without one."""

    def __init__(self, script: Callable[[str], Awaitable[Outcome]] | None = None) -> None:
        self.script = script
        self.sent: list[tuple[str, dict[str, str], bytes]] = []

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        self.sent.append((url, dict(headers), body))
        return await self.script(url) if self.script else Outcome(200)


class FakeDeliveries:
    """Attempts in a list; `finished` holds what was handed in."""

    def __init__(self) -> None:
        self.due: list[Attempt] = []
        self.finished: dict[TaskId, Outcome] = {}
        self.failing: Exception | None = None
        self.changed = asyncio.Condition()
        self.taken = True

    async def add(self, attempt: Attempt) -> None:
        async with self.changed:
            self.due.append(attempt)
            self.changed.notify_all()

    async def claim(self) -> Attempt | None:
        if self.failing is not None:
            raise self.failing
        return self.due.pop(0) if self.due else None

    async def finish(self, attempt: Attempt, outcome: Outcome) -> bool:
        if self.failing is not None:
            raise self.failing
        async with self.changed:
            self.finished[attempt.task_id] = outcome
            self.changed.notify_all()
        return self.taken

    async def wakeup(self, timeout: timedelta) -> None:
        try:
            async with asyncio.timeout(timeout.total_seconds()), self.changed:
                await self.changed.wait_for(lambda: bool(self.due))
        except TimeoutError:
            pass

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(60), self.changed:
            await self.changed.wait_for(true)
