"""What nvidia-smi prints, as the node reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.presence import hardware
from node.presence.hardware import Gpu, GpusUnknown, gpus, parse_gpus, visible

PRINTED = """\
NVIDIA H200, GPU-1e8c2a52-7e56-0e1c-7f0b-2f2c4c3f8e11, 570.133.20, 143771, 143146
NVIDIA GB10, GPU-aa0, 580.95.05, [N/A], [N/A]

something else entirely
"""


def nvidia_smi(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_lines_of_nvidia_smi() -> None:
    assert parse_gpus(PRINTED) == (
        Gpu("NVIDIA H200", "GPU-1e8c2a52-7e56-0e1c-7f0b-2f2c4c3f8e11", "570.133.20", 143771, 143146),
        Gpu("NVIDIA GB10", "GPU-aa0", "580.95.05", None, None),
    )


def test_names_and_ids_of_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "printed").write_text(PRINTED)
    nvidia_smi(tmp_path, f"cat {tmp_path}/printed", monkeypatch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = hardware.hardware()
    assert found.gpus == ("NVIDIA H200", "NVIDIA GB10")
    assert found.gpu_ids == ("GPU-1e8c2a52-7e56-0e1c-7f0b-2f2c4c3f8e11", "GPU-aa0")


@pytest.mark.parametrize(
    ("chosen", "names"),
    [(None, "ab"), ("1", "b"), ("0, 1", "ab"), ("GPU-aa0", "b"), ("GPU-1e8", "a"), ("MIG-7", "ab"), ("", "ab")],
)
def test_a_node_tells_the_gpus_that_are_its_own(chosen: str | None, names: str) -> None:
    found = {"a": parse_gpus(PRINTED)[0], "b": parse_gpus(PRINTED)[1]}
    assert visible(tuple(found.values()), chosen) == tuple(found[name] for name in names)


def test_a_driver_that_fails_is_no_end_of_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, "echo Driver/library version mismatch; exit 18", monkeypatch)
    with pytest.raises(GpusUnknown, match="fails"):
        gpus()
    assert hardware.hardware().gpus == ()
