"""What a library logs of an exception shows where it was, and nothing of what was in memory there."""

from __future__ import annotations

import json
import subprocess
import sys

_FAILING = """
import logging, structlog
from coordinator import log
log.configure("INFO", "api")

def broken(password):
    asked = {"content": password}
    raise ValueError(f"no such {asked}")

try:
    broken("SECRET")
except ValueError:
    logging.getLogger("asyncio").error("Task exception was never retrieved", exc_info=True)
    structlog.get_logger("ours").error("ours", exc_info=True)
"""


def test_an_exception_is_logged_by_kind_and_place() -> None:
    ran = subprocess.run([sys.executable, "-c", _FAILING], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["Task exception was never retrieved", "ours"]
    for line in lines:
        assert line["exception"]["kind"] == "ValueError"
        assert "broken" in line["exception"]["frames"][-1]
    assert "SECRET" not in ran.stderr
