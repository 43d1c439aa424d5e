"""What few samples carry, as perf script writes it: branches, weights, memory accesses, registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from linscope.formats.perf_data.details import Branch, Registers, SampleDetails

# arch/x86/include/uapi/asm/perf_regs.h, enum perf_event_x86_regs, in the words of perf script
_X86_REGISTERS = (
    *("AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP", "IP", "FLAGS", "CS", "SS", "DS", "ES", "FS", "GS"),
    *("R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"),
)


def _branch(branch: Branch) -> str:
    predicted = "M" if branch.flag("mispred") else "P" if branch.flag("predicted") else "-"
    transaction = "X" if branch.flag("in_tx") else "-"
    aborted = "A" if branch.flag("abort") else "-"
    return f"{branch.source:#x}/{branch.target:#x}/{predicted}/{transaction}/{aborted}/{branch.flag('cycles')}"


def _registers(registers: Registers | None, machine: str) -> str:
    if registers is None or not registers.values:
        return ""
    x86 = machine in ("x86_64", "i386", "i686", "")

    def name(number: int) -> str:
        return _X86_REGISTERS[number] if x86 and number < len(_X86_REGISTERS) else f"r{number}"

    return f"ABI:{registers.abi} " + " ".join(f"{name(n)}:{value:#x}" for n, value in registers.values.items())


def _number(value: int | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


_WRITERS: dict[str, Callable[[SampleDetails, str], str]] = {
    "brstack": lambda found, machine: " ".join(_branch(branch) for branch in found.branches),
    "weight": lambda found, machine: _number(found.weight, "16d"),
    "data_src": lambda found, machine: _number(found.data_src, "16x"),
    "phys_addr": lambda found, machine: _number(found.phys_addr, "16x"),
    "iregs": lambda found, machine: _registers(found.interrupt_registers, machine),
    "uregs": lambda found, machine: _registers(found.user_registers, machine),
}
DETAIL_FIELDS = tuple(_WRITERS)


def detail_text(found: SampleDetails | None, fields: frozenset[str], machine: str) -> str:
    """The chosen fields of a sample, separated by blanks; machine: as uname -m of the recording."""
    if found is None:
        return ""
    texts = (write(found, machine) for name, write in _WRITERS.items() if name in fields)
    return " ".join(text for text in texts if text)


def detail_values(found: SampleDetails | None) -> dict[str, Any]:
    """All that a sample carries, for JSON."""
    if found is None:
        return {}
    values: dict[str, Any] = {
        name: value for name, value in vars(found).items() if value is not None and isinstance(value, int)
    }
    if found.branches:
        values["branches"] = [{"from": b.source, "to": b.target, "flags": b.flags} for b in found.branches]
    if found.values:
        values["values"] = [read._asdict() for read in found.values]
    for name, registers in (("interrupt", found.interrupt_registers), ("user", found.user_registers)):
        if registers is not None:
            values[f"{name}_registers"] = {"abi": registers.abi, **{str(k): v for k, v in registers.values.items()}}
    return values
