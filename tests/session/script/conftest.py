"""Scripts in the running kernel: skips where programs are not for us to load."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from linscope.errors import LinscopeError


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """A function that runs `linscope trace` with these words: (exit code, output, errors)."""
    from linscope.abi import bpf as b
    from linscope.bpf.instructions import Instruction
    from linscope.bpf.kernel.programs import load
    from linscope.bpf.program import Program

    if os.geteuid() != 0:
        pytest.skip("needs CAP_BPF and CAP_PERFMON: run the tests as root")
    nothing = [Instruction(b.BPF_ALU64 | b.BPF_MOV | b.BPF_K, 0, 0, 0, 0), Instruction(0x95, 0, 0, 0, 0)]
    try:
        load(Program(nothing, type=b.BPF_PROG_TYPE_RAW_TRACEPOINT)).close()
    except LinscopeError as error:
        pytest.skip(str(error))

    def call(*words: str) -> tuple[int, str, str]:
        from linscope.cli import run

        capfd.readouterr()
        code = run(["trace", *words])
        out, err = capfd.readouterr()
        return code, out, err

    return call
