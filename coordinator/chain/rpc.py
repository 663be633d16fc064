"""The connection to an EVM node, and what its failures mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from web3 import AsyncWeb3
from web3.exceptions import BadFunctionCallOutput, ContractLogicError, Web3Exception, Web3RPCError

from contracts.endpoint import ClientError, Endpoint, words_of
from coordinator.chain.errors import ChainError, ChainRejected, ChainUnavailable

W3 = AsyncWeb3[Any]
_TIMEOUT_SECONDS = 10


def connect(rpc_url: str) -> W3:
    """Without retries (the writer has its own rounds) and without middleware (nothing is filled in behind our back)."""
    return AsyncWeb3(Endpoint(rpc_url, _TIMEOUT_SECONDS), middleware=[])


async def disconnect(w3: W3) -> None:
    await w3.provider.disconnect()


@contextmanager
def reaching() -> Iterator[None]:
    """Raises ChainRejected for an answer that says no, ChainUnavailable for no answer, or none that makes sense.

    Endpoint URLs hold keys, and aiohttp puts URLs into its messages: only the kind of the failure is passed on.
    """
    try:
        yield
    except ChainError:
        raise
    except (Web3RPCError, ContractLogicError) as error:
        raise ChainRejected(words_of(error)) from error
    except BadFunctionCallOutput as error:
        raise ChainRejected("no such contract at that address") from error
    except (ClientError, OSError, TimeoutError, Web3Exception, ValueError) as error:
        raise ChainUnavailable(f"the RPC endpoint can't be reached ({type(error).__name__})") from error
    except (LookupError, TypeError, AttributeError) as error:  # web3 trips over answers of a shape it doesn't expect
        raise ChainUnavailable(f"the RPC endpoint talks nonsense ({type(error).__name__})") from error
