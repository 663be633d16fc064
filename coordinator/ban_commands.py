"""`python -m coordinator ban | unban | banned`: the operator's last word on a node."""

from __future__ import annotations

import argparse
from typing import Any

from coordinator.commands import address, running
from coordinator.settings import Settings
from coordinator.store.acl import BrokerUsers
from coordinator.store.connection import broker_url
from coordinator.store.nodes import NodeStore
from coordinator.store.scripts import Scripts

_NO_REASON = "no reason was given"


class Door:
    """Who may not come in, and the broker users of those who have to go out."""

    def __init__(self, redis: Any, settings: Settings) -> None:
        self.nodes = NodeStore(redis, Scripts(redis, settings.policy))
        self.users = BrokerUsers(redis, broker_url(settings.redis_url, settings.node_redis))


def add_to(commands: Any) -> None:
    ban = commands.add_parser("ban", help="end a node's session at once, and let it open no other")
    ban.add_argument("node", type=address, metavar="ADDRESS")
    ban.add_argument("--reason", default=_NO_REASON, help="what the node's own operator is told")
    ban.set_defaults(run=running(_ban, Door))
    unban = commands.add_parser("unban", help="let a node sign in again")
    unban.add_argument("node", type=address, metavar="ADDRESS")
    unban.set_defaults(run=running(_unban, Door))
    commands.add_parser("banned", help="list who is banned, and why").set_defaults(run=running(_banned, Door))


async def _ban(door: Door, asked: argparse.Namespace) -> list[str]:
    await door.users.remove(await door.nodes.ban(asked.node, asked.reason))
    return [f"{asked.node} is banned: {asked.reason}"]


async def _unban(door: Door, asked: argparse.Namespace) -> list[str]:
    if await door.nodes.unban(asked.node):
        return [f"{asked.node} may sign in again"]
    return [f"{asked.node} was not banned"]


async def _banned(door: Door, asked: argparse.Namespace) -> list[str]:
    return [f"{node}  {reason}" for node, reason in sorted((await door.nodes.banned()).items())]
