"""What the relay offers: models, upstreams, prices, tiers. One TOML file; `relay.example.toml` documents every field.

file ──► tables, each checked on its own ──► checks across tables ──► Catalogue
                     └──────────── every complaint of both kinds at once ──► CatalogueError
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import SecretStr, ValidationError

from coordinator.catalogue_tables import Billing, Model, Upstream
from coordinator.lifecycle.caller import TIERS, Tier
from coordinator.lifecycle.order import Mode
from coordinator.lifecycle.tiers import DEFAULT_TIERS, TierLimits, default_tiers

__all__ = ["EXAMPLE", "Billing", "Catalogue", "CatalogueError", "Model", "Upstream", "load", "parse"]

EXAMPLE: Final = Path(__file__).with_name("relay.example.toml")
_TABLES: Final = ("models", "upstreams", "billing", "tiers")


class CatalogueError(Exception):
    """The file can't be used. `problems` holds every complaint: table, field and remedy; no secret."""

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        super().__init__(f"{path}: " + "\n  ".join(["the catalogue can't be used:", *problems]))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything the file says, checked. `tiers` has all four, from the least to the most."""

    models: Mapping[str, Model]
    upstreams: Sequence[Upstream]
    tiers: Mapping[Tier, TierLimits] = field(default_factory=default_tiers)
    billing: Billing = field(default_factory=Billing)

    def offers(self, mode: Mode) -> list[Model]:
        """The models of a mode, in the file's order."""
        return [model for model in self.models.values() if mode in model.modes]

    @property
    def tokenizers(self) -> dict[str, Path]:
        """The files, by model, of the models that have one."""
        return {name: model.tokenizer for name, model in self.models.items() if model.tokenizer is not None}

    @property
    def contexts(self) -> dict[str, int]:
        """Tokens, by model, of the models whose length is known."""
        lengths = {name: model.context_length for name, model in self.models.items()}
        return {name: length for name, length in lengths.items() if length is not None}

    def closed_to(self, model: Model) -> list[str]:
        """The tiers that may not use it in any of its modes."""
        scopes = {model.scope(mode) for mode in model.modes}
        restricted = {tier: set(limits.model_restrictions) for tier, limits in self.tiers.items()}
        return [tier for tier, allowed in restricted.items() if allowed and not allowed & scopes]


def load(path: Path, environ: Mapping[str, str]) -> Catalogue:
    """Reads the file; `environ` holds the upstreams' keys. Raises CatalogueError with all there is to say."""
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        raise CatalogueError(path, [f"{error.strerror}: copy {EXAMPLE} there and adapt it"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogueError(path, [f"is not TOML: {error}"]) from None
    return parse(tables, environ, path)


def parse(tables: Mapping[str, Any], environ: Mapping[str, str], path: Path = EXAMPLE) -> Catalogue:
    """A catalogue from the parsed tables. Raises CatalogueError."""
    problems = [
        f"[{key}]: unknown table; there are [[models]], [[upstreams]], [billing] and [tiers.NAME]"
        for key in tables
        if key not in _TABLES
    ]
    models = [_found(model, path, problems) for model in _read(Model, tables, "models", problems)]
    upstreams = [_with_key(upstream, environ, problems) for upstream in _read(Upstream, tables, "upstreams", problems)]
    tiers, billing = _tiers(tables.get("tiers", {}), problems), _billing(tables.get("billing", {}), problems)
    if not problems:
        problems += [*_repeated("models", models), *_repeated("upstreams", upstreams)]
        problems += [*_unpriced(models), *_unserved(models, upstreams), *_unbounded(models, billing)]
    if problems:
        raise CatalogueError(path, problems)
    return Catalogue({model.name: model for model in models}, tuple(upstreams), tiers, billing)


def _billing(table: object, problems: list[str]) -> Billing:
    try:
        return Billing.model_validate(table)
    except ValidationError as error:
        problems += [f"[billing]: {line}" for line in _lines(error)]
        return Billing()


def _tiers(tables: object, problems: list[str]) -> dict[Tier, TierLimits]:
    """All four, with the defaults for what the file leaves out."""
    given = tables if isinstance(tables, dict) else {"tiers": None}
    problems += [f"[tiers.{name}]: no such tier; there are {', '.join(TIERS)}" for name in given if name not in TIERS]
    tiers: dict[Tier, TierLimits] = {}
    for tier in TIERS:
        table = given.get(tier, {})
        try:
            tiers[tier] = TierLimits.model_validate(
                {**DEFAULT_TIERS[tier], **table} if isinstance(table, dict) else table
            )
        except ValidationError as error:
            problems += [f"[tiers.{tier}]: {line}" for line in _lines(error)]
    return tiers


Entry = TypeVar("Entry", Model, Upstream)


def _read(kind: type[Entry], tables: Mapping[str, Any], key: str, problems: list[str]) -> list[Entry]:
    entries = tables.get(key, [])
    if not isinstance(entries, list) or (key == "models" and not entries):
        problems.append(f"[[{key}]]: at least one is needed, with double brackets; see {EXAMPLE}")
        return []
    read = []
    for number, entry in enumerate(entries, start=1):
        try:
            read.append(kind.model_validate(entry))
        except ValidationError as error:
            problems += [f"[[{key}]] {_label(entry, number)}: {line}" for line in _lines(error)]
    return read


def _label(entry: object, number: int) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return f"{name!r}" if isinstance(name, str) else f"number {number}"


def _lines(error: ValidationError) -> list[str]:
    remedies = {"extra_forbidden": "no such field: take it out, or look for the spelling in relay.example.toml"}
    return [
        f"{'.'.join(str(part) for part in item['loc'])}: "
        + remedies.get(item["type"], item["msg"].removeprefix("Value error, "))
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _with_key(upstream: Upstream, environ: Mapping[str, str], problems: list[str]) -> Upstream:
    if upstream.api_key is not None:
        remedy = "a secret doesn't belong into the file; name its environment variable in api_key_env"
        problems.append(f"[[upstreams]] {upstream.name!r}: api_key: {remedy}")
    if upstream.api_key_env is None:
        return upstream
    secret = environ.get(upstream.api_key_env, "")
    if not secret:
        remedy = f"the environment has no {upstream.api_key_env}; set it to the key"
        problems.append(f"[[upstreams]] {upstream.name!r}: api_key_env: {remedy}")
    return upstream.model_copy(update={"api_key": SecretStr(secret)})


def _found(model: Model, catalogue: Path, problems: list[str]) -> Model:
    """With the place of its tokenizer, as seen from the catalogue's."""
    if model.tokenizer is None:
        return model
    place = catalogue.parent / model.tokenizer
    if not place.is_file():
        remedy = "write the way to the model's tokenizer.json, from this file's folder or from /, or take it out"
        problems.append(f"[[models]] {model.name!r}: tokenizer: there is no file {place}; {remedy}")
    return model.model_copy(update={"tokenizer": place})


def _repeated(key: str, entries: Sequence[Model] | Sequence[Upstream]) -> list[str]:
    names = [entry.name for entry in entries]
    return [
        f"[[{key}]] {name!r}: name: stands {names.count(name)} times; names are unique"
        for name in sorted(set(names))
        if names.count(name) > 1
    ]


def _unpriced(models: Sequence[Model]) -> list[str]:
    missing = [
        f"[[models]] {model.name!r}: prices: none for mode {mode}; add [models.prices.{mode}]"
        for model in models
        for mode in model.modes
        if mode not in model.prices
    ]
    idle = [
        f"[[models]] {model.name!r}: prices.{mode}: not a mode of this model; add {mode!r} to modes or take it out"
        for model in models
        for mode in model.prices
        if mode not in model.modes
    ]
    return missing + idle


def _unbounded(models: Sequence[Model], billing: Billing) -> list[str]:
    return [
        f"[[models]] {model.name!r}: context_length: billing needs it, as the bound of requests without max_tokens"
        for model in models
        if billing.enabled and model.context_length is None and model.endpoints != ["embeddings"]
    ]


def _unserved(models: Sequence[Model], upstreams: Sequence[Upstream]) -> list[str]:
    direct = {model.name for model in models if "direct" in model.modes}
    served = {name for upstream in upstreams for name in upstream.models}
    unserved = [
        f'[[models]] {name!r}: modes: "direct" needs an upstream; name the model in the models of one of [[upstreams]]'
        for name in sorted(direct - served)
    ]
    unknown = [
        f"[[upstreams]] {upstream.name!r}: models: {name!r} is no model offered in direct mode; add it to [[models]]"
        for upstream in upstreams
        for name in upstream.models
        if name not in direct
    ]
    return unserved + unknown
