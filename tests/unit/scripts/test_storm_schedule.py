"""The storm's schedule and load are pure functions of the seed, and leave enough nodes well to work."""

from __future__ import annotations

from itertools import combinations

import pytest

from scripts.storm.faults import FAULTS, Kind
from scripts.storm.load import KINDS, demand
from scripts.storm.schedule import CALM_AFTER, CALM_BEFORE, Parts, Strike, schedule

EVERYTHING = tuple(FAULTS)


def struck(strikes: tuple[Strike, ...], moment: float) -> set[int]:
    return {each.node for each in strikes if each.node and each.at <= moment < each.until}


def test_the_same_seed_makes_the_same_storm() -> None:
    assert schedule(7, 60, 6, EVERYTHING) == schedule(7, 60, 6, EVERYTHING)
    assert schedule(7, 60, 6, EVERYTHING) != schedule(8, 60, 6, EVERYTHING)
    assert demand(7, 60, 8) == demand(7, 60, 8) != demand(8, 60, 8)


@pytest.mark.parametrize("seed", range(20))
def test_every_fault_comes_once_a_round_with_calm_around_it(seed: int) -> None:
    strikes = schedule(seed, 180, 6, EVERYTHING)
    for number in range(3):
        of_round = [each for each in strikes if number * 60 <= each.at < (number + 1) * 60]
        assert sorted(each.fault.name for each in of_round) == sorted(EVERYTHING)
        assert min(each.at for each in of_round) >= number * 60 + CALM_BEFORE * 60
        assert max(each.at for each in of_round) <= (number + 1) * 60 - CALM_AFTER * 60
        assert max(each.until for each in of_round) <= (number + 1) * 60


@pytest.mark.parametrize("nodes", range(3, 13))
def test_sound_nodes_are_never_struck_and_each_fault_finds_its_kind(nodes: int) -> None:
    parts = Parts.of(nodes)
    assert sorted(parts.unlucky + parts.mortal + parts.sound) == list(range(1, nodes + 1))
    assert parts.unlucky
    assert parts.mortal
    assert len(parts.sound) >= nodes // 4
    for each in schedule(1, 120, nodes, EVERYTHING):
        allowed = {Kind.BACKEND: parts.unlucky, Kind.PROCESS: parts.mortal}.get(each.fault.kind, (0,))
        assert each.node in allowed


def test_at_no_moment_is_a_node_killed_while_it_is_frozen() -> None:
    for seed in range(20):
        strikes = [each for each in schedule(seed, 60, 6, EVERYTHING) if each.fault.kind is Kind.PROCESS]
        for first, second in combinations(sorted(strikes, key=lambda each: each.at), 2):
            assert first.node != second.node or first.until <= second.at, (seed, first, second)


def test_long_faults_come_early_enough_to_be_whole() -> None:
    for seed in range(20):
        for each in schedule(seed, 60, 6, EVERYTHING):
            assert each.seconds == each.fault.seconds, each


def test_a_short_storm_is_one_round_of_the_faults_that_were_asked_for() -> None:
    strikes = schedule(1, 20, 3, ("kill", "garbage"))
    assert sorted(each.fault.name for each in strikes) == ["garbage", "kill"]
    assert all(0 < each.at < 17 and each.until <= 20 for each in strikes)
    assert schedule(1, 20, 3, ()) == ()


def test_two_nodes_are_too_few() -> None:
    with pytest.raises(ValueError, match="three nodes"):
        Parts.of(2)


def test_the_load_has_every_kind_of_client_and_bursts_beyond_all_slots() -> None:
    asked = demand(1, 60, 8)
    assert {each.kind for each in asked} == set(KINDS)
    assert [each.number for each in asked] == list(range(len(asked)))
    assert sum(each.at == 10.0 for each in asked) == 25
    assert 60 * 8 * 0.8 < len(asked) - 5 * 25 < 60 * 8 * 1.2
