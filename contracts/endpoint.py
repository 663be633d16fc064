"""An EVM node's JSON-RPC over HTTP, as web3 calls it."""

from __future__ import annotations

from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout
from web3.exceptions import ContractLogicError, Web3RPCError
from web3.providers.async_base import AsyncJSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

__all__ = ["ClientError", "Endpoint", "words_of"]

_JSON = {"content-type": "application/json"}


class Endpoint(AsyncJSONBaseProvider):
    """One session, whose connections stay open; nothing is retried. `timeout`: seconds of one call.

    In place of web3's AsyncHTTPProvider, which connects anew for each call, and looks its session up under one lock of
    the process: a call that is cancelled meanwhile leaves it locked, and all later ones wait for ever (web3 8.0).
    Raises aiohttp's ClientError, TimeoutError, and ValueError for an answer that is no JSON.
    """

    def __init__(self, url: str, timeout: float) -> None:
        super().__init__()
        self._url, self._timeout = url, ClientTimeout(total=timeout)
        self._session: ClientSession | None = None

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        if self._session is None:
            self._session = ClientSession(timeout=self._timeout, headers=_JSON, raise_for_status=True)
        async with self._session.post(self._url, data=self.encode_rpc_request(method, params)) as answer:
            return self.decode_rpc_response(await answer.read())

    async def disconnect(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def words_of(error: Web3RPCError | ContractLogicError) -> str:
    """What the endpoint itself said, without the JSON around it: one line of at most 300 characters."""
    told: Any = (getattr(error, "rpc_response", None) or {}).get("error")
    words = told.get("message") if isinstance(told, dict) else None
    return " ".join(str(words or error.message)[:300].split())
