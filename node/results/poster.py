"""Posts each Report until the coordinator has taken or refused it.

Hot path: post first. Only a Report that is not taken within a second, or whose post fails, goes to disk: an fsync costs
more than the rest of the relay together, and a node killed before that loses unposted work alone, whose lease brings it
back.
"""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from http import HTTPStatus

import structlog
from pydantic import ValidationError

from coordinator.protocol.ids import AttemptId, TaskId, attempt_id
from coordinator.protocol.report import Report, ReportReply
from coordinator.protocol.session import REPORT_PATH
from node.log import shown
from node.presence.line import CoordinatorUnreachable, Line, Reply
from node.results.outbox import Outbox

log = structlog.get_logger()

_SAVE_AFTER = timedelta(seconds=1)
_POST_TIMEOUT = timedelta(seconds=30)
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
# The coordinator can't read it, and never will: held any longer, it would only keep its task from another node.
_UNREADABLE = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})


class _Unsettled:
    """A Report on its way. `saved`: there is a file of it, or may soon be. `over`: it is settled or dropped."""

    __slots__ = ("attempt", "body", "over", "saved", "saving", "task")

    def __init__(self, attempt: AttemptId, body: bytes, *, saved: bool) -> None:
        self.attempt = attempt
        self.body = body
        self.saved = saved
        self.over = False
        self.saving: asyncio.Task[bool] | None = None
        self.task: asyncio.Task[None] | None = None


class Poster:
    """Implements `node.attempts.Reports`. All of it runs in the event loop's thread, but for the disk."""

    def __init__(self, line: Line, outbox: Outbox, save_after: timedelta = _SAVE_AFTER) -> None:
        self._line = line
        self._outbox = outbox
        self._save_after = save_after
        self._unsettled: dict[AttemptId, _Unsettled] = {}
        self._in_trouble = self._disk_fails = False
        self._empty = asyncio.Event()
        self._empty.set()

    def submit(self, report: Report) -> None:
        attempt = attempt_id(TaskId(report.task_id), report.attempt)
        if attempt not in self._unsettled:
            self._begin(_Unsettled(attempt, report.model_dump_json(exclude_none=True).encode(), saved=False))

    async def resume(self) -> None:
        """Takes up what an earlier process left on disk."""
        left = await asyncio.to_thread(self._outbox.load)
        for attempt, body in left.items():
            self._begin(_Unsettled(attempt, body, saved=True))
        if left:
            log.info("posting Reports from before the restart", count=len(left))

    def holds(self, attempt: AttemptId) -> bool:
        return attempt in self._unsettled

    def unsettled(self) -> tuple[AttemptId, ...]:
        return tuple(self._unsettled)

    def drop(self, attempt: AttemptId) -> None:
        """The attempt is another node's by now, or nobody's."""
        held = self._unsettled.get(attempt)
        # once: heartbeats name it until it is gone, and a second cancellation would catch the removal of its file
        if held is not None and held.task is not None and not held.over:
            held.over = True
            held.task.cancel()

    async def settle(self, limit: timedelta) -> None:
        """Waits until all is posted; what is not by then is on disk when this returns."""
        try:
            async with asyncio.timeout(limit.total_seconds()):
                await self._empty.wait()
        except TimeoutError:
            left = list(self._unsettled.values())
            if saved := sum(await asyncio.gather(*(self._save(held) for held in left))):
                log.warning("Reports wait on disk for the next start", count=saved)
            if saved < len(left):
                log.error("Reports are lost: neither posted nor on disk", count=len(left) - saved)

    def _begin(self, held: _Unsettled) -> None:
        self._unsettled[held.attempt] = held
        self._empty.clear()
        held.task = asyncio.get_running_loop().create_task(self._deliver(held))

    async def _deliver(self, held: _Unsettled) -> None:
        slow = asyncio.get_running_loop().call_later(self._save_after.total_seconds(), self._save_soon, held)
        try:
            await self._post_until_settled(held)
            held.over = True
        finally:
            slow.cancel()
            try:
                # Cancelled without being dropped means that the process ends: the file stays for the next one.
                if held.saved and held.over:
                    await self._forget(held)
            finally:
                del self._unsettled[held.attempt]
                if not self._unsettled:
                    self._empty.set()

    async def _post_until_settled(self, held: _Unsettled) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                reply = await self._line.post(REPORT_PATH, held.body, _POST_TIMEOUT)
                if self._settles(held.attempt, reply):
                    return
                self._note_trouble(f"{reply.code or reply.status}")
            except CoordinatorUnreachable as error:
                self._note_trouble(str(error))
            self._save_soon(held)
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _settles(self, attempt: AttemptId, reply: Reply) -> bool:
        if _unreadable(reply):
            log.error(
                "dropped a Report that the coordinator can't read",
                attempt=shown(attempt),
                reason=reply.message or reply.status,
            )
            return True
        if not reply.ok:
            return False
        try:
            verdict = ReportReply.model_validate_json(reply.body)
        except ValidationError:
            return False
        if self._in_trouble:
            log.info("Reports are posted again")
        self._in_trouble = False
        if not verdict.accepted:
            log.warning(
                "the coordinator refused a Report",
                attempt=shown(attempt),
                reason=verdict.refusal,
                detail=verdict.detail,
            )
        return True

    def _note_trouble(self, reason: str) -> None:
        if not self._in_trouble:
            log.warning("Reports can't be posted, trying on", reason=reason)
        self._in_trouble = True

    def _save_soon(self, held: _Unsettled) -> None:
        if not held.saved:
            held.saved = True
            held.saving = asyncio.get_running_loop().create_task(self._write(held))

    async def _save(self, held: _Unsettled) -> bool:
        """Whether it is on disk now."""
        self._save_soon(held)
        return held.saving is None or await held.saving

    async def _write(self, held: _Unsettled) -> bool:
        """Whether it is on disk; what isn't is tried again with the next post that fails."""
        try:
            await asyncio.to_thread(self._outbox.save, held.attempt, held.body)
        except OSError as error:
            held.saved = False
            if not self._disk_fails:
                log.error("Reports can't be written to disk, trying on", reason=error.strerror)
            self._disk_fails = True
            return False
        self._disk_fails = False
        return True

    async def _forget(self, held: _Unsettled) -> None:
        """After the file is written, lest it is written after it was removed."""
        if held.saving is not None:
            await held.saving
        try:
            await asyncio.to_thread(self._outbox.remove, held.attempt)
        except OSError as error:
            log.error("a Report that is settled can't be removed from disk", reason=error.strerror)


def _unreadable(reply: Reply) -> bool:
    """A 400 that has no code of the coordinator's is that of a proxy on the way, which may be mended."""
    return reply.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or (reply.status in _UNREADABLE and bool(reply.code))
