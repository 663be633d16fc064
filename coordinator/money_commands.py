"""`python -m coordinator credit | credits | ledger`: the operator's way to the money of accounts."""

from __future__ import annotations

import argparse
from decimal import Decimal, InvalidOperation
from typing import Any

from coordinator.commands import Step, running
from coordinator.lifecycle.keys import MAX_BUDGET_NANO
from coordinator.lifecycle.money import NANO, dollars
from coordinator.lifecycle.usage import Entry
from coordinator.settings import Settings
from coordinator.store.money import Purse
from coordinator.store.scripts import Scripts

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


def _of_an_account(commands: Any, name: str, what: str, step: Step[Purse]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=what)
    parser.add_argument("account", metavar="ACCOUNT", help="as `key create --account` named it")
    parser.set_defaults(run=running(step, _part))
    return parser


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


def _part(redis: Any, settings: Settings) -> Purse:
    return Purse(redis, Scripts(redis, settings.policy))
