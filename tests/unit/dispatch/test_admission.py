"""The allow-list."""

from __future__ import annotations

import os
from pathlib import Path

from coordinator.dispatch.admission import AllowFile, EveryKey
from tests.unit.store.network import node_address

A, B = node_address(1), node_address(2)


def test_listed_nodes_may_in_whatever_case_and_a_change_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "nodes.allow"
    path.write_text(f"# ours\n{A.lower()}  # first\n\nnonsense\n")
    allowed = AllowFile(path)
    assert allowed.allows(A)
    assert not allowed.allows(B)
    path.write_text(f"{B}\n")
    os.utime(path, ns=(1, 1))
    assert (allowed.allows(A), allowed.allows(B)) == (False, True)


def test_a_lost_list_opens_nothing(tmp_path: Path) -> None:
    assert not AllowFile(tmp_path / "gone").allows(A)


def test_without_a_list_every_key_may() -> None:
    assert EveryKey().allows(A)
