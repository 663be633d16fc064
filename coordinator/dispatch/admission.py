"""Which node keys may sign in."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import structlog
from eth_utils.address import is_hex_address, to_checksum_address

log = structlog.get_logger(__name__)


class Admission(Protocol):
    def allows(self, node: str) -> bool: ...


class EveryKey:
    """An open network: whoever signs a challenge may work."""

    def allows(self, node: str) -> bool:
        return True


class AllowFile:
    """One address a line, `#` starts a comment. Read again when it changes, so that no restart is needed."""

    def __init__(self, path: Path) -> None:
        self._path, self._read_at, self._nodes = path, 0, frozenset[str]()

    def allows(self, node: str) -> bool:
        """False for everybody while the file is missing: a lost list must not open the network."""
        try:
            changed = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            log.error("allow_file_missing", path=str(self._path), remedy="create it, or unset RELAY_NODE_ALLOW_FILE")
            return False
        if changed != self._read_at:
            self._nodes, self._read_at = self._parse(), changed
        return node in self._nodes

    def _parse(self) -> frozenset[str]:
        words = (line.split("#", 1)[0].strip() for line in self._path.read_text().splitlines())
        nodes = set()
        for word in filter(None, words):
            if is_hex_address(word):
                nodes.add(to_checksum_address(word))
            else:
                log.error("allow_file_line_ignored", path=str(self._path), remedy="0x and 40 hexadecimal digits a line")
        return frozenset(nodes)
