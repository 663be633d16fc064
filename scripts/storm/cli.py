"""What scripts/chaos does after the set-up."""

from __future__ import annotations

import json
import sys
import time

import uvloop

from scripts.network.children import StartFailed
from scripts.network.home import Unusable
from scripts.storm.faults import FAULTS
from scripts.storm.options import Options, parse
from scripts.storm.report import Report
from scripts.storm.storm import storm


def main() -> int:
    options = parse(sys.argv[1:])
    if options is None:
        print("\n".join(f"{fault.name:<18} {fault.kind:<12} {fault.what}" for fault in FAULTS.values()))
        return 0
    try:
        report = uvloop.run(storm(options, _tell))
    except (StartFailed, Unusable) as error:
        print(f"scripts/chaos: {error}", file=sys.stderr)
        return 2
    _write(report, options)
    print(f"\n{report.as_markdown()}")
    return report.status


def _tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _write(report: Report, options: Options) -> None:
    if options.report is not None:
        options.report.write_text(report.as_markdown())
        options.report.with_suffix(".json").write_text(json.dumps(report.as_json(), indent=2) + "\n")
