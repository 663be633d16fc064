"""Latency in calm and under each fault, and how long reassigning took. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import quantiles

from scripts.storm.injector import Struck
from scripts.storm.ledger import Entry
from scripts.storm.watch import Reassigned

AFTERMATH = 2.0  # seconds for which a fault that is over still counts
# What makes the coordinator extend leases, or nobody see that they are over: reassigning waits for it, rightly.
OUTAGES = ("redis_restart", "api_restart")
LEASE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds; None without samples."""

    samples: int
    p50: float | None
    p99: float | None

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        if len(seconds) < 2:
            only = round(seconds[0] * 1000, 1) if seconds else None
            return cls(len(seconds), only, only)
        cuts = quantiles(seconds, n=100, method="inclusive")
        return cls(len(seconds), round(cuts[49] * 1000, 1), round(cuts[98] * 1000, 1))


@dataclass(frozen=True, slots=True)
class Reassigning:
    """Attempts that a strike met: given to others after so many seconds, or reported after all.

    `in_time`: how many of those given to others were so within a lease and a second.
    """

    attempts: int
    elsewhere: int
    in_time: int
    p50: float | None
    longest: float | None


def overlapping(entries: Iterable[Entry], struck: Sequence[Struck]) -> list[float]:
    """How long those took whose life met one of the strikes."""
    return [took for entry in entries if (took := entry.took) is not None and _meets(entry, struck)]


def calm(entries: Iterable[Entry], struck: Sequence[Struck]) -> list[float]:
    return [took for entry in entries if (took := entry.took) is not None and not _meets(entry, struck)]


def _meets(entry: Entry, struck: Sequence[Struck]) -> bool:
    ended = entry.ended or entry.sent
    return any(entry.sent < strike.until + AFTERMATH and strike.at < ended for strike in struck)


def reassigning(seen: Iterable[Reassigned], struck: Sequence[Struck], fault: str, *, outage: bool) -> Reassigning:
    """`outage`: of those alone during whose reassigning the coordinator was down, or of the others."""
    outages = [strike for strike in struck if strike.strike.fault.name in OUTAGES]
    of_fault = [each for each in seen if each.fault == fault and _disturbed(each, outages) is outage]
    times = sorted(each.seconds for each in of_fault if each.seconds is not None)
    if not times:
        return Reassigning(len(of_fault), 0, 0, None, None)
    in_time = sum(time <= LEASE_SECONDS + 1 for time in times)
    return Reassigning(len(of_fault), len(times), in_time, times[len(times) // 2], times[-1])


def _disturbed(each: Reassigned, outages: Sequence[Struck]) -> bool:
    end = each.at + max(LEASE_SECONDS, each.seconds or 0.0)
    return any(each.at < outage.until + AFTERMATH and outage.at < end for outage in outages)
