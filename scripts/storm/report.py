"""What the storm's user reads: JSON for programs, Markdown for people and for the README."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from scripts.storm.injector import Struck
from scripts.storm.ledger import Ledger
from scripts.storm.measures import Latency, Reassigning, calm, overlapping, reassigning
from scripts.storm.verdict import LAWS, Verdict
from scripts.storm.watch import Reassigned

PROCESS_FAULTS = ("kill", "freeze", "node_restart", "drain")


@dataclass(slots=True)
class Report:
    """`command`: how to have the same storm again. Times in seconds, latencies in milliseconds."""

    command: str
    seed: int
    nodes: int
    seconds: float
    settings: dict[str, str]
    settled: float
    verdict: Verdict
    ledger: Ledger
    struck: list[Struck]
    reassigned: list[Reassigned]
    standings: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> int:
        """Of the process: 0 when the relay kept its word."""
        return 0 if self.verdict.kept else 1

    def latencies(self) -> dict[str, Latency]:
        entries = self.ledger.entries
        found = {
            "calm": Latency.of(calm(entries, self.struck)),
            "under faults": Latency.of(overlapping(entries, self.struck)),
        }
        for name in sorted({each.strike.fault.name for each in self.struck}):
            met = [each for each in self.struck if each.strike.fault.name == name]
            found[name] = Latency.of(overlapping(entries, met))
        return found

    def reassigning(self) -> dict[str, Reassigning]:
        found = {}
        for name in PROCESS_FAULTS:
            found[name] = reassigning(self.reassigned, self.struck, name, outage=False)
            found[f"{name}, the coordinator down meanwhile"] = reassigning(
                self.reassigned, self.struck, name, outage=True
            )
        return {name: each for name, each in found.items() if each.attempts}

    def as_json(self) -> dict[str, Any]:
        return {
            "command": self.command,
            "seed": self.seed,
            "nodes": self.nodes,
            "seconds": self.seconds,
            "settings": self.settings,
            "settled_seconds": round(self.settled, 1),
            "verdict": {"kept": self.verdict.kept, **self.verdict.as_json()},
            "latency_ms": {name: asdict(each) for name, each in self.latencies().items()},
            "reassigning_seconds": {name: asdict(each) for name, each in self.reassigning().items()},
            "faults": [_strike(each) for each in self.struck],
            "standings": self.standings,
        }

    def as_markdown(self) -> str:
        return "\n".join([*self._head(), *self._counts(), *self._faults(), *self._times(), *self._standings(), ""])

    def _head(self) -> list[str]:
        settings = " ".join(f"{name}={value}" for name, value in sorted(self.settings.items()))
        word = "kept" if self.verdict.kept else "BROKEN"
        return [
            f"`{self.command}`: the law was **{word}**. Settings: `{settings}`.",
            f"{self.settled:.1f} s after the last request every client had its answer.",
            "",
        ]

    def _counts(self) -> list[str]:
        verdict = self.verdict
        rows = [
            ("requests", str(verdict.requests)),
            ("accepted", f"{verdict.accepted}, of them {verdict.retried} on more than one attempt"),
            ("completed, with the right answer", str(verdict.completed - len(verdict.wrong))),
            ("failed, by reason", _by_reason(verdict.failed)),
            ("not accepted, by reason", _by_reason(verdict.refused)),
        ]
        if verdict.untold:  # see OnChain
            rows.append(("ended on chain, their event lost with a killed chain's last moments", str(verdict.untold)))
        rows += [(law, "; ".join([str(len(found)), *found[:5]])) for law in LAWS for found in [getattr(verdict, law)]]
        return ["| what became of them | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows), ""]

    def _faults(self) -> list[str]:
        lines = [
            "| fault | times | at (s) | met | replies to it | latency p50, p99 of what it met, ms |",
            "|---|---|---|---|---|---|",
        ]
        latencies = self.latencies()
        for name in dict.fromkeys(each.strike.fault.name for each in self.struck):
            of = [each for each in self.struck if each.strike.fault.name == name]
            replies = sum((each.replies for each in of), start=type(of[0].replies)())
            moments = ", ".join(f"{each.at:.0f}" for each in of[:12]) + (" …" if len(of) > 12 else "")
            lines.append(
                f"| {name} | {len(of)} | {moments} | {sum(each.caught for each in of)} | {_by_reason(replies)} "
                f"| {_shown(latencies[name])} |"
            )
        return [*lines, ""]

    def _times(self) -> list[str]:
        latencies = self.latencies()
        quiet, stormy = latencies["calm"], latencies["under faults"]
        lines = [
            f"Latency p50, p99 of completed requests, ms: calm {_shown(quiet)} ({quiet.samples}), "
            f"under faults {_shown(stormy)} ({stormy.samples}){_added(quiet, stormy)}."
        ]
        for name, each in self.reassigning().items():
            times = "" if each.longest is None else f" after {each.p50:.1f} s (median), {each.longest:.1f} s (longest)"
            lines.append(
                f"Of {each.attempts} attempts in hand at a {name}, {each.elsewhere} ran elsewhere{times}, "
                f"{each.in_time} of them within lease + 1 s; the others ended where they were."
            )
        return ["  \n".join(lines), ""]

    def _standings(self) -> list[str]:
        if not self.standings:
            return []
        lines = ["| node | part | condition at the end | successes, faults, timeouts (decayed) |", "|---|---|---|---|"]
        for each in self.standings:
            record = ", ".join(f"{each.get(name, 0):.0f}" for name in ("successes", "faults", "timeouts"))
            lines.append(f"| {each['node']} | {each['part']} | {each.get('condition', 'unknown')} | {record} |")
        return lines


def _strike(each: Struck) -> dict[str, Any]:
    strike = each.strike
    return {
        "fault": strike.fault.name,
        "at": each.at,
        "until": each.until,
        "node": strike.node or None,
        "share": strike.share,
        "met": each.caught,
        "replies": dict(each.replies),
    }


def _by_reason(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items(), key=lambda item: -item[1])) or "0"


def _added(quiet: Latency, stormy: Latency) -> str:
    if None in (quiet.p50, quiet.p99, stormy.p50, stormy.p99):
        return ""
    p50, p99 = (stormy.p50 or 0) - (quiet.p50 or 0), (stormy.p99 or 0) - (quiet.p99 or 0)
    return f": {p50:+.0f} and {p99:+.0f} ms"


def _shown(latency: Latency) -> str:
    return "–" if latency.p50 is None or latency.p99 is None else f"{latency.p50:.0f}, {latency.p99:.0f}"
