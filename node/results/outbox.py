"""Reports on disk that the coordinator has not taken yet: one file each, readable by the node's owner alone.

A file is written whole or not at all: under another name first, fsynced, renamed, and the folder fsynced.
All calls block.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import structlog
from pydantic import ValidationError

from coordinator.protocol.ids import AttemptId, TaskId, attempt_id
from coordinator.protocol.report import Report

log = structlog.get_logger()

_SUFFIX = ".report"
_UNFINISHED = ".part"
# The coordinator's results expire after a day by default: an older Report interests nobody.
_LIFE = timedelta(hours=24)


class Outbox:
    """One node's own: the folder is named after its address."""

    def __init__(self, state: Path, address: str) -> None:
        self._folder = state / address / "reports"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def save(self, attempt: AttemptId, report: bytes) -> None:
        """Durable when it returns. Raises OSError, and then leaves nothing of it behind."""
        path = self._path(attempt)
        unfinished = path.with_suffix(_UNFINISHED)
        try:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(report)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
            self._sync_folder()
        except OSError:
            for written in (unfinished, path):
                with suppress(OSError):
                    written.unlink()
            raise

    def remove(self, attempt: AttemptId) -> None:
        self._path(attempt).unlink(missing_ok=True)

    def load(self) -> dict[AttemptId, bytes]:
        """What is left from before; removes what is unfinished, broken or too old. What can't be read stays."""
        found = {}
        for path in sorted(self._folder.iterdir()):
            try:
                report = self._read(path)
            except FileNotFoundError:  # posted meanwhile, by the process that this one takes over from
                continue
            except OSError as error:
                log.warning("a Report on disk can't be read", file=path.name, reason=error.strerror)
                continue
            if report is not None:
                parsed, body = report
                found[attempt_id(TaskId(parsed.task_id), parsed.attempt)] = body
        return found

    def _read(self, path: Path) -> tuple[Report, bytes] | None:
        """A Report, or None for what is none (any more) and is removed. Raises OSError."""
        if path.suffix not in (_SUFFIX, _UNFINISHED):
            return None
        if path.suffix == _SUFFIX and path.stat().st_mtime > time.time() - _LIFE.total_seconds():
            body = path.read_bytes()
            try:
                return Report.model_validate_json(body), body
            except ValidationError:
                log.warning("removed a file that holds no Report", file=path.name)
        path.unlink()
        return None

    def _path(self, attempt: AttemptId) -> Path:
        """Task ids are the right to poll: not even a file's name shows one."""
        return self._folder / (hashlib.sha256(attempt.encode()).hexdigest() + _SUFFIX)

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
