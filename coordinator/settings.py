"""The coordinator's settings: environment variables with the prefix RELAY_, frozen, secrets as SecretStr."""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from eth_utils.address import is_hex_address, to_checksum_address
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from coordinator.lifecycle.policy import Pay, Policy


class SettingsWrong(Exception):
    """All that is missing or wrong, in one message with a line each; never a value."""


def _address(value: str) -> str:
    if not is_hex_address(value):
        raise ValueError("must be an address: 0x and 40 hexadecimal digits")
    return to_checksum_address(value)


def _networks(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return tuple(ip_network(word.strip()) for word in value.split(",") if word.strip())
    except ValueError:
        raise ValueError(
            "must be networks such as 10.0.0.0/8,fd00::/8, separated by commas, no host bits set"
        ) from None


def _urls(value: object) -> object:
    if not isinstance(value, str):
        return value
    urls = tuple(word.strip().rstrip("/") for word in value.split(",") if word.strip())
    for parts in map(urlsplit, urls):
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError("must be https:// addresses, separated by commas")
    return urls


def _broker(value: str) -> str:
    if not re.fullmatch(r"(rediss?://)?([\w.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}", value):
        raise ValueError("must be host:port, redis://host:port or rediss://host:port, without a credential")
    return value


def _store(value: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(value.get_secret_value())
        whole = parts.scheme in ("redis", "rediss") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none
        whole = False
    if not whole:
        raise ValueError("must be redis://:password@host:port/0, or rediss://")
    return value


Store = Annotated[SecretStr, AfterValidator(_store)]
Broker = Annotated[str, AfterValidator(_broker)]
Urls = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_urls)]
Address = Annotated[str, AfterValidator(_address)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks)]


class Settings(BaseSettings):
    """Of every coordinator process; each reads what it needs. Only the chain writer opens the chain key's file."""

    model_config = SettingsConfigDict(
        env_prefix="RELAY_", frozen=True, extra="ignore", hide_input_in_errors=True, allow_inf_nan=False
    )

    redis_url: Store = Field(description="redis:// or rediss:// URL of the store, with its password")
    redis_ca_file: Path | None = Field(None, description="PEM certificates that a rediss:// store is checked against")
    node_redis: Broker | None = Field(
        None, description="host:port, or rediss://host:port, of the same Redis as nodes reach it; default: redis_url's"
    )
    catalogue: Path = Field(description="TOML file of models, upstreams and prices; see coordinator/relay.example.toml")
    host: str = Field("127.0.0.1", description="address the API listens on")
    port: int = Field(8080, ge=1, le=65535)
    tls_cert_file: Path | None = Field(None, description="PEM certificate chain: the API answers https:// alone")
    tls_key_file: Path | None = Field(None, validate_default=True, description="PEM private key of it")
    public_url: Urls = Field((), description="https:// addresses at which nodes reach the API; default: this machine's")
    trusted_proxies: Networks = Field((), description="networks whose X-Forwarded-For is believed, separated by commas")
    webhook_allow_private: bool = Field(
        False, description="webhooks may go to private addresses and over http: for tests and private networks"
    )
    log_level: str = Field("INFO", pattern="^(?i:debug|info|warning|error)$")

    rpc_url: str = Field("http://127.0.0.1:8545", description="EVM JSON-RPC endpoint (chain writer)")
    chain_id: int | None = Field(None, description="refuse to run on any other chain")
    chain_key_file: Path | None = Field(
        None, description="hex private key of the coordinator, mode 0600 (chain writer)"
    )
    task_registry: Address | None = None
    node_registry: Address | None = None
    confirmations: int = Field(
        1, ge=1, description="blocks, the transaction's own counted, until a record is confirmed"
    )
    batch_size: int = Field(50, ge=1, le=139, description="most tasks in one transaction")
    batch_wait_ms: int = Field(200, ge=0, description="how long a transaction waits for company")

    node_allow_file: Path | None = Field(
        None, description="addresses of the nodes that may sign in; absent, and no stake asked for: every key may"
    )
    node_stake_wei: int | None = Field(
        None, ge=0, description="nodes with so much staked on chain may sign in; absent: stakes don't count"
    )
    node_registry_block: int = Field(
        0, ge=0, description="block of the NodeRegistry's deployment: no earlier one is searched for stakes"
    )
    lease_seconds: float = Field(10, gt=0)
    heartbeat_seconds: float = Field(2, gt=0, validate_default=True)
    session_seconds: float = Field(3600, ge=1, description="life of a node's session and of its broker password")
    taken_seconds: float = Field(
        8, gt=0, validate_default=True, description="a node that beats must have named an attempt by then"
    )
    first_token_seconds: float = Field(30, gt=0, description="an attempt's first token, later for a long prompt")
    first_token_seconds_per_kb: float = Field(0.5, ge=0, description="how much more, by 1000 bytes of the request")
    attempt_timeout_seconds: float = Field(300, gt=0)
    task_timeout_seconds: float = Field(900, gt=0)
    affinity_seconds: float = Field(
        600, ge=0, description="a conversation goes back to the node that has it in its cache for so long; 0: never"
    )
    affinity_wait_ms: int = Field(500, ge=0, description="how long it waits for that node while others are free")
    result_ttl_hours: float = Field(24, gt=0)
    sync_wait_seconds: float = Field(600, gt=0, description="longest wait of a synchronous opengpu call")
    max_body_bytes: int = Field(8 * 1024 * 1024, ge=1024)
    pay_wei_per_prompt_token: int = Field(1_000_000_000, ge=0)
    pay_wei_per_completion_token: int = Field(4_000_000_000, ge=0)

    @field_validator("tls_key_file")
    @classmethod
    def _with_its_certificate(cls, key_file: Path | None, known: ValidationInfo) -> Path | None:
        if "tls_cert_file" in known.data and (known.data["tls_cert_file"] is None) != (key_file is None):
            raise ValueError("RELAY_TLS_CERT_FILE and RELAY_TLS_KEY_FILE go together")
        return key_file

    @field_validator("heartbeat_seconds")
    @classmethod
    def _within_the_lease(cls, heartbeat: float, known: ValidationInfo) -> float:
        if 2 * heartbeat >= known.data.get("lease_seconds", 2 * heartbeat + 1):
            raise ValueError("must be less than half of RELAY_LEASE_SECONDS: else one lost heartbeat loses the lease")
        return heartbeat

    @field_validator("taken_seconds")
    @classmethod
    def _after_a_heartbeat(cls, taken: float, known: ValidationInfo) -> float:
        if taken <= known.data.get("heartbeat_seconds", 0):
            raise ValueError("must be more than RELAY_HEARTBEAT_SECONDS: nodes name what they have in heartbeats")
        return taken

    @property
    def policy(self) -> Policy:
        return Policy(
            lease=timedelta(seconds=self.lease_seconds),
            heartbeat=timedelta(seconds=self.heartbeat_seconds),
            session=timedelta(seconds=self.session_seconds),
            taken=timedelta(seconds=self.taken_seconds),
            first_token=timedelta(seconds=self.first_token_seconds),
            first_token_per_kb=timedelta(seconds=self.first_token_seconds_per_kb),
            attempt_timeout=timedelta(seconds=self.attempt_timeout_seconds),
            task_timeout=timedelta(seconds=self.task_timeout_seconds),
            affinity_ttl=timedelta(seconds=self.affinity_seconds),
            affinity_wait=timedelta(milliseconds=self.affinity_wait_ms),
            result_ttl=timedelta(hours=self.result_ttl_hours),
        )

    @property
    def sync_wait(self) -> timedelta:
        return timedelta(seconds=self.sync_wait_seconds)

    @property
    def pay(self) -> Pay:
        return Pay(self.pay_wei_per_prompt_token, self.pay_wei_per_completion_token)


def load() -> Settings:
    """From the environment. Raises SettingsWrong that names every variable at once."""
    try:
        return Settings()  # the environment fills them
    except ValidationError as error:
        lines = [
            f"  RELAY_{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            if item["loc"]
            else f"  {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsWrong("These settings are missing or wrong:\n" + "\n".join(lines)) from None
