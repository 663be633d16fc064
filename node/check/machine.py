"""This machine: the key file, the disk for unposted Reports, open files and memory for the slots, GPUs."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from node.check.outcome import Outcome, failed, ok, warning
from node.identity import Identity
from node.presence.hardware import Gpu, GpusUnknown, gpus
from node.settings import Settings

MIB = 2**20
_LEAST_DISK, _GOOD_DISK = 64 * MIB, 1024 * MIB
# A connection to the backend each, one to the coordinator each, a Report's file now and then, and what Python holds.
_FILES_A_SLOT, _FILES_BESIDE = 2, 100
# Celery, aiohttp and the rest of a node take 150 MiB; an attempt holds a prompt and its answer, as text and parsed.
_BYTES_BESIDE, _BYTES_A_SLOT = 200 * MIB, 4 * MIB
# A model server that is up has its weights in the memory of the GPU.
_LOADED = 0.05


def look_at_machine(settings: Settings, identity: Identity) -> list[Outcome]:
    """Blocks for as long as nvidia-smi takes, where there is one."""
    return [
        ok("key", f"{identity.address} in {settings.key_file}"),
        disk(settings.state),
        files(settings.slots, resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        memory(settings.slots, _available_memory()),
        *graphics(settings.backend_url),
    ]


def disk(state: Path) -> Outcome:
    """Whether Reports can be kept in `state`, or where it is to be made."""
    there = state
    try:
        there = next(path for path in (state, *state.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(there).free
    except OSError as error:
        what = f"{there} can't be written: {error.strerror}"
        return failed("disk", what, "give the node a directory of its own by NODE_STATE_DIR, for unposted Reports")
    seen, remedy = f"{state}, {_size(free)} free", "free some, or set NODE_STATE_DIR: unposted Reports wait there"
    if free < _LEAST_DISK:
        return failed("disk", seen, remedy)
    return warning("disk", seen, remedy) if free < _GOOD_DISK else ok("disk", seen)


def files(slots: int, limit: int) -> Outcome:
    """`limit`: open files that the process may have; -1 is no limit."""
    needed = slots * _FILES_A_SLOT + _FILES_BESIDE
    seen = f"{limit if limit >= 0 else 'any number of'} open files for {slots} slots, which take up to {needed}"
    if 0 <= limit < needed:
        return failed("files", seen, "raise it with ulimit -n 65536, or LimitNOFILE=65536 in the systemd unit")
    return ok("files", seen)


def memory(slots: int, available: int | None) -> Outcome:
    """`available`: bytes, None where the system doesn't say."""
    needed = _BYTES_BESIDE + slots * _BYTES_A_SLOT
    if available is None:
        return warning("memory", "this system doesn't say how much is free", f"see that {_size(needed)} are")
    seen = f"{_size(available)} free; {slots} slots take up to {_size(needed)} with long prompts"
    if available < needed:
        return warning("memory", seen, "choose fewer NODE_SLOTS, or give the node more memory")
    return ok("memory", seen)


def graphics(backend_url: str | None) -> list[Outcome]:
    try:
        found = gpus()
    except GpusUnknown as unknown:
        if backend_url is None or not _is_here(backend_url):
            return [ok("gpu", f"none seen here ({unknown}), and the backend needs none of this machine")]
        return [warning("gpu", f"none seen ({unknown})", "mend the driver, if the model server should use a GPU here")]
    return [_graphics_card(gpu, used_here=backend_url is not None and _is_here(backend_url)) for gpu in found]


def _graphics_card(gpu: Gpu, *, used_here: bool) -> Outcome:
    if gpu.memory_mib is None or gpu.free_mib is None:
        return ok("gpu", f"{gpu.name}, driver {gpu.driver}")
    seen = f"{gpu.name}, {gpu.free_mib:,} of {gpu.memory_mib:,} MiB free, driver {gpu.driver}"
    if used_here and gpu.memory_mib - gpu.free_mib < gpu.memory_mib * _LOADED:
        return warning("gpu", seen, "nothing is loaded on it: see that the model server uses it")
    return ok("gpu", seen)


def _is_here(url: str) -> bool:
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def _available_memory() -> int | None:
    """Bytes that can be had without swapping."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / MIB:.0f} MiB"
