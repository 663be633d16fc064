"""Which registry a command is about: the coordinator's, or one that the provider names himself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from contracts import deployment
from coordinator.protocol.session import Admission, Network
from node.presence.cleartext import cleartext
from node.presence.line import CoordinatorUnreachable, line_transport
from node.presence.network import NoCoordinator, ask_network
from node.staking.errors import StakingError
from node.staking.settings import StakingSettings, needed

_TIMEOUT = timedelta(seconds=10)
_FORGED = (
    "The coordinator's address is not https://: whoever is on the way can name a registry of his own, and slash what "
    "you stake there. Compare the registry below with one that you know, or name it by --registry."
)


@dataclass(frozen=True, slots=True)
class Place:
    """`chain_id` None: whatever chain the endpoint is of. `stake_wei`: what the coordinator asks for; 0 where nothing.

    `remark`: what a provider should know before paying. `task_registry`: where the coordinator's tasks are paid.
    """

    registry: str
    chain_id: int | None
    stake_wei: int = 0
    remark: str = ""
    task_registry: str | None = None


async def find_place(settings: StakingSettings, registry: str | None, chain_id: int | None) -> Place:
    """`registry` and `chain_id` as typed; the coordinator isn't asked then. Raises StakingError, SettingsError."""
    if registry is not None:
        return Place(registry, chain_id)
    url = needed(settings.coordinator_url, "coordinator_url", "where the coordinator listens; or name its --registry")
    transport = line_transport(1, settings.ca_file)
    try:
        network = (await ask_network(url, transport, _TIMEOUT)).network
    except CoordinatorUnreachable as error:
        raise StakingError(
            f"The coordinator at {url} can't be reached ({error}): check NODE_COORDINATOR_URL."
        ) from None
    except NoCoordinator as error:
        raise StakingError(f"{error}: check NODE_COORDINATOR_URL.") from None
    except OSError:
        raise StakingError("NODE_CA_FILE can't be read: it must be a PEM file with certificates.") from None
    finally:
        await transport.aclose()
    place = place_of(network, chain_id)
    return replace(place, remark=f"{place.remark} {_FORGED}".strip()) if cleartext(url) else place


def place_of(network: Network, chain_id: int | None) -> Place:
    if network.node_registry is None or network.chain_id is None:
        raise StakingError(
            "The coordinator does not know its registry yet, because its chain writer has not started: try again "
            "later, or name the --registry yourself."
        )
    if chain_id not in (None, network.chain_id):
        raise StakingError(f"The coordinator is on chain {network.chain_id}, not on {chain_id}: correct --chain-id.")
    known = (deployment(network.chain_id) or {}).get("NodeRegistry")
    if known not in (None, network.node_registry):
        raise StakingError(
            f"The coordinator names the registry {network.node_registry}, and this software knows {known} on chain "
            f"{network.chain_id}. If you trust the coordinator's, name it by --registry."
        )
    asked = network.admission in (Admission.STAKE, Admission.LIST_OR_STAKE)
    remark = "" if asked else "This coordinator asks for no stake."
    return Place(network.node_registry, network.chain_id, network.stake_wei or 0, remark, network.task_registry)
