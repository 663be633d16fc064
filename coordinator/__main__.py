"""`python -m coordinator api | chain | deploy | …`: the two processes and the operator's commands; see settings.py."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
import ssl
import sys

import structlog

from coordinator import ban_commands, key_commands, log, money_commands, node_commands, stake_commands
from coordinator.settings import Settings, SettingsWrong, load

_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


def main() -> int:
    """Exit 0 when all went well, 2 with one clear message when the settings or the world don't fit, 130 on Ctrl-C."""
    arguments = _parser().parse_args()
    try:
        settings = load()
        log.configure(settings.log_level, arguments.command)
        code: int = arguments.run(settings, arguments)
    except SettingsWrong as error:
        print(error, file=sys.stderr)  # noqa: T201 - before there is a log
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201 - for whoever pressed the keys
        return 128 + signal.SIGINT
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m coordinator", description="The coordinator of an opengpu-relay network."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("api", help="serve the Relay API").set_defaults(run=_api)
    commands.add_parser("chain", help="write the outbox to the chain").set_defaults(run=_chain)
    deploy = commands.add_parser("deploy", help="put the contracts on the chain, and pay in the deposit")
    deploy.add_argument("--deposit-wei", type=int, default=0, help="what nodes are paid from")
    deploy.set_defaults(run=_deploy)
    key_commands.add_to(commands)
    money_commands.add_to(commands)
    stake_commands.add_to(commands)
    ban_commands.add_to(commands)
    node_commands.add_to(commands)
    return parser


def _api(settings: Settings, arguments: argparse.Namespace) -> int:
    import uvicorn

    from coordinator.api.heads import BoundedHeads
    from coordinator.catalogue import CatalogueError
    from coordinator.wiring import build_api

    check_certificate(settings)
    try:
        app = build_api(settings)
    except CatalogueError as error:
        raise SettingsWrong(str(error)) from None
    if not settings.public_url and settings.host not in _THIS_MACHINE:
        structlog.get_logger(__name__).warning(
            "nodes_elsewhere_are_refused", remedy="set RELAY_PUBLIC_URL to the https:// address at which they call"
        )
    # what is there now stays for good, and a request makes few cycles: looking for them cost 110 µs of CPU a request
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    uvicorn.run(
        app,
        http=BoundedHeads,
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_cert_file,
        ssl_keyfile=settings.tls_key_file,
        log_config=None,
        access_log=False,
        server_header=False,
        # whom to believe is RELAY_TRUSTED_PROXIES' to say; uvicorn would believe every process of this machine
        proxy_headers=False,
        # a client that is still being answered at shutdown gets this long; its task lives on anyway
        timeout_graceful_shutdown=5,
        # long enough that a client's idle connection is closed by the client: a closing race is a failed request
        timeout_keep_alive=75,
    )
    return 0


def check_certificate(settings: Settings) -> None:
    """Here and not among the settings: the other processes need not be able to read them."""
    if settings.tls_cert_file is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsWrong(
            "RELAY_TLS_CERT_FILE, RELAY_TLS_KEY_FILE: must be PEM files that can be read, a certificate chain and the "
            f"private key of its first certificate, without a passphrase ({error.strerror or type(error).__name__})"
        ) from None


def _chain(settings: Settings, arguments: argparse.Namespace) -> int:
    from coordinator.chain.errors import StartRefused, Superseded
    from coordinator.wiring_writer import build_chain_writer

    async def write() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await build_chain_writer(settings).run(stop)

    try:
        asyncio.run(write())
    except (StartRefused, Superseded) as error:
        raise SettingsWrong(str(error)) from None
    return 0


def _deploy(settings: Settings, arguments: argparse.Namespace) -> int:
    from coordinator.chain.deploy import deploy
    from coordinator.chain.errors import ChainError, StartRefused
    from coordinator.chain.rpc import connect, disconnect
    from coordinator.chain.signer import read_key

    async def put() -> str:
        if settings.chain_key_file is None:
            raise SettingsWrong("RELAY_CHAIN_KEY_FILE: deploying needs it")
        w3 = connect(settings.rpc_url)
        try:
            deployment = await deploy(
                w3,
                read_key(settings.chain_key_file),
                task_registry=settings.task_registry,
                node_registry=settings.node_registry,
                deposit_wei=arguments.deposit_wei,
            )
        finally:
            await disconnect(w3)
        return json.dumps(deployment.as_json())

    try:
        print(asyncio.run(put()))  # noqa: T201 - the product of the command
    except (ChainError, StartRefused) as error:
        raise SettingsWrong(str(error)) from None
    return 0


if __name__ == "__main__":
    sys.exit(main())
