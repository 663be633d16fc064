"""`python -m coordinator key …`: the operator's way to every account's keys, without the limits of a customer's."""

from __future__ import annotations

import argparse
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from coordinator.commands import Step, running
from coordinator.lifecycle.caller import TIERS
from coordinator.lifecycle.keys import MAX_BUDGET_NANO, NANO, Key, KeyChanges, NewKey, Restrictions
from coordinator.lifecycle.tiers import SCOPE
from coordinator.settings import Settings
from coordinator.store.keyring import LIMITS, KeyRing

# What operators have who have but one customer: themselves.
ACCOUNT: Final = "default"


def add_to(commands: Any) -> None:
    """The `key` command with its verbs; each prints what it made or changed."""
    verbs = commands.add_parser("key", help="client keys").add_subparsers(dest="verb", required=True)
    create = verbs.add_parser("create", help="make a key and print it, this once")
    create.add_argument("--name", required=True, help="what its owner and operators know it by")
    create.add_argument("--account", default=ACCOUNT, help="whose key it is")
    create.add_argument("--tier", choices=TIERS[1:], default="basic")
    create.add_argument("--super", dest="superkey", action="store_true", help="may manage its account's keys")
    _restricting(create)
    create.set_defaults(run=running(_create, _part))
    listing = verbs.add_parser("list", help="list keys, the newest first")
    listing.add_argument("--account", help="of this account alone")
    listing.set_defaults(run=running(_list, _part))
    change = _of_a_key(verbs, "change", "change a key", _change)
    change.add_argument("--name")
    change.add_argument("--tier", choices=TIERS[1:])
    change.add_argument("--unrestricted", action="store_true", help="take scopes and limits away")
    change.add_argument("--no-budget", action="store_true", help="take the budget away")
    _restricting(change)
    _of_a_key(verbs, "revoke", "refuse a key from now on", _revoke)
    _of_a_key(verbs, "unrevoke", "take a revoked key back into use", _unrevoke)
    _of_a_key(verbs, "delete", "delete a revoked key", _delete)
    topup = _of_a_key(verbs, "topup", "add to a key's budget", _top_up)
    topup.add_argument("amount", type=_nano, metavar="DOLLARS")


def _of_a_key(verbs: Any, name: str, what: str, step: Step[KeyRing]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=what)
    parser.add_argument("key_id", metavar="KEY_ID", help="key_…, as `key list` shows it")
    parser.set_defaults(run=running(step, _part))
    return parser


def _restricting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scope", dest="scopes", action="append", default=[], type=_scope, help="MODE.SOURCE.MODEL; may be repeated"
    )
    parser.add_argument(
        "--limit", dest="limits", action="append", default=[], type=_limit, metavar="NAME=N",
        help=f"instead of its tier's: {', '.join(LIMITS)}; may be repeated",
    )  # fmt: skip
    parser.add_argument("--budget", type=_nano, metavar="DOLLARS", help="what it may spend, all in all")


async def _create(ring: KeyRing, asked: argparse.Namespace) -> list[str]:
    restrictions = Restrictions(asked.scopes, dict(asked.limits))
    new = NewKey(asked.name, asked.account, asked.tier, asked.superkey, restrictions, asked.budget)
    return [(await ring.create(new))[0]]


async def _list(ring: KeyRing, asked: argparse.Namespace) -> list[str]:
    return [_line(key) for key in await ring.all(asked.account)]


async def _change(ring: KeyRing, asked: argparse.Namespace) -> list[str]:
    restrictions = Restrictions(asked.scopes, dict(asked.limits))
    restricted = asked.scopes or asked.limits or asked.unrestricted
    changes = KeyChanges(asked.name, restrictions if restricted else None, asked.budget, asked.no_budget, asked.tier)
    return [_line(await ring.change(None, asked.key_id, changes))]


async def _revoke(ring: KeyRing, asked: argparse.Namespace) -> list[str]:
    return [_line(await ring.revoke(None, asked.key_id))]


async def _unrevoke(ring: KeyRing, asked: argparse.Namespace) -> list[str]:
    return [_line(await ring.unrevoke(None, asked.key_id))]


async def _delete(ring: KeyRing, asked: argparse.Namespace) -> list[str]:
    await ring.delete(None, asked.key_id)
    return []


async def _top_up(ring: KeyRing, asked: argparse.Namespace) -> list[str]:
    return [_line(await ring.top_up(None, asked.key_id, asked.amount))]


def _line(key: Key) -> str:
    budget = "-" if key.budget_nano is None else _dollars(key.budget_nano)
    kind = "superkey" if key.superkey else "key"
    used = f"{key.used_at:%Y-%m-%d}" if key.used_at else "never"
    restrictions = [
        *key.restrictions.scopes,
        *(f"{name}={most}" for name, most in key.restrictions.rate_limits.items()),
    ]
    words = [
        key.key_id,
        key.status,
        kind,
        key.tier,
        key.account,
        f"{_dollars(key.spent_nano)}/{budget}",
        used,
        key.name,
    ]
    return "  ".join([*words, *restrictions])


def _dollars(nano: int) -> str:
    text = f"{Decimal(nano) / NANO:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _nano(text: str) -> int:
    try:
        amount = Decimal(text) * NANO
    except InvalidOperation:
        raise argparse.ArgumentTypeError("must be a number of US dollars") from None
    if not amount.is_finite() or amount % 1 or not 0 <= amount <= MAX_BUDGET_NANO:
        raise argparse.ArgumentTypeError(f"must be 0 to {MAX_BUDGET_NANO // NANO} US dollars, with 9 decimals at most")
    return int(amount)


def _scope(text: str) -> str:
    if not SCOPE.fullmatch(text):
        raise argparse.ArgumentTypeError("must read like opengpu.openai.relay/tiny-chat")
    return text


def _limit(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if name not in LIMITS or not number.isdecimal() or not 1 <= int(number) <= 10_000_000:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(LIMITS)}, '=' and a number from 1 on")
    return name, int(number)


def _part(redis: Any, settings: Settings) -> KeyRing:
    return KeyRing(redis)
