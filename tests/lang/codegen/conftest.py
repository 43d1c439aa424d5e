"""Where the generated programs run: our interpreter, our JIT, and the running kernel where it lets us."""

from __future__ import annotations

import os

import pytest
from codegen_units import InKernel, InMachine, Place

from linscope.bpf.vm.machine import can_compile


@pytest.fixture(params=["interpreter", "jit", pytest.param("kernel", marks=pytest.mark.kernel)])
def place(request: pytest.FixtureRequest) -> Place:
    """One after the other; skips, with the remedy, what cannot be here."""
    if request.param == "kernel":
        if os.geteuid() != 0:
            pytest.skip("needs CAP_BPF and CAP_PERFMON: run the tests as root")
        return InKernel()
    if request.param == "jit" and not can_compile():
        pytest.skip("the JIT makes code for x86-64")
    return InMachine(request.param == "jit")
