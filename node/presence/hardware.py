"""What the node says of its machine. Shown to operators, never trusted."""

from __future__ import annotations

import os
import subprocess

from coordinator.protocol.session import Hardware

_QUERY = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
_QUERY_SECONDS = 5


def hardware() -> Hardware:
    """Blocks for as long as nvidia-smi takes, where there is one."""
    return Hardware(cpu_count=os.cpu_count(), memory_bytes=_memory_bytes(), gpus=_gpus())


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _gpus() -> tuple[str, ...]:
    try:
        found = subprocess.run(_QUERY, capture_output=True, text=True, timeout=_QUERY_SECONDS, check=True)  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip()[:100] for line in found.stdout.splitlines() if line.strip())[:64]
