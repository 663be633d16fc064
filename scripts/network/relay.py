"""Our own programs: the coordinator's processes, the nodes, and the model server behind direct mode.

Their settings travel in the environment; secrets as the path of a file, or (the Redis URL) in the child's own alone.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.network.children import ROOT, Recipe, StartFailed, inherited, last_line
from scripts.network.redis import Redis
from scripts.network.wire import Refused, call

EXAMPLE = ROOT / "coordinator/relay.example.toml"
MODEL = "relay/tiny-chat"
TOKENIZER = ROOT / "node/inference/tiny-chat.tokenizer.json"
# What Ctrl-C waits for: work in hand on a node is finished and handed in, then it is somebody else's.
DRAIN_SECONDS = 8
# Nodes are paid from it; at the default pay that lasts for 10^11 tokens, and test ether costs nothing.
DEPOSIT_WEI = 10**21
# Where the example's tiers begin. On one's own machine nobody is to be kept short, whatever tier he is of.
TIERS_HEADING = "# ── Tiers "
TIERS = (
    "# ── Tiers: the limits of scripts/up, which keep nobody short; relay.example.toml tells what they are " + "─" * 18
)
NO_LIMITS = "opengpu = 10_000_000\ndirect = 10_000_000\nglobal = 10_000_000\nconcurrent = 1_000_000"


@dataclass(frozen=True, slots=True)
class Coordinator:
    """Everything that `python -m coordinator` runs. `environment` holds the Redis URL: secret."""

    environment: Mapping[str, str]
    base_url: str

    def api(self, log: Path) -> Recipe:
        return Recipe("api", _python("coordinator", "api"), log, self.environment, ready=self.healthy)

    def chain_writer(self, log: Path, redis: Redis) -> Recipe:
        """Ready when the store knows where tasks live on the chain: without that no opengpu task is accepted."""

        async def published() -> bool:
            try:
                return redis.command("EXISTS", "relay:space") == b":1\r\n"
            except OSError:
                return False

        return Recipe("chain writer", _python("coordinator", "chain"), log, self.environment, ready=published)

    async def healthy(self) -> bool:
        try:
            await asyncio.to_thread(call, f"{self.base_url}/v2/health", timeout=2.0)
        except (OSError, Refused):
            return False
        return True

    async def deploy(self, log: Path) -> dict[str, str]:
        """Contract name to address; deploys what isn't there. Raises StartFailed."""
        printed = json.loads(await self._run(log, "deploy", "--deposit-wei", str(DEPOSIT_WEI)))
        return {name: printed[name] for name in ("TaskRegistry", "NodeRegistry")}

    async def new_api_key(self, log: Path, name: str, *, superkey: bool = False) -> str:
        """The key in full: secret. Raises StartFailed."""
        kind = ["--super"] if superkey else []
        return await self._run(log, "key", "create", "--name", name, "--tier", "max", *kind)

    async def _run(self, log: Path, *words: str) -> str:
        """The last line that a command of the coordinator prints."""
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *_python("coordinator", *words)(),
                cwd=ROOT,
                env={**inherited(), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
            printed, _ = await process.communicate()
        lines = printed.decode().split("\n")
        if process.returncode != 0:
            raise StartFailed(f"`coordinator {words[0]}` ended with status {process.returncode}: {last_line(log)}")
        return next(line for line in reversed(lines) if line.strip()).strip()


def node(number: int, home: Path, settings: Mapping[str, str], log: Path, signed_in: SignedIn) -> Recipe:
    """The `number`-th node, with its key and its unposted Reports in `home`. Ready when it has signed in."""
    environment = {
        "NODE_KEY_FILE": str(home / "node.key"),
        "NODE_STATE_DIR": str(home / "state"),
        "NODE_DRAIN_SECONDS": str(DRAIN_SECONDS),
        **settings,
    }
    return Recipe(
        f"node {number}",
        _python("node", "run"),
        log,
        environment,
        prepare=signed_in.remember,
        ready=signed_in,
        grace=DRAIN_SECONDS + 4,
    )


class SignedIn:
    """Whether the store holds another session of the node than when the node was started."""

    def __init__(self, redis: Redis, address: str) -> None:
        self._redis, self._address = redis, address
        self._before = b""

    def remember(self) -> None:
        self._before = self._session()

    async def __call__(self) -> bool:
        return self._session() not in (b"", self._before)

    def _session(self) -> bytes:
        try:
            reply = self._redis.command("HGET", f"relay:node:{self._address}", "session")
        except OSError:
            return self._before
        if not reply.startswith(b"$"):  # it is loading its file
            return self._before
        return b"" if reply.startswith(b"$-1") else reply


def model_server(port: int, log: Path) -> Recipe:
    """The tiny model behind the OpenAI API on the loopback: the upstream of direct mode."""

    async def answers() -> bool:
        try:
            await asyncio.to_thread(call, f"http://127.0.0.1:{port}/v1/models", timeout=2.0)
        except (OSError, Refused):
            return False
        return True

    return Recipe("model", _python("node", "model", "--port", str(port)), log, ready=answers)


def write_catalogue(path: Path, model_port: int) -> None:
    """The example with our model server as its upstream, our model's tokenizer, and limits that keep nobody short.

    Once it's there, only that server's port and the tokenizer's place are kept right (and the limits are added, where a
    file has none yet).
    """
    text = (path if path.exists() else EXAMPLE).read_text()
    commented = "" if path.exists() else "# "
    tokenizer = re.compile(rf'^{commented}tokenizer = "[^"]*{re.escape(TOKENIZER.name)}"', re.MULTILINE)
    text = tokenizer.sub(lambda _: f"tokenizer = {json.dumps(str(TOKENIZER))}", text, count=1)
    if not path.exists() or "[tiers." not in text:
        tables = [f"[tiers.{tier}]\n{NO_LIMITS}\n" for tier in ("guest", "basic", "pro", "max")]
        text = "\n".join([text.partition(TIERS_HEADING)[0].rstrip() + "\n", TIERS, *tables])
    ours = r'(^name = "tiny".*?^base_url = "http://127\.0\.0\.1:)\d+'
    path.write_text(re.sub(ours, rf"\g<1>{model_port}", text, count=1, flags=re.MULTILINE | re.DOTALL))


def _python(module: str, *words: str) -> Callable[[], Sequence[str]]:
    command = [sys.executable, "-m", module, *words]
    return lambda: command
