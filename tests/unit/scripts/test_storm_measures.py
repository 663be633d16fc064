"""What the storm's report measures: latency in calm and under faults, reassigning with and without an outage."""

from __future__ import annotations

from scripts.storm.faults import FAULTS
from scripts.storm.injector import Struck
from scripts.storm.ledger import Entry
from scripts.storm.measures import AFTERMATH, Latency, calm, overlapping, reassigning
from scripts.storm.schedule import Strike
from scripts.storm.watch import Reassigned


def strike(name: str, at: float, until: float) -> Struck:
    return Struck(Strike(0, FAULTS[name], at, until - at), at, until)


def entry(sent: float, ended: float | None, status: str = "completed") -> Entry:
    return Entry(0, "async", 0, "", sent, ended=ended, status=status)


def test_calm_is_what_met_no_fault_and_no_aftermath() -> None:
    fault = strike("slow", 10, 12)
    before, during, healing, after = entry(8, 9), entry(9, 10.5), entry(12 + AFTERMATH / 2, 15), entry(15, 16)
    others = [entry(11, None), entry(11, 12, "failed")]
    entries = [before, during, healing, after, *others]
    assert calm(entries, [fault]) == [1, 1]
    assert overlapping(entries, [fault]) == [1.5, 15 - 12 - AFTERMATH / 2]
    assert len(calm(entries, [])) == 4


def test_percentiles_are_in_milliseconds() -> None:
    assert Latency.of([]) == Latency(0, None, None)
    assert Latency.of([0.5]) == Latency(1, 500.0, 500.0)
    of_hundred = Latency.of([n / 100 for n in range(101)])
    assert (of_hundred.p50, of_hundred.p99) == (500.0, 990.0)


def test_reassigning_counts_apart_what_an_outage_delayed() -> None:
    seen = [Reassigned("kill", 1, 10.0, seconds) for seconds in (9.0, 10.5, 11.5, None)]
    delayed = Reassigned("kill", 1, 40.0, 19.0)
    outage = strike("redis_restart", 45, 46)
    found = reassigning([*seen, delayed, Reassigned("freeze", 2, 10.0, 1.0)], [outage], "kill", outage=False)
    assert (found.attempts, found.elsewhere, found.in_time, found.p50, found.longest) == (4, 3, 2, 10.5, 11.5)
    assert reassigning([*seen, delayed], [outage], "kill", outage=True).longest == 19.0
    assert reassigning([], [outage], "kill", outage=True).attempts == 0
