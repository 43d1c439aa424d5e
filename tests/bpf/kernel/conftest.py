"""The running kernel, for tests of bpf(2): skips where programs are not for us to load."""

from __future__ import annotations

import os

import pytest
from counters import RETURN_0

from linscope.abi import bpf as b
from linscope.bpf.program import Program
from linscope.errors import LinscopeError


@pytest.fixture(scope="session", autouse=True)
def may_load() -> None:
    """Skip, with the remedy, where bpf(2) is not for us."""
    from linscope.bpf.kernel.programs import load

    if os.geteuid() != 0:
        pytest.skip("needs CAP_BPF and CAP_PERFMON: run the tests as root")
    try:
        load(Program(RETURN_0, type=b.BPF_PROG_TYPE_RAW_TRACEPOINT)).close()
    except LinscopeError as error:
        pytest.skip(str(error))

