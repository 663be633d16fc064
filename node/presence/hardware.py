"""What the node says of its machine. Shown to operators, and a GPU's id tells a machine that comes back under another
key; otherwise never trusted.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from coordinator.protocol.session import Hardware

_FIELDS = "name,uuid,driver_version,memory.total,memory.free"
_QUERY = ("nvidia-smi", f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits")
_QUERY_SECONDS = 5
_MOST_GPUS = 64


class GpusUnknown(Exception):
    """There is no nvidia-smi, or it fails; the message says which."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """`id`: the maker's, such as GPU-1e8c…. Memory is None where the driver gives none."""

    name: str
    id: str
    driver: str
    memory_mib: int | None
    free_mib: int | None


def hardware() -> Hardware:
    """Blocks for as long as nvidia-smi takes, where there is one. Of several nodes on one machine, each tells its own
    GPUs where CUDA_VISIBLE_DEVICES says which they are: what befalls one node's is nothing of the others'."""
    try:
        found = visible(gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    except GpusUnknown:
        found = ()
    return Hardware(
        cpu_count=os.cpu_count(),
        memory_bytes=_memory_bytes(),
        gpus=tuple(gpu.name for gpu in found),
        gpu_ids=tuple(gpu.id for gpu in found if gpu.id),
    )


def gpus() -> tuple[Gpu, ...]:
    """Raises GpusUnknown."""
    try:
        found = subprocess.run(_QUERY, capture_output=True, text=True, timeout=_QUERY_SECONDS, check=True)  # noqa: S603 - fixed words
    except FileNotFoundError:
        raise GpusUnknown("no nvidia-smi") from None
    except subprocess.TimeoutExpired:
        raise GpusUnknown(f"nvidia-smi does not answer within {_QUERY_SECONDS} s") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise GpusUnknown("nvidia-smi fails") from error
    return parse_gpus(found.stdout)


def visible(found: tuple[Gpu, ...], chosen: str | None) -> tuple[Gpu, ...]:
    """Those of CUDA_VISIBLE_DEVICES: numbers, or ids that may be cut short. All where it names none of them."""
    if chosen is None:
        return found
    names = [name.strip() for name in chosen.split(",") if name.strip()]
    mine = tuple(
        gpu for number, gpu in enumerate(found)
        if any(name == str(number) or (name.startswith("GPU-") and gpu.id.startswith(name)) for name in names)
    )  # fmt: skip
    return mine or found


def parse_gpus(printed: str) -> tuple[Gpu, ...]:
    """Lines of nvidia-smi, one a GPU; what it doesn't know stands there in words, such as [N/A]."""
    rows = [[field.strip()[:100] for field in line.split(",")] for line in printed.splitlines() if line.strip()]
    known = [row for row in rows if len(row) == _FIELDS.count(",") + 1][:_MOST_GPUS]
    return tuple(
        Gpu(name, identity if identity.startswith("GPU-") else "", driver, _number(total), _number(free))
        for name, identity, driver, total, free in known
    )


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
