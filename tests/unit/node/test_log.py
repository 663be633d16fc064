"""No prompt, no answer, no secret and no whole task id in a log; Celery's own lines least of all."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from coordinator.protocol.ids import AttemptId
from node import log

PROMPT = "the prompt"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    before = logging.getLogger().handlers[:]
    written = io.StringIO()
    log.configure("info", written)
    yield written
    logging.getLogger().handlers[:] = before


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_one_json_object_a_line(stream: io.StringIO) -> None:
    structlog.get_logger().info("node serves é", slots=4)
    structlog.get_logger().debug("unseen")
    (line,) = lines(stream)
    assert (line["event"], line["slots"], line["level"]) == ("node serves é", 4, "info")


@pytest.mark.parametrize("name", ["celery.worker.consumer.consumer", "kombu.transport.redis", "celery"])
def test_celerys_lines_lose_their_arguments(stream: io.StringIO, name: str) -> None:
    logger = logging.getLogger(name)
    try:
        raise ValueError(PROMPT)
    except ValueError:
        logger.critical("Can't decode message body: %r 100%%\n\nbody: %s", PROMPT, PROMPT, exc_info=True)
    logger.info("Received %s", PROMPT)
    (line,) = lines(stream)
    assert PROMPT not in stream.getvalue()
    assert line["event"].startswith("Can't decode message body: %r")
    assert line["event"].endswith("(ValueError)")
    assert line["logger"] == name


def test_what_celery_says_of_an_end_that_is_wanted_is_not_said(stream: io.StringIO) -> None:
    logging.getLogger("celery.worker").critical(
        "Retrying to re-establish a connection has been disabled. Shutting down"
    )
    assert not lines(stream)


def test_some_words_are_on_every_line() -> None:
    written = io.StringIO()
    before = logging.getLogger().handlers[:]
    log.configure("info", written, node="0xabc")
    structlog.get_logger().info("ours")
    logging.getLogger("celery").warning("theirs")
    logging.getLogger().handlers[:] = before
    assert [line["node"] for line in lines(written)] == ["0xabc", "0xabc"]


def test_other_libraries_keep_theirs(stream: io.StringIO) -> None:
    logging.getLogger("aiohttp.server").error("bad %s", "thing")
    assert lines(stream)[0]["event"] == "bad thing"


def test_a_task_id_is_cut() -> None:
    shown = log.shown(AttemptId("opengpu:12345678-1234-4234-8234-123456789abc#2"))
    assert shown == "opengpu:12345678…#2"
