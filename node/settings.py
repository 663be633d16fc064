"""The node's settings, from the environment (prefix NODE_). Everything that is wrong is reported at once."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from coordinator.protocol.session import ModelName

PREFIX = "NODE_"
# The name under which the relay knows the model that ships with the node.
TINY_MODEL = "relay/tiny-chat"

_REMEDY = {
    "key_file": "path of the node's key file; make one with: python -m node key --out FILE",
    "coordinator_url": "where the coordinator listens, such as https://relay.example.org",
    "models": "what the backend serves: name, or name=backend-name, separated by commas",
}


class SettingsError(Exception):
    """One line a setting that is missing or wrong. Shows no value: it might be a secret."""


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        named = bool(parts.hostname and parts.hostname.encode("idna").decode("idna"))
        _ = parts.port  # fails for what is no port, as names do that no resolver would take
    except ValueError:
        named = False
    if not named or parts.scheme not in ("http", "https") or not value.isprintable() or " " in value:
        raise PydanticCustomError("url", "must be an http:// or https:// address of a host, with a port up to 65535")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise PydanticCustomError("url", "must be a plain address, without credentials, ? or #")
    return value.rstrip("/")


def _model_names(value: Any) -> Any:
    """`a,b=c` → {"a": "a", "b": "c"}: relay name → the backend's own."""
    if not isinstance(value, str):
        return value
    pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
    names = {name.strip(): (own.strip() or name.strip()) for name, _, own in pairs}
    if len(names) != len(pairs):
        raise PydanticCustomError("models", "names a model twice")
    return names


HttpUrl = Annotated[str, AfterValidator(_http_url)]
Models = Annotated[dict[ModelName, ModelName], NoDecode, BeforeValidator(_model_names), Field(max_length=100)]


class Settings(BaseSettings):
    """Frozen. `models` maps a relay name to the backend's own; `backend_url` absent means the embedded llama.cpp."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    key_file: Path
    coordinator_url: HttpUrl
    ca_file: Path | None = None
    backend_url: HttpUrl | None = None
    backend_api_key: SecretStr | None = None
    backend_api_key_file: Path | None = None
    models: Models = Field(default_factory=dict, validate_default=True)
    slots: int = Field(default=4, ge=1, le=4096)
    state_dir: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    # An attempt never runs longer than its deadline either.
    request_timeout_seconds: float = Field(default=300, gt=0)
    # In the middle of an answer: models write tens of tokens a second, so a minute without one is a hung server.
    silence_seconds: float = Field(default=60, gt=0)
    drain_seconds: float = Field(default=60, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _lower_log_level(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("log_level"), str):
            return {**values, "log_level": values["log_level"].lower()}
        return values

    @field_validator("ca_file", mode="after")
    @classmethod
    def _holds_certificates(cls, ca_file: Path | None) -> Path | None:
        try:
            if ca_file is not None:
                ssl.create_default_context(cafile=str(ca_file))
        except OSError:  # ssl.SSLError is one
            raise PydanticCustomError("pem", "must be a readable PEM file with certificates") from None
        return ca_file

    @field_validator("models", mode="after")
    @classmethod
    def _named_for_a_backend(cls, models: dict[str, str], known: ValidationInfo) -> dict[str, str]:
        if not models and known.data.get("backend_url") is not None:
            raise PydanticCustomError("missing", "is missing")
        return models

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if self.backend_api_key is not None and self.backend_api_key_file is not None:
            raise PydanticCustomError(
                "both", "NODE_BACKEND_API_KEY and NODE_BACKEND_API_KEY_FILE are both set: choose one"
            )
        return self

    @property
    def served(self) -> dict[str, str]:
        return self.models or {TINY_MODEL: TINY_MODEL}

    @property
    def request_timeout(self) -> timedelta:
        return timedelta(seconds=self.request_timeout_seconds)

    @property
    def silence(self) -> timedelta:
        return timedelta(seconds=self.silence_seconds)

    @property
    def drain_limit(self) -> timedelta:
        return timedelta(seconds=self.drain_seconds)

    @property
    def state(self) -> Path:
        """Where unposted Reports survive a restart; beside the key file unless told otherwise."""
        return self.state_dir or self.key_file.with_name(f"{self.key_file.name}.state")

    def api_key(self) -> str | None:
        """Raises SettingsError when the file that should hold it can't be read, or what it holds fits no header."""
        if self.backend_api_key_file is None:
            return (
                _fit(self.backend_api_key.get_secret_value(), "NODE_BACKEND_API_KEY") if self.backend_api_key else None
            )
        try:
            return _fit(self.backend_api_key_file.read_text().strip(), "NODE_BACKEND_API_KEY_FILE")
        except (OSError, UnicodeDecodeError):
            raise SettingsError("NODE_BACKEND_API_KEY_FILE can't be read") from None


def _fit(key: str, name: str) -> str:
    if not (key.isascii() and key.isprintable()):
        raise SettingsError(f"{name} must hold a key alone: one line of printable ASCII")
    return key


def load_settings() -> Settings:
    """Raises SettingsError that names every missing and every wrong setting."""
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(_line(problem) for problem in _problems(error))) from None


def _problems(error: ValidationError) -> list[Any]:
    problems: list[Any] = error.errors(include_input=False, include_url=False, include_context=False)
    return problems


def _line(problem: dict[str, Any]) -> str:
    location = problem["loc"]
    if not location:
        return str(problem["msg"])
    name = f"{PREFIX}{str(location[0]).upper()}"
    if problem["type"] == "missing":
        return f"{name} is missing: {_REMEDY.get(str(location[0]), 'required')}"
    return f"{name}: {problem['msg']}"
