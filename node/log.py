"""Logs as JSON lines on standard error. Never a prompt, an answer, a secret or a whole task id in them.

Celery and kombu put message bodies into their own log lines (a broken message is printed whole), so their lines are
reduced to the first line of the template, without its arguments: law 6 outweighs their detail.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from coordinator.protocol.ids import AttemptId, split_attempt_id

# `opengpu:` and half of the random part: enough to find a task by, too little to poll it.
_SHOWN_OF_A_TASK_ID = 16
_FOREIGN = ("celery", "kombu", "amqp", "billiard", "vine")
# Celery announces at `critical` that it ends on a lost connection, which is what the supervisor wants of it.
_EXPECTED = "Retrying to"


def shown(attempt: AttemptId) -> str:
    """An attempt id as it may stand in a log: knowing a whole task id is the right to poll it."""
    task_id, number = split_attempt_id(attempt)
    return f"{task_id[:_SHOWN_OF_A_TASK_ID]}…#{number}"


class _TemplateOnly(logging.Filter):
    """Drops the arguments of a foreign log record, and all but the type of its exception."""

    def filter(self, record: logging.LogRecord) -> bool:
        lines = str(record.msg).strip().splitlines()
        if lines and lines[0].startswith(_EXPECTED):
            return False
        record.msg, record.args = (lines[0] if lines else "").replace("%", "%%"), ()
        if record.exc_info and record.exc_info[0] is not None:
            record.msg += f" ({record.exc_info[0].__name__})"
        record.exc_info = record.exc_text = record.stack_info = None
        record.msg = record.msg.replace("%%", "%")
        return True


def _logger_name(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    if record is not None:
        event["logger"] = record.name
    return event


def configure(level: str, stream: TextIO | None = None, **always: str) -> None:
    """Sends structlog and the standard library's loggers to `stream` (standard error) as JSON lines.

    `always` is on every line, whatever thread it comes from.
    """

    def add_always(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event.update(always)
        return event

    shared: list[Processor] = [
        add_always,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("httpx", "httpcore", "asyncio", "aiohttp"):
        logging.getLogger(name).setLevel(logging.WARNING)
    handler.addFilter(_foreign_only(_TemplateOnly()))
    for name in _FOREIGN:
        logging.getLogger(name).setLevel(logging.WARNING)


def mute_libraries() -> None:
    """Drops what libraries in C write to standard error past all logging; Python's own lines go where they went.

    llama.cpp prints a grammar that it can't use, and that is made of a client's words, whatever its verbosity.
    """
    before = sys.stderr
    before.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is before:
            handler.setStream(sys.stderr)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _foreign_only(inner: logging.Filter) -> logging.Filter:
    """Handlers' filters see the records of child loggers too; loggers' filters don't."""

    class Foreign(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            return bool(inner.filter(record)) if record.name.partition(".")[0] in _FOREIGN else True

    return Foreign()
