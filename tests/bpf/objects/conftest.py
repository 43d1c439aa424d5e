"""The programs of ``programs/``, compiled by clang for each run of the tests."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The object file of a program by its name ("counter"); compiled once."""
    if shutil.which("clang") is None or not Path("/usr/include/bpf/bpf_helpers.h").exists():
        pytest.skip("needs clang and libbpf's headers: apt-get install clang libbpf-dev")
    folder = tmp_path_factory.mktemp("objects")
    machine = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=True).stdout.strip()

    def compile_(name: str) -> Path:
        path = folder / f"{name}.bpf.o"
        if not path.exists():
            words = ["clang", "-g", "-O2", "-Wall", "-Werror", "-target", "bpf", "-D__TARGET_ARCH_x86"]
            words += [f"-I/usr/include/{machine}", "-c", str(PROGRAMS / f"{name}.bpf.c"), "-o", str(path)]
            subprocess.run(words, check=True)
        return path

    return compile_
