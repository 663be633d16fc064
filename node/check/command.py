"""Runs all checks and says what they found. Settings and the key file come first: without them nothing can be tried."""

from __future__ import annotations

import asyncio
import json

from pydantic import SecretStr

from coordinator.protocol.session import Standing
from node.check.backend import BackendChecks
from node.check.coordinator import CoordinatorChecks
from node.check.machine import look_at_machine
from node.check.outcome import Level, Outcome, failed
from node.identity import Identity, KeyFileError, load_key
from node.presence.line import SignedLine, line_transport
from node.presence.standing import NoStanding, ask_standing
from node.settings import Settings, SettingsError, load_settings
from node.staking.settings import load_staking_settings

_PASSED, _NOT = 0, 1


async def check(settings: Settings, identity: Identity, rpc_url: SecretStr | None = None) -> list[Outcome]:
    """In the order of a table of contents; what doesn't hang together is tried at the same time."""
    transport = line_transport(4, settings.ca_file)
    try:
        coordinator = CoordinatorChecks(settings, identity, transport, rpc_url)
        found = await asyncio.gather(
            asyncio.to_thread(look_at_machine, settings, identity), coordinator.run(), BackendChecks(settings).run()
        )
    finally:
        await transport.aclose()
    return [outcome for group in found for outcome in group]


def outcomes() -> list[Outcome]:
    """Never raises for what an operator can mend."""
    try:
        settings = load_settings()
        rpc_url = load_staking_settings().rpc_url
        identity = load_key(settings.key_file)
    except SettingsError as error:
        return [failed("settings", line, "all settings: node/README.md") for line in str(error).splitlines()]
    except KeyFileError as error:
        return [failed("key", *_halves(str(error)))]
    return asyncio.run(check(settings, identity, rpc_url))


def run_check(*, as_json: bool) -> int:
    """Prints what was found; 0 when nothing failed."""
    found = outcomes()
    if as_json:
        print(json.dumps([outcome.as_dict() for outcome in found], indent=2, ensure_ascii=False))  # noqa: T201
    else:
        print("\n".join(str(outcome) for outcome in found))  # noqa: T201
        print(_summary(found))  # noqa: T201
    return _NOT if any(outcome.level is Level.FAILED for outcome in found) else _PASSED


def run_standing(settings: Settings, identity: Identity) -> int:
    """Prints the Standing as JSON; 0 when the key is admitted. Raises RuntimeError when nobody says."""

    async def ask() -> Standing:
        transport = line_transport(1, settings.ca_file)
        try:
            return await ask_standing(SignedLine(settings.coordinator_url, identity, transport))
        except NoStanding as no:
            raise RuntimeError(f"{settings.coordinator_url}: {no.reason}") from no
        finally:
            await transport.aclose()

    standing = asyncio.run(ask())
    print(standing.model_dump_json(indent=2))  # noqa: T201 - the command's answer
    return _PASSED if standing.admitted else _NOT


def _summary(found: list[Outcome]) -> str:
    bad = sum(outcome.level is Level.FAILED for outcome in found)
    odd = sum(outcome.level is Level.WARNING for outcome in found)
    warnings = f", {odd} warning{'s' * (odd != 1)}" if odd else ""
    return f"{bad} of {len(found)} checks failed{warnings}" if bad else f"all is well{warnings}: python -m node run"


def _halves(reason: str) -> tuple[str, str]:
    """What is wrong and what to do, as KeyFileError says them."""
    seen, _, remedy = reason.partition(": ")
    return seen, remedy or "make a key with python -m node key --out FILE"
