"""The catalogue: what the example says, and that every mistake is named with its table, its field and a remedy."""

from __future__ import annotations

import copy
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from coordinator.catalogue import EXAMPLE, CatalogueError, load, parse
from coordinator.lifecycle.tiers import DEFAULT_TIERS

PRICE = {"per_1m_input_tokens": "0.08", "per_1m_output_tokens": "0.48"}
GOOD: dict[str, Any] = {
    "models": [
        {"name": "a/b", "modes": ["opengpu", "direct"], "prices": {"opengpu": dict(PRICE), "direct": dict(PRICE)}}
    ],
    "upstreams": [{"name": "one", "base_url": "https://one.example/v1/", "models": {"a/b": "b"}}],
}


def broken(change: str, value: Any) -> dict[str, Any]:
    """GOOD with one thing changed: `models.0.name` is a path, and None takes the thing out."""
    tables = copy.deepcopy(GOOD)
    *way, last = [int(part) if part.isdigit() else part for part in change.split(".")]
    place: Any = tables
    for part in way:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return tables


def problems(tables: dict[str, Any], environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(CatalogueError) as caught:
        parse(tables, environ or {})
    return list(caught.value.problems)


def test_the_example_is_good_and_offers_the_tiny_model_in_both_modes() -> None:
    catalogue = load(EXAMPLE, {})
    model = catalogue.models["relay/tiny-chat"]
    assert [m.name for m in catalogue.offers("direct")] == [m.name for m in catalogue.offers("opengpu")] == [model.name]
    assert model.prices["opengpu"].per_1m_output_tokens == Decimal("0.04")
    assert model.scope("opengpu") == "opengpu.openai.relay/tiny-chat"
    assert catalogue.upstreams[0].answer_timeout == timedelta(seconds=300)


def test_the_examples_tiers_are_the_defaults() -> None:
    assert load(EXAMPLE, {}).tiers == parse(GOOD, {}).tiers
    assert list(parse(GOOD, {}).tiers) == ["guest", "basic", "pro", "max"]


def test_a_tier_keeps_the_defaults_it_does_not_name() -> None:
    tiers = parse(GOOD | {"tiers": {"guest": {"global": 7}}}, {}).tiers
    assert (tiers["guest"].overall, tiers["guest"].direct) == (7, DEFAULT_TIERS["guest"]["direct"])


def test_money_is_exact() -> None:
    tables = broken("models.0.prices.direct.per_1m_input_tokens", "0.101")
    assert parse(tables, {}).models["a/b"].prices["direct"].per_1m_input_tokens == Decimal("0.101")


def test_a_tokenizer_is_found_from_the_catalogues_folder(tmp_path: Path) -> None:
    (tmp_path / "vocabularies").mkdir()
    (tmp_path / "vocabularies/m.json").write_text("{}")
    tables = broken("models.0.tokenizer", "vocabularies/m.json")
    catalogue = parse(tables, {}, tmp_path / "relay.toml")
    assert catalogue.tokenizers == {"a/b": tmp_path / "vocabularies/m.json"}
    assert parse(broken("models.0.tokenizer", str(tmp_path / "vocabularies/m.json")), {}).tokenizers.keys() == {"a/b"}
    assert parse(GOOD, {}).tokenizers == parse(GOOD, {}).contexts == {}
    assert parse(broken("models.0.context_length", 7), {}).contexts == {"a/b": 7}


@pytest.mark.parametrize(
    ("change", "value", "named"),
    [
        ("models.0.tokenizer", "nowhere.json", "[[models]] 'a/b': tokenizer: there is no file"),
        ("models.0.tokenizer", 7, "[[models]] 'a/b': tokenizer: must be the path of a file"),
        ("models", [], "[[models]]: at least one"),
        ("models", {"name": "a/b"}, "[[models]]: at least one"),
        ("models.0.name", None, "[[models]] number 1: name: Field required"),
        ("models.0.name", "no spaces", "[[models]] 'no spaces': name"),
        ("models.0.modes", ["auto"], "modes.0: Input should be 'opengpu' or 'direct'"),
        ("models.0.endpoints", ["images"], "endpoints.0: Input should be 'chat', 'completions' or 'embeddings'"),
        ("models.0.endpoints", [], "endpoints: "),
        ("models.0.source", "anthropic", "source: Input should be 'openai'"),
        ("models.0.colour", "red", "colour: no such field"),
        ("models.0.context_length", 0, "context_length: "),
        ("models.0.prices.direct.per_1m_input_tokens", 0.08, "in quotes"),
        ("models.0.prices.direct.per_1m_input_tokens", "-1", "in quotes"),
        ("models.0.prices.direct.per_1m_input_tokens", "0.0001", "at most 3 decimals"),
        ("models.0.prices.direct.per_1m_input_tokens", "10001", "at most 10000"),
        ("billing", {"enabled": "yes"}, "boolean"),
        ("billing", {"enabled": True}, "context_length"),
        ("models.0.prices.direct.per_1m_input_tokens", "NaN", "in quotes"),
        ("models.0.prices.direct", None, "prices: none for mode direct; add [models.prices.direct]"),
        ("models.0.modes", ["direct"], "prices.opengpu: not a mode of this model"),
        ("models.0.modes", ["opengpu"], "prices.direct: not a mode"),
        ("upstreams", [], 'modes: "direct" needs an upstream'),
        ("upstreams.0.base_url", "one.example/v1", "base_url: "),
        ("upstreams.0.base_url", "ftp://one.example", "base_url: "),
        ("upstreams.0.base_url", "http://me:pw@one.example", "base_url: must be a plain address"),
        ("upstreams.0.models", {}, "models: "),
        ("upstreams.0.models", {"a/b": "b", "c": "c"}, "models: 'c' is no model offered in direct mode"),
        ("upstreams.0.answer_seconds", -1, "answer_seconds: must be a number of seconds"),
        ("upstreams.0.answer_seconds", "9", "answer_seconds: must be a number of seconds"),
        ("upstreams.0.api_key", "sk-secret", "api_key"),
        ("upstreams.0.api_key_env", "ONE_KEY", "api_key_env: the environment has no ONE_KEY"),
        ("upstream", [], "[upstream]: unknown table"),
        ("tiers", {"gold": {}}, "[tiers.gold]: no such tier; there are guest, basic, pro, max"),
        ("tiers", {"guest": 7}, "[tiers.guest]: "),
        ("tiers", [], "[tiers."),
        ("tiers", {"guest": {"direct": 0}}, "[tiers.guest]: direct: "),
        ("tiers", {"guest": {"direct": "20"}}, "[tiers.guest]: direct: "),
        ("tiers", {"guest": {"burst": 3}}, "[tiers.guest]: burst: no such field"),
        ("tiers", {"guest": {"model_restrictions": ["a/b"]}}, "[tiers.guest]: model_restrictions.0: "),
        ("tiers", {"guest": {"model_restrictions": ["direct.openai.x']=os"]}}, "[tiers.guest]: model_restrictions.0: "),
    ],
)
def test_a_mistake_is_named(change: str, value: Any, named: str) -> None:
    found = problems(broken(change, value))
    assert any(named in line for line in found), found
    assert not any("sk-secret" in line or "pw" in line for line in found)


def test_all_mistakes_at_once() -> None:
    tables = broken("models.0.prices.direct.per_1m_input_tokens", 1)
    tables["models"][0]["colour"] = "red"
    tables["upstreams"][0]["base_url"] = 7
    tables["upstreams"].append({"name": "two", "base_url": "http://x", "models": {"a/b": "b"}, "api_key_env": "NO"})
    assert len(problems(tables)) == 4


def test_names_are_unique() -> None:
    tables = copy.deepcopy(GOOD)
    tables["models"] *= 2
    tables["upstreams"] *= 2
    assert [line.split(": ")[1] for line in problems(tables)] == ["name", "name"]


def test_an_upstreams_key_comes_from_the_environment_and_shows_nowhere() -> None:
    tables = broken("upstreams.0.api_key_env", "ONE_KEY")
    upstream = parse(tables, {"ONE_KEY": "sk-secret"}).upstreams[0]
    assert upstream.api_key is not None
    assert upstream.api_key.get_secret_value() == "sk-secret"
    assert "sk-secret" not in repr(upstream)
    assert upstream.base_url == "https://one.example/v1"


def test_a_file_that_is_missing_or_no_toml(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"copy .*relay\.example\.toml there"):
        load(tmp_path / "none.toml", {})
    (tmp_path / "bad.toml").write_text("[[models]\n")
    with pytest.raises(CatalogueError, match="is not TOML"):
        load(tmp_path / "bad.toml", {})
