"""Runs one step of the operator's command line against the store: connects, prints what it says, disconnects."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from eth_utils.address import is_hex_address, to_checksum_address

from coordinator.errors import RelayError, StoreUnavailable
from coordinator.settings import Settings, SettingsWrong
from coordinator.store.connection import connect

Part = TypeVar("Part")
Step = Callable[[Part, argparse.Namespace], Awaitable[list[str]]]


def running(step: Step[Part], part: Callable[[Any, Settings], Part]) -> Callable[[Settings, argparse.Namespace], int]:
    """`part` makes of a connection what `step` works on. A RelayError ends the process with its message, status 2."""

    async def lines(settings: Settings, arguments: argparse.Namespace) -> list[str]:
        redis = connect(settings.redis_url, settings.redis_ca_file)
        try:
            return await step(part(redis, settings), arguments)
        except StoreUnavailable:
            raise SettingsWrong(
                "RELAY_REDIS_URL: the store can't be reached. Check that Redis runs, and its address and password."
            ) from None
        except RelayError as error:
            raise SettingsWrong(error.message) from None
        finally:
            await redis.aclose()

    def run(settings: Settings, arguments: argparse.Namespace) -> int:
        said = asyncio.run(lines(settings, arguments))
        try:
            for line in said:
                print(line)  # noqa: T201 - the product of the command
            sys.stdout.flush()
        except BrokenPipeError:  # `head` has read enough; what Python still holds must not fail at its exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0

    return run


def address(text: str) -> str:
    """An argument that names a node, EIP-55 checksummed."""
    if not is_hex_address(text):
        raise argparse.ArgumentTypeError("must be an address: 0x and 40 hexadecimal digits")
    return to_checksum_address(text)
