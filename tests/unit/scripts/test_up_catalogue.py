"""The catalogue that scripts/up writes for itself: the example, with limits that keep nobody short."""

from __future__ import annotations

import os
from pathlib import Path

from coordinator.catalogue import load
from scripts.network.relay import EXAMPLE, TIERS_HEADING, TOKENIZER, write_catalogue


def test_the_first_copy(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    write_catalogue(path, 4321)
    mine, example = load(path, {}), load(EXAMPLE, {})
    assert mine.tokenizers.keys() == {"relay/tiny-chat"}
    assert {name: model.model_copy(update={"tokenizer": None}) for name, model in mine.models.items()} == example.models
    assert mine.upstreams[0].base_url == "http://127.0.0.1:4321/v1"
    for limits in mine.tiers.values():
        assert min(limits.opengpu, limits.direct, limits.overall) >= 1_000_000
        assert limits.concurrent >= 100_000
    assert mine.tiers["max"].max_keys == example.tiers["max"].max_keys


def test_a_checkout_that_has_moved_takes_its_tokenizer_along(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    write_catalogue(path, 1)
    path.write_text(path.read_text().replace(str(TOKENIZER), "/elsewhere/" + TOKENIZER.name))
    write_catalogue(path, 1)
    assert load(path, {}).tokenizers == {"relay/tiny-chat": TOKENIZER}
    path.write_text(path.read_text().replace("\ntokenizer", "\n# tokenizer"))
    write_catalogue(path, 1)
    assert load(path, {}).tokenizers == {}


def test_what_the_operator_has_written_stays(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    write_catalogue(path, 1)
    path.write_text(path.read_text().replace("direct = 10_000_000", "direct = 7", 1))
    write_catalogue(path, 2)
    assert load(path, {}).tiers["guest"].direct == 7
    assert load(path, {}).upstreams[0].base_url == "http://127.0.0.1:2/v1"


def test_a_copy_from_before_there_were_tiers_gets_them(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(EXAMPLE.read_text().partition(TIERS_HEADING)[0])
    write_catalogue(path, 3)
    assert load(path, {}).tiers["guest"].direct >= 1_000_000


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
