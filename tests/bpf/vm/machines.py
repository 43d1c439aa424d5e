"""Machines from text, for the tests."""

from __future__ import annotations

import re
from typing import Any

import pytest

from linscope.abi import bpf as b
from linscope.bpf.asm import assemble_program
from linscope.bpf.instructions import wide
from linscope.bpf.vm.errors import Fault
from linscope.bpf.vm.machine import Machine

M64 = (1 << 64) - 1
both = pytest.mark.parametrize("interpret", [True, False], ids=["interpreter", "jit"])


ADDRESS = re.compile(r"r(\d) = subprog\[(\w+)\]")


def machine(text: str, **options: Any) -> Machine:
    """Assembled; `r2 = subprog[label]` is the address of a function."""
    program = assemble_program(ADDRESS.sub(r"call local \2\nr0 s>>= 1\1", text))  # takes two slots, too
    code = program.instructions
    for slot, one in enumerate(code):
        if one.code == 0xC7 and one.imm >= 10 and code[slot - 1].src == b.BPF_PSEUDO_CALL:
            code[slot - 1 : slot + 1] = wide(one.imm - 10, code[slot - 1].imm, b.BPF_PSEUDO_FUNC)
    return Machine(program, **options)


def result(text: str, record: bytes = b"", interpret: bool = False, **options: Any) -> int:
    return machine(text, **options).run(record, interpret=interpret)


def fault(text: str, record: bytes, interpret: bool, **options: Any) -> Fault:
    with pytest.raises(Fault) as caught:
        machine(text, **options).run(record, interpret=interpret)
    return caught.value
