"""A minute of every fault that scripts/chaos knows, on real and hostile nodes: nothing is lost, nothing is doubled.

The schedule is a function of the seed, so a failure comes again with the command that the report begins with.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.network.children import ROOT, die_with
from scripts.storm.faults import FAULTS, Kind
from scripts.storm.verdict import LAWS
from tests.parts.network import need_parts

PATIENCE = 360.0  # seconds; about 80 on an idle machine
OPTIONS = ("--nodes", "6", "--seconds", "60", "--seed", "1")


def storm(directory: Path) -> tuple[int | None, dict[str, Any], str]:
    """Exit status, report, and what was printed."""
    report, output = directory / "chaos.md", directory / "chaos.out"
    command = [sys.executable, "-m", "scripts.storm", *OPTIONS, "--report", str(report)]
    status = None
    # of one that hangs, what it said until then is all that there is to go by
    with output.open("w") as printed, contextlib.suppress(subprocess.TimeoutExpired):
        status = subprocess.run(
            [*command, "--state", str(directory / "state")],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            timeout=PATIENCE,
            preexec_fn=die_with(os.getpid()),
        ).returncode
    seen = report.with_suffix(".json")
    assert seen.exists(), output.read_text()
    return status, json.loads(seen.read_text()), output.read_text()


@pytest.mark.timeout(PATIENCE + 60)
def test_a_minute_of_every_fault(tmp_path: Path, report: Callable[[str], None]) -> None:
    need_parts()
    status, seen, printed = storm(tmp_path)
    verdict = seen["verdict"]
    for law in LAWS:
        assert verdict[law] == [], printed
    assert status == 0, printed
    assert sorted(each["fault"] for each in seen["faults"]) == sorted(FAULTS), "every fault, once"
    assert verdict["accepted"] == verdict["completed"] + sum(verdict["failed"].values())
    assert sum(verdict["refused"].values()) == verdict["requests"] - verdict["accepted"]
    honest = verdict["accepted"] - verdict["failed"].get("TASK_CANCELED", 0)
    assert verdict["completed"] >= 0.9 * honest > 200, "an honest `failed` is allowed, but it is not the rule"
    met = [each for each in seen["faults"] if each["met"]]
    assert len(met) >= sum(fault.kind is not Kind.COORDINATOR for fault in FAULTS.values()) / 2, "it was no calm"
    report(f"chaos: {seen['command']}: {verdict['accepted']} accepted, {verdict['completed']} completed,")
    report(
        f"  failed {verdict['failed']}, refused {verdict['refused']}, duplicates 0, lost 0; latency ms and reassigning:"
    )
    for name in ("calm", "under faults"):
        report(f"  {name}: {seen['latency_ms'][name]}")
    for name, each in seen["reassigning_seconds"].items():
        report(f"  {name}: {each}")
