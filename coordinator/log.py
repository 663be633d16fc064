"""Logs: one JSON object a line on stderr. No prompt, no answer, no secret, no whole task id (the right to poll)."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

import structlog

# Libraries that speak of every request at `info`; what they warn of is kept.
_QUIET = ("uvicorn.access", "web3", "urllib3", "aiohttp.access", "asyncio")


def _kind_and_place(exc_info: Any) -> dict[str, object]:
    """Of an exception that a library logs. Its words, and the variables that structlog would show, may hold a prompt or
    a password."""
    kind, _, trace = exc_info
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]
    return {"kind": kind.__name__, "frames": frames[-8:]}


def configure(level: str, process: str) -> None:
    """Once, at the start of a process. `process` is on every line: api or chain."""
    exceptions = structlog.processors.ExceptionRenderer(_kind_and_place)
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, exceptions, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                exceptions,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
