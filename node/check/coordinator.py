"""The coordinator: its network, our clock beside its own, whether it admits us, its chain, its broker."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from coordinator.protocol.session import Condition, Network, Standing
from coordinator.protocol.signing import TIME_WINDOW_MS
from node.check.chain import look_at_chain
from node.check.outcome import Outcome, failed, ok, warning
from node.identity import Identity
from node.presence.cleartext import cleartext
from node.presence.line import CoordinatorUnreachable, SignedLine, Transport
from node.presence.network import NoCoordinator, ask_network
from node.presence.standing import NoStanding, ask_standing
from node.settings import Settings

_PATIENCE = timedelta(seconds=5)
_BROKER_SECONDS = 5
# Signatures hold for a minute; a clock that is off by less may still drift there.
_REFUSED, _ODD = timedelta(milliseconds=TIME_WINDOW_MS), timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Seen:
    """`ahead`: of our clock, give or take half the round trip."""

    network: Network
    round_trip: timedelta
    ahead: timedelta


@dataclass(frozen=True, slots=True)
class CoordinatorChecks:
    """`transport` is the caller's to close. `rpc_url`: of an endpoint that the provider trusts; often holds a key."""

    settings: Settings
    identity: Identity
    transport: Transport
    rpc_url: SecretStr | None

    async def run(self) -> list[Outcome]:
        url = self.settings.coordinator_url
        try:
            seen = await _seen(self.transport, url)
        except (CoordinatorUnreachable, NoCoordinator) as no:
            return [failed("coordinator", f"{url}: {no}", "see that NODE_COORDINATOR_URL is right, and its host up")]
        network = seen.network
        standing, chain, broker = await asyncio.gather(
            self.standing(network),
            look_at_chain(network, self.identity.address, self.rpc_url),
            self.broker(network.broker),
        )
        return [self.reached(seen), models(self.settings, network), clock(seen), standing, *chain, broker]

    def reached(self, seen: Seen) -> Outcome:
        url = self.settings.coordinator_url
        said = f"{url}, {seen.round_trip / timedelta(milliseconds=1):.0f} ms away"
        if cleartext(url):
            return failed(
                "coordinator",
                f"{said}, over plain HTTP",
                "use its https:// address: what you send is signed, not hidden",
            )
        return ok("coordinator", said)

    async def standing(self, network: Network) -> Outcome:
        line = SignedLine(self.settings.coordinator_url, self.identity, self.transport)
        try:
            return admission(await ask_standing(line), network, self.identity.address)
        except NoStanding as no:
            return failed(
                "admission", no.reason, "ask the coordinator's operator; where it names the clock, set that first"
            )

    async def broker(self, url: str) -> Outcome:
        """Whether a Redis answers there; the user comes with the session."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").encode("idna").decode(), parts.port or 6379
        except ValueError:
            return failed("broker", "where the coordinator says it is, is no address", "ask the coordinator's operator")
        secure, where = parts.scheme == "rediss", f"{parts.scheme}://{host}:{port}"
        try:
            async with asyncio.timeout(_BROKER_SECONDS):
                answer = await _ping(host, port, _trust(self.settings.ca_file) if secure else None)
        except ssl.SSLCertVerificationError as error:
            return failed(
                "broker", f"{where}: {error.verify_message}", "name the certificate's authority in NODE_CA_FILE"
            )
        except (OSError, TimeoutError) as error:
            reason = str(error) or "no answer"
            return failed(
                "broker", f"{where}: {reason}", "let the node out to that port, or ask the operator whether it is up"
            )
        if not answer.startswith((b"-NOAUTH", b"+PONG")):
            return failed("broker", f"{where}: what answers is no Redis", "ask the coordinator's operator")
        if cleartext(url):
            return failed(
                "broker",
                f"{where} answers, without TLS",
                "ask the operator for rediss://: prompts and your credential travel there",
            )
        return ok("broker", f"{where} answers")


def models(settings: Settings, network: Network) -> Outcome:
    mine = ", ".join(settings.served)
    if unknown := [model for model in settings.served if model not in network.models]:
        seen = f"clients can't ask for {', '.join(unknown)} here"
        remedy = f"name them in NODE_MODELS as the relay does: {', '.join(network.models) or 'it has none'}"
        nothing = len(unknown) == len(settings.served)
        return failed("models", seen, remedy) if nothing else warning("models", seen, remedy)
    return ok("models", f"{mine}: clients can ask for it")


def clock(seen: Seen) -> Outcome:
    off, doubt = abs(seen.ahead), seen.round_trip / 2
    behind = "behind" if seen.ahead > timedelta() else "ahead"
    said = f"{off.total_seconds():.2f} s {behind}, give or take {doubt.total_seconds():.2f} s"
    remedy = "set this machine's clock by NTP (timedatectl set-ntp true)"
    if off - doubt > _REFUSED:
        return failed("clock", said, remedy)
    return warning("clock", said, remedy) if off - doubt > _ODD else ok("clock", said)


def admission(standing: Standing, network: Network, address: str) -> Outcome:
    """How the coordinator stands to this key."""
    rule = {"open": "every key", "list": "the operator's list", "stake": "stake", "list_or_stake": "list or stake"}
    said = f"admitted ({rule[network.admission]})"
    if not standing.admitted:
        ask = f"ask the operator to admit {address}"
        return failed("admission", f"not admitted ({rule[network.admission]})", standing.remedy or ask)
    if standing.condition is Condition.SUSPENDED:
        left = (standing.suspended_ms or 0) / 1000
        seen = f"{said}, but suspended for {left:.0f} s more: too many attempts went wrong"
        return warning("admission", seen, "see the backend below, and the log of the node")
    if standing.condition is Condition.PROBATION:
        return ok("admission", f"{said}, on probation: one attempt at a time until a few went well")
    return ok("admission", f"{said}; signed in now, `run` would take over" if standing.signed_in else said)


async def _seen(transport: Transport, url: str) -> Seen:
    """Asks twice: the first time may connect. Raises CoordinatorUnreachable, NoCoordinator."""
    for _ in range(2):
        heard = await ask_network(url, transport, _PATIENCE)
    now_ms, round_trip = time.time() * 1000, timedelta(seconds=heard.round_trip)
    ahead = timedelta(milliseconds=heard.network.now_ms - now_ms) + round_trip / 2
    return Seen(heard.network, round_trip, ahead)


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    """As the consumer has it."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


async def _ping(host: str, port: int, tls: ssl.SSLContext | None) -> bytes:
    reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    try:
        writer.write(b"PING\r\n")
        return await reader.readline()
    except ValueError:  # a line that never ends
        return b""
    finally:
        writer.transport.abort()
