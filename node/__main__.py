"""`python -m node run | check | standing | key --out FILE | model --port P`.

Settings: NODE_… in the environment, see node.settings.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import structlog
import uvloop

from node import log
from node.identity import KeyFileError, create_key, load_key
from node.settings import TINY_MODEL, SettingsError, load_settings
from node.staking import commands as staking_commands

_WRONG_USE = 2
_FAILED = 1
_INTERRUPTED = 128 + signal.SIGINT


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 done or drained, 1 failed, 2 wrong settings or key, 3 another process took over, 130 Ctrl-C."""
    asked = _parser().parse_args(arguments)
    try:
        return int(asked.command(asked))
    except (SettingsError, KeyFileError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - before there are logs
        return _WRONG_USE
    except (RuntimeError, OSError) as error:
        structlog.get_logger().error("the node can't run", reason=str(error))
        return _FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201 - for whoever pressed the keys
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m node", description="A node of the relay.")
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="run the node; settings from NODE_… in the environment")
    run.set_defaults(command=_run)
    key = commands.add_parser("key", help="make a key file and print its address")
    key.add_argument("--out", type=Path, required=True, metavar="FILE")
    key.set_defaults(command=_key)
    check = commands.add_parser("check", help="try everything that the node needs, and say how to mend what fails")
    check.add_argument("--json", action="store_true", help="a list for programs instead of lines")
    check.set_defaults(command=_check)
    standing = commands.add_parser("standing", help="how the coordinator stands to this key, and what it saw of it")
    standing.set_defaults(command=_standing)
    staking_commands.add_to(commands)
    model = commands.add_parser("model", help="serve the embedded model alone, over the OpenAI API on 127.0.0.1")
    model.add_argument("--port", type=int, required=True)
    model.add_argument("--slots", type=int, default=4)
    model.set_defaults(command=_model)
    return parser


def _run(_: argparse.Namespace) -> int:
    settings = load_settings()
    identity = load_key(settings.key_file)
    log.configure(settings.log_level, node=identity.address)
    if settings.backend_url is None:
        log.mute_libraries()
    from node.wiring import serve  # the heavy imports, after the quick refusals

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(settings, identity))


def _key(asked: argparse.Namespace) -> int:
    print(create_key(asked.out).address)  # noqa: T201 - the command's answer
    return 0


def _check(asked: argparse.Namespace) -> int:
    log.configure("error")
    from node.check.command import run_check

    return run_check(as_json=asked.json)


def _standing(_: argparse.Namespace) -> int:
    settings = load_settings()
    identity = load_key(settings.key_file)
    from node.check.command import run_standing

    return run_standing(settings, identity)


def _model(asked: argparse.Namespace) -> int:
    log.configure("info")
    log.mute_libraries()
    stops = {signal.SIGTERM, signal.SIGINT}
    # Blocked before the server's threads start, which inherit it: the signals are waited for here alone.
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    from node.inference.embedded import EmbeddedServer

    with EmbeddedServer(TINY_MODEL, asked.slots, asked.port) as server:
        structlog.get_logger().info(f"{TINY_MODEL} is served at {server.url}/v1", slots=asked.slots)
        signal.sigwait(stops)
    return 0


def _flushed(code: int) -> int:
    """`code`, or a failure when the command's answer can't be written. `os._exit` would lose it without a word."""
    try:
        sys.stdout.flush()
    except OSError:
        return code or _FAILED
    return code


if __name__ == "__main__":
    code = _flushed(main())
    logging.shutdown()
    # Daemon threads (Celery's, llama.cpp's) must not meet a half-dismantled interpreter.
    os._exit(code)
