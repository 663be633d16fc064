"""anvil, the EVM client of the embedded default, with a state that outlives it.

anvil's own `--state FILE --state-interval` empties FILE and then writes it anew: killed in between, the whole chain is
gone. So the supervisor asks for the state (`anvil_dumpState`) when blocks were added, and puts it in place by a rename.
A kill -9 takes the chain back by about a second, which the chain writer notices and makes good.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from dataclasses import dataclass, field
from pathlib import Path

from contracts.toolchain import anvil_binary
from scripts.network.children import Recipe
from scripts.network.wire import Refused, rpc

CHAIN_ID = 31337
SAVE_EVERY = 0.5  # seconds between two looks at whether there is something to save
SAVE_SHARE = 10  # a save that takes t seconds is followed by at least SAVE_SHARE * t seconds without one
FUNDS_WEI = 10**24


@dataclass(slots=True)
class Chain:
    """One anvil with its state in `home`."""

    home: Path
    port: int
    _saved: tuple[str, int] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def state(self) -> Path:
        return self.home / "state.json"

    def command(self) -> list[str]:
        command = [str(anvil_binary()), "--host", "127.0.0.1", "--port", str(self.port), "--chain-id", str(CHAIN_ID)]
        # no accounts: those of anvil's published mnemonic are everybody's. No CORS: web pages have no business here.
        command += ["--accounts", "0", "--no-cors", "--quiet"]
        # old account states are asked for by nobody; without this they fill the memory and then the disk
        command += ["--prune-history", "64"]
        return command + (["--load-state", str(self.state)] if self.state.exists() else [])

    def recipe(self, log: Path, name: str = "chain") -> Recipe:
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Recipe(name=name, command=self.command, log=log, ready=self.ready, before_stop=self.save)

    async def ready(self) -> bool:
        return await asyncio.to_thread(self.answers)

    def answers(self) -> bool:
        try:
            return int(rpc(self.url, "eth_chainId", timeout=2.0), 16) == CHAIN_ID
        except (OSError, Refused):
            return False

    async def fund(self, address: str) -> None:
        """Gives the account test ether, out of nothing, when it has little."""
        if int(await asyncio.to_thread(rpc, self.url, "eth_getBalance", address, "latest"), 16) < FUNDS_WEI // 2:
            await asyncio.to_thread(rpc, self.url, "anvil_setBalance", address, hex(FUNDS_WEI))

    async def has_code(self, *addresses: str) -> bool:
        codes = [await asyncio.to_thread(rpc, self.url, "eth_getCode", address, "latest") for address in addresses]
        return all(code != "0x" for code in codes)

    async def save(self) -> None:
        """Puts the chain as it is now in place of the saved one; nothing is done when no block was added since."""
        try:
            await asyncio.to_thread(self.save_now)
        except (OSError, Refused):
            return  # it is down; the last save stands

    def save_now(self) -> None:
        """As `save`, but raises OSError or Refused when it is down."""
        head = rpc(self.url, "eth_getBlockByNumber", "latest", False)["hash"]
        if self._saved == (head, self.port) and self.state.exists():
            return
        state = gzip.decompress(bytes.fromhex(rpc(self.url, "anvil_dumpState", False).removeprefix("0x")))
        temporary = self.state.with_suffix(".new")
        temporary.write_bytes(state)
        temporary.replace(self.state)
        self._saved = (head, self.port)

    async def keep_saving(self) -> None:
        """Until cancelled."""
        while True:
            started = time.monotonic()
            await self.save()
            await asyncio.sleep(max(SAVE_EVERY, SAVE_SHARE * (time.monotonic() - started)))
