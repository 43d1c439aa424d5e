"""eBPF without a compiler: assemble, read, check, run, load.

    program = linscope.bpf.assemble_program(text)
    print(linscope.bpf.verify(program))
    linscope.bpf.Machine(program).run(record)
    with linscope.bpf.load(program) as loaded: ...

Names are imported when first used: a program is loaded some milliseconds after Python has started.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import Any

    from linscope.bpf.asm import assemble as assemble
    from linscope.bpf.asm import assemble_program as assemble_program
    from linscope.bpf.dis import format_instruction as format_instruction
    from linscope.bpf.dis import iter_text as iter_text
    from linscope.bpf.instructions import Instruction as Instruction
    from linscope.bpf.instructions import decode as decode
    from linscope.bpf.instructions import encode as encode
    from linscope.bpf.kernel.objects import load_object as load_object
    from linscope.bpf.kernel.programs import load as load
    from linscope.bpf.objects.reader import read_object as read_object
    from linscope.bpf.program import Map as Map
    from linscope.bpf.program import Program as Program
    from linscope.bpf.source import read_programs as read_programs
    from linscope.bpf.verifier import verify as verify
    from linscope.bpf.vm.machine import Machine as Machine

_PLACES = {
    "assemble": "asm",
    "assemble_program": "asm",
    "format_instruction": "dis",
    "iter_text": "dis",
    "Instruction": "instructions",
    "decode": "instructions",
    "encode": "instructions",
    "load": "kernel.programs",
    "load_object": "kernel.objects",
    "read_object": "objects.reader",
    "Map": "program",
    "Program": "program",
    "read_programs": "source",
    "verify": "verifier",
    "Machine": "vm.machine",
}


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'linscope.bpf' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"linscope.bpf.{place}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
