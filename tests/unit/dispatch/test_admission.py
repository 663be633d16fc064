"""The allow-list."""

from __future__ import annotations

import os
from pathlib import Path

from coordinator.dispatch.admission import Admission, AllowFile, EveryKey, Refused
from tests.unit.store.network import node_address

A, B = node_address(1), node_address(2)


async def admits(admission: Admission, node: str) -> bool:
    return not isinstance(await admission.check(node), Refused)


async def test_listed_nodes_may_in_whatever_case_and_a_change_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "nodes.allow"
    path.write_text(f"# ours\n{A.lower()}  # first\n\nnonsense\n")
    allowed = AllowFile(path)
    assert await admits(allowed, A)
    verdict = await allowed.check(B)
    assert isinstance(verdict, Refused)
    assert B in verdict.remedy
    path.write_text(f"{B}\n")
    os.utime(path, ns=(1, 1))
    assert (await admits(allowed, A), await admits(allowed, B)) == (False, True)


async def test_a_lost_list_opens_nothing(tmp_path: Path) -> None:
    assert not await admits(AllowFile(tmp_path / "gone"), A)


async def test_without_a_list_every_key_may() -> None:
    assert await admits(EveryKey(), A)
