"""`python -m coordinator credit | credits | ledger`: the operator's way to the money of accounts."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from coordinator.errors import RelayError
from coordinator.lifecycle.keys import MAX_BUDGET_NANO
from coordinator.lifecycle.money import NANO, dollars
from coordinator.lifecycle.usage import Entry
from coordinator.settings import Settings, SettingsWrong
from coordinator.store.connection import connect
from coordinator.store.money import Purse
from coordinator.store.scripts import Scripts

Step = Callable[[Purse, argparse.Namespace], Awaitable[list[str]]]
# of a task's id, which is the right to read it
_SHOWN = 16


def add_to(commands: Any) -> None:
    credit = _of_an_account(
        commands, "credit", "pay into an account, or with a minus take back; prints what is left", _credit
    )
    credit.add_argument("amount", type=_nano, metavar="AMOUNT", help="US dollars, 9 decimals at most")
    _of_an_account(commands, "credits", "what an account has", _credits)
    ledger = _of_an_account(commands, "ledger", "an account's ledger, the oldest first", _ledger)
    ledger.add_argument("--last", type=int, metavar="N", help="the newest N entries alone")


def _of_an_account(commands: Any, name: str, what: str, step: Step) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=what)
    parser.add_argument("account", metavar="ACCOUNT", help="as `key create --account` named it")
    parser.set_defaults(run=_running(step))
    return parser


def _running(step: Step) -> Callable[[Settings, argparse.Namespace], int]:
    async def steps(settings: Settings, arguments: argparse.Namespace) -> list[str]:
        redis = connect(settings.redis_url)
        try:
            return await step(Purse(redis, Scripts(redis, settings.policy)), arguments)
        except RelayError as error:
            raise SettingsWrong(error.message) from None
        finally:
            await redis.aclose()

    def run(settings: Settings, arguments: argparse.Namespace) -> int:
        for line in asyncio.run(steps(settings, arguments)):
            print(line)  # noqa: T201 - the product of the command
        return 0

    return run


async def _credit(purse: Purse, asked: argparse.Namespace) -> list[str]:
    return [dollars(await purse.credit(asked.account, asked.amount))]


async def _credits(purse: Purse, asked: argparse.Namespace) -> list[str]:
    balance = await purse.balance(asked.account)
    named = {"paid": balance.paid, "left": balance.left, "held": balance.held, "spent": balance.spent}
    return ["  ".join(f"{name} {dollars(nano)}" for name, nano in named.items())]


async def _ledger(purse: Purse, asked: argparse.Namespace) -> list[str]:
    return [_line(entry) for entry in await purse.entries(asked.account, asked.last)]


def _line(entry: Entry) -> str:
    moment = entry.at.isoformat(timespec="milliseconds")
    if entry.kind == "credit":
        return f"{moment}  credit  {dollars(entry.nano)}"
    tokens = f"{entry.prompt_tokens}+{entry.completion_tokens}"
    task = (entry.task_id or "")[:_SHOWN]
    return f"{moment}  charge  {dollars(entry.nano)}  {entry.key_id}  {entry.mode}  {entry.model}  {tokens}  {task}"


def _nano(text: str) -> int:
    try:
        amount = Decimal(text) * NANO
    except InvalidOperation:
        raise argparse.ArgumentTypeError("must be a number of US dollars") from None
    if not amount.is_finite() or amount % 1 or not 0 < abs(amount) <= MAX_BUDGET_NANO:
        raise argparse.ArgumentTypeError(
            f"must be at most {MAX_BUDGET_NANO // NANO} US dollars, with 9 decimals at most"
        )
    return int(amount)
