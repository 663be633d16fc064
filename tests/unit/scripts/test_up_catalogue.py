"""The catalogue is the operator's; scripts/up keeps only the port of its own model server right."""

from __future__ import annotations

import os
from pathlib import Path

from coordinator.catalogue import load
from scripts.network.relay import write_catalogue


def upstreams(path: Path) -> dict[str, str]:
    return {upstream.name: upstream.base_url for upstream in load(path, os.environ).upstreams}


def test_the_first_start_writes_a_catalogue_that_loads(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    write_catalogue(path, 20_001)
    assert upstreams(path) == {"tiny": "http://127.0.0.1:20001/v1"}


def test_what_the_operator_wrote_stays(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    write_catalogue(path, 20_001)
    more = '[[upstreams]]\nname = "big"\nbase_url = "http://127.0.0.1:9/v1"\nmodels = {"relay/tiny-chat" = "big"}\n\n'
    path.write_text(path.read_text().replace("\n[[upstreams]]\n", f"\n{more}[[upstreams]]\n", 1))
    write_catalogue(path, 20_002)
    assert upstreams(path) == {"big": "http://127.0.0.1:9/v1", "tiny": "http://127.0.0.1:20002/v1"}
