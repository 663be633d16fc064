"""What the staking commands read of the environment. A provider's own machine has neither node key nor models."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from node.settings import PREFIX, HttpUrl, SettingsError

Value = TypeVar("Value")


class StakingSettings(BaseSettings):
    """Frozen. Each command says which of these it lacks. Endpoints' URLs often hold a key: secret."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    key_file: Path | None = None
    coordinator_url: HttpUrl | None = None
    ca_file: Path | None = None
    rpc_url: SecretStr | None = None
    provider_password_file: Path | None = None


def load_staking_settings() -> StakingSettings:
    """Raises SettingsError that names every wrong setting."""
    try:
        return StakingSettings()
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False, include_context=False)
        lines = [f"{PREFIX}{str(item['loc'][0]).upper()}: {item['msg']}" for item in wrong]
        raise SettingsError("\n".join(lines)) from None


def needed(value: Value | None, name: str, remedy: str) -> Value:
    """The value. Raises SettingsError where a command lacks what it needs."""
    if value is None:
        raise SettingsError(f"{PREFIX}{name.upper()} is missing: {remedy}")
    return value
