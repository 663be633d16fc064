"""The tables of the catalogue, each checked on its own; what must fit together is checked in catalogue.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, HttpUrl, SecretStr, TypeAdapter

from coordinator.lifecycle import money
from coordinator.lifecycle.order import Mode
from coordinator.protocol.envelope import Endpoint

EndpointName = Literal["chat", "completions", "embeddings"]
# What the file calls the paths of an OpenAI server.
ENDPOINTS: Final[Mapping[Endpoint, EndpointName]] = {
    "chat/completions": "chat",
    "completions": "completions",
    "embeddings": "embeddings",
}
_DECIMAL: Final = re.compile(r"\d{1,12}(\.\d{1,18})?")


def _exact(value: object) -> object:
    """Money is never a binary fraction: TOML's 0.08 is one, "0.08" is not; and a token has a price."""
    if isinstance(value, Decimal):
        return value
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise ValueError('must be an exact decimal in quotes, such as "0.08"')
    money.per_token(Decimal(value))
    return Decimal(value)


def _seconds(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 86_400:
        raise ValueError("must be a number of seconds above 0 and at most 86400")
    return timedelta(seconds=value)


def _path(value: object) -> object:
    if not isinstance(value, str) or not value:
        raise ValueError("must be the path of a file")
    return Path(value)


def _base_url(value: object) -> object:
    url = _HTTP_URL.validate_python(value)
    if url.username or url.password or url.query or url.fragment:
        raise ValueError("must be a plain address: no user, password, query or fragment")
    return str(value).rstrip("/")


_HTTP_URL: Final = TypeAdapter(HttpUrl)
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$")]
Money = Annotated[Decimal, BeforeValidator(_exact)]
Seconds = Annotated[timedelta, BeforeValidator(_seconds)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Price(_Table):
    """US dollars for a million tokens, exact."""

    per_1m_input_tokens: Money
    per_1m_output_tokens: Money

    @property
    def per_token(self) -> money.Price:
        return money.Price(money.per_token(self.per_1m_input_tokens), money.per_token(self.per_1m_output_tokens))


class Model(_Table):
    """One model under the name that clients use. `prices` has one entry for each of `modes`; `endpoints` are what those
    who serve it can do; `tokenizer` is a tokenizer.json, beside the catalogue where it is no absolute path."""

    name: ModelName
    display_name: str | None = Field(default=None, min_length=1, max_length=200)
    source: Literal["openai"] = "openai"
    modes: Annotated[list[Mode], Field(min_length=1, max_length=2)]
    endpoints: Annotated[list[EndpointName], Field(min_length=1, max_length=3)] = ["chat", "completions"]
    context_length: int | None = Field(default=None, ge=1)
    tokenizer: Annotated[Path, BeforeValidator(_path)] | None = None
    since: date = date(2025, 1, 1)
    prices: dict[Mode, Price]

    def serves(self, endpoint: Endpoint) -> bool:
        return ENDPOINTS[endpoint] in self.endpoints

    def scope(self, mode: Mode) -> str:
        """`{mode}.{source}.{model}`, as restrictions and usage name it."""
        return f"{mode}.{self.source}.{self.name}"


class Upstream(_Table):
    """A direct-mode endpoint that speaks the OpenAI API under `base_url` (which ends in /v1, as a rule).

    `models` maps relay names to the upstream's own. `server` is the kind of server, for what that is known to pass over
    in silence; it is asked when the file doesn't say. `api_key` is read from the environment, never from the file.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    base_url: Annotated[str, BeforeValidator(_base_url)]
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    api_key: SecretStr | None = None
    server: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,40}$")] | None = None
    models: Annotated[dict[str, Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    connect_timeout: Seconds = Field(default=timedelta(seconds=5), validation_alias="connect_seconds")
    answer_timeout: Seconds = Field(default=timedelta(seconds=300), validation_alias="answer_seconds")
    silence_timeout: Seconds = Field(default=timedelta(seconds=60), validation_alias="silence_seconds")


class Billing(_Table):
    """Unless it is enabled, nothing is charged or refused for money; usage is counted all the same."""

    enabled: bool = False
