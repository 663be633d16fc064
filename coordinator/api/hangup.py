"""Notices that a client hung up, and cancels what runs on its behalf."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.types import Receive


class ClientGone(Exception):
    """The client hung up: nobody is there to be answered."""


class HangUp:
    """`async with HangUp(receive):` cancels its body when the client hangs up, and raises ClientGone then.

    The request's own body must have been read: from there on `receive` yields nothing but the disconnect.
    """

    __slots__ = ("_gone", "_receive", "_task", "_watch")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._task: asyncio.Task[object] | None
        self._watch: asyncio.Task[None]

    async def __aenter__(self) -> None:
        self._task = asyncio.current_task()
        self._watch = asyncio.create_task(self._listen())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.cancel()
        if not self._gone or self._task is None:
            return
        if self._task.uncancel() == 0 and (error is None or isinstance(error, asyncio.CancelledError)):
            raise ClientGone from None

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._task is not None:
            self._task.cancel()
