"""What a call may cost is set aside before it runs, and what it has cost is charged before its last byte goes out.

A synchronous or streamed direct call: reserve ──► run ──► settle (a call that is kept as a task: with it)
                                             └──► let go, when it came to nothing
Every other task: the scripts that submit it and end it do both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Final

import structlog

from coordinator.api.ports import Purse
from coordinator.api.requests import GeneratingRequest, RelayRequest
from coordinator.catalogue import Catalogue, Model
from coordinator.errors import RelayError, StoreUnavailable
from coordinator.lifecycle.caller import Caller
from coordinator.lifecycle.money import FREE, Bill, Price, Tokens
from coordinator.lifecycle.order import Mode
from coordinator.protocol.ids import TaskId

# The schema's own bound of max_tokens, where no money depends on a closer one.
_MOST_TOKENS: Final = 128_000
_PAUSES_S: Final = (0.1, 1.0, 5.0)

log = structlog.get_logger("api")


class Till:
    """`purse` None: nothing is counted and nothing charged. `drain` before the store is closed."""

    def __init__(self, purse: Purse | None, catalogue: Catalogue) -> None:
        self.purse, self._catalogue = purse, catalogue
        self._prices: Mapping[tuple[str, Mode], Price] = {
            (model.name, mode): price.per_token if catalogue.billing.enabled else FREE
            for model in catalogue.models.values()
            for mode, price in model.prices.items()
        }
        self._pending: set[asyncio.Task[None]] = set()

    def bill(self, caller: Caller, asked: RelayRequest, mode: Mode, request: bytes) -> Bill | None:
        """Nobody's for a guest. `request` is what the model server gets: a prompt has no more tokens than bytes."""
        if self.purse is None or caller.key_id is None or caller.account is None:
            return None
        model = self._catalogue.models[asked.model]
        most = Tokens(len(request), _most_tokens(asked, model))
        price = self._prices[model.name, mode]
        return Bill(caller.account, caller.key_id, mode, f"{model.source}.{model.name}", price, most)

    def hold(self, task_id: TaskId, bill: Bill | None) -> Hold:
        """`async with` it around a direct call. Raises KeyBudgetExhausted, InsufficientCredits, StoreUnavailable."""
        return Hold(self, task_id, bill)

    async def settle(self, task_id: TaskId, bill: Bill | None, tokens: Tokens | None) -> None:
        """None: it came to nothing. A store that is down gets told later. It is done even if nobody waits any more."""
        if self.purse is not None and bill is not None and (tokens is not None or bill.amount):
            await asyncio.shield(self._begin(self._settle(self.purse, task_id, bill, tokens)))

    def settle_later(self, task_id: TaskId, bill: Bill | None, tokens: Tokens | None) -> None:
        """As settle, for when nobody waits for it."""
        if self.purse is not None and bill is not None and (tokens is not None or bill.amount):
            self._begin(self._settle(self.purse, task_id, bill, tokens))

    async def drain(self) -> None:
        """Returns when everything is settled, or given up: then the sweep lets go of what is held."""
        while self._pending:
            await asyncio.wait(self._pending)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task

    async def _settle(self, purse: Purse, task_id: TaskId, bill: Bill, tokens: Tokens | None) -> None:
        try:
            await purse.settle(task_id, bill, tokens)
        except StoreUnavailable:
            self._begin(self._try_again(purse, task_id, bill, tokens))

    async def _try_again(self, purse: Purse, task_id: TaskId, bill: Bill, tokens: Tokens | None) -> None:
        for pause in _PAUSES_S:
            await asyncio.sleep(pause)
            try:
                return await purse.settle(task_id, bill, tokens)
            except StoreUnavailable:
                continue
        log.error("not settled: the store is down", task=task_id[:16])


class Hold:
    """Set aside for its body, and let go when that raises. What the body has done is settled by whoever knows it."""

    __slots__ = ("_bill", "_task_id", "_till")

    def __init__(self, till: Till, task_id: TaskId, bill: Bill | None) -> None:
        self._till, self._task_id, self._bill = till, task_id, bill

    async def __aenter__(self) -> None:
        if self._till.purse is not None and self._bill is not None and self._bill.amount:
            try:
                await self._till.purse.reserve(self._task_id, self._bill)
            except StoreUnavailable:  # its answer may be all that was lost
                self._till.settle_later(self._task_id, self._bill, None)
                raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, RelayError):
            await self._till.settle(self._task_id, self._bill, None)  # a retry finds the money again
        elif error is not None:
            self._till.settle_later(self._task_id, self._bill, None)


def _most_tokens(asked: RelayRequest, model: Model) -> int:
    """Of all choices together."""
    if not isinstance(asked, GeneratingRequest):
        return 0
    given = [most for most in (asked.max_tokens, getattr(asked, "max_completion_tokens", None)) if most is not None]
    bound = model.context_length or _MOST_TOKENS
    return asked.most_choices * (min(max(given), bound) if given else bound)
