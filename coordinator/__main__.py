"""`python -m coordinator api | chain | deploy | key create | nodes`; settings by environment."""

from __future__ import annotations

import argparse
import asyncio
import sys

from coordinator import log
from coordinator.settings import Settings, SettingsWrong, load


def main() -> int:
    """Exit 0 when all went well, 2 with one clear message when the settings or the world don't fit."""
    arguments = _parser().parse_args()
    try:
        settings = load()
        log.configure(settings.log_level, arguments.command)
        code: int = arguments.run(settings, arguments)
    except SettingsWrong as error:
        print(error, file=sys.stderr)  # noqa: T201 - before there is a log
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m coordinator", description="The coordinator of an opengpu-relay network."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("api", help="serve the Relay API").set_defaults(run=_api)
    key = commands.add_parser("key", help="client keys").add_subparsers(dest="verb", required=True)
    create = key.add_parser("create", help="make a key and print it, this once")
    create.add_argument("--name", required=True, help="what operators know it by")
    create.set_defaults(run=_create_key)
    commands.add_parser("nodes", help="list the nodes and their load").set_defaults(run=_nodes)
    return parser


def _api(settings: Settings, arguments: argparse.Namespace) -> int:
    import uvicorn

    from coordinator.catalogue import CatalogueError
    from coordinator.wiring import build_api

    try:
        app = build_api(settings)
    except CatalogueError as error:
        raise SettingsWrong(str(error)) from None
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        # a client that is still being answered at shutdown gets this long; its task lives on anyway
        timeout_graceful_shutdown=5,
        # long enough that a client's idle connection is closed by the client: a closing race is a failed request
        timeout_keep_alive=75,
    )
    return 0


def _create_key(settings: Settings, arguments: argparse.Namespace) -> int:
    from coordinator.store.connection import connect
    from coordinator.store.keybook import KeyBook

    async def create() -> str:
        redis = connect(settings.redis_url)
        try:
            return await KeyBook(redis).create(arguments.name)
        finally:
            await redis.aclose()

    print(asyncio.run(create()))  # noqa: T201 - the product of the command
    return 0


def _nodes(settings: Settings, arguments: argparse.Namespace) -> int:
    from coordinator.store.connection import connect
    from coordinator.store.nodes import NodeRow, NodeStore
    from coordinator.store.scripts import Scripts

    async def rows() -> list[NodeRow]:
        redis = connect(settings.redis_url)
        try:
            return await NodeStore(redis, Scripts(redis, settings.policy)).all()
        finally:
            await redis.aclose()

    for row in asyncio.run(rows()):
        state = "draining" if row.draining else "alive" if row.alive else "silent"
        print(row.node, state, f"{row.held}/{row.slots}", ",".join(row.models))  # noqa: T201 - the product
    return 0


if __name__ == "__main__":
    sys.exit(main())
