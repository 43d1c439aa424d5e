"""Programs and maps of the kernel, opened: instructions, machine code, entries."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from linscope.abi import bpf as b
from linscope.bpf.dis import iter_text
from linscope.bpf.instructions import WIDE
from linscope.bpf.kernel.dump import ProgramDump, dump_program
from linscope.bpf.kernel.maps import KernelMap
from linscope.bpf.kernel.programs import KernelProgram
from linscope.bpf.kernel.typed import typed_map
from linscope.bpf.mnemonics import helper_name
from linscope.bpf.program import Program
from linscope.errors import UsageError
from linscope.picture.rows import Column, Rows
from linscope.views.bpf_code import code_rows
from linscope.views.bpf_listing import find_id

if TYPE_CHECKING:
    from linscope.bpf.kernel.typed import TypedMap

_BASE = "__bpf_call_base"
_ADDR_PERCPU = -1  # include/linux/filter.h, BPF_ADDR_PERCPU, since v6.10 (7bdbf7446305)


def open_program(text: str) -> KernelProgram:
    """The program of an id, name, tag or pinned path.  Raises UnknownNameError, UsageError, SystemCallError."""
    return KernelProgram.open(text) if "/" in text else KernelProgram.by_id(find_id("program", text))


def open_map(text: str) -> KernelMap:
    """The map of an id, name or pinned path.  Raises UnknownNameError, UsageError, SystemCallError."""
    return KernelMap.open(text) if "/" in text else KernelMap.by_id(find_id("map", text))


def dumped_rows(name: str, style: str = "kernel", *, opcodes: bool = False, source: bool = True) -> Rows:
    """The instructions of a program in the kernel, as the verifier left them; see ``bpf_code.instruction_rows``."""
    with open_program(name) as opened:
        found = dump_program(opened.fd)
        program = Program(
            found.instructions,
            type=opened.type,
            name=opened.name,
            functions=found.functions,
            lines=found.lines,
            btf=found.btf,
        )
    texts = dict(_kernel_texts(found, style))
    return code_rows([(program, texts)], style, opcodes=opcodes, source=source)


def _kernel_texts(found: ProgramDump, style: str) -> Iterator[tuple[int, str]]:
    """(slot, text), with the kernel's own functions and the program's by their symbols, as bpftool writes them."""
    base, name_of = _kernel_symbols()
    called = {one.slot: name_of(code.address) for one, code in zip(found.functions, found.jited, strict=False)}
    instructions = list(found.instructions)
    for slot, one in enumerate(instructions):
        if one.code == WIDE and one.src == b.BPF_PSEUDO_FUNC:  # the other half has what is the kernel's own
            instructions[slot + 1] = instructions[slot + 1]._replace(imm=0)
    for slot, text in iter_text(instructions, style):
        one = instructions[slot]
        if one.code == b.BPF_JMP | b.BPF_CALL and style == "kernel":
            if one.src == b.BPF_PSEUDO_CALL:
                name = called.get(slot + 1 + one.off, "")
                text = f"call pc{one.off:+d}" + (f"#{name}" if name else "")
            else:
                name = name_of(base + one.imm) if base else ""
                text = f"call {name or helper_name(one.imm)}#{one.imm}"  # tail calls keep the helper's number
        elif one.code == b.BPF_ALU64 | b.BPF_MOV | b.BPF_X and one.off == _ADDR_PERCPU and style == "kernel":
            text = f"r{one.dst} = &(void __percpu *)(r{one.src})"
        yield slot, text


def _kernel_symbols() -> tuple[int, Callable[[int], str]]:
    """Address that calls are relative to, and names by address; 0 where the kernel hides them."""
    addresses: list[int] = []
    names: list[str] = []
    base = 0
    with open("/proc/kallsyms", encoding="ascii", errors="replace") as file:
        rows = sorted((int(line[:16], 16), line[19:].split(None, 1)[0]) for line in file if line[17] in "tTwW")
    for address, name in rows:
        addresses.append(address)
        names.append(name)
        if name == _BASE:
            base = address

    def name_of(address: int) -> str:
        at = bisect.bisect_left(addresses, address)
        return names[at] if at < len(addresses) and addresses[at] == address else ""

    return base, name_of


def machine_code_rows(name: str) -> Rows:
    """What the kernel's JIT made of a program, disassembled.  Raises PermissionDenied, UsageError: no machine code."""
    with open_program(name) as opened:
        found = dump_program(opened.fd)
    if not found.jited:
        step = "net.core.bpf_jit_enable=1 makes machine code, net.core.bpf_jit_harden=0 shows it"
        raise UsageError("there is no machine code to see", next_step=step)
    columns = [Column("function"), Column("address", format=hex), Column("bytes"), Column("text")]

    def rows() -> Iterator[tuple[str, int, str, str]]:
        for function in found.jited:
            for address, size, mnemonic, operands in _disassembler().disasm_lite(function.code, function.address):
                at = address - function.address
                text = f"{mnemonic} {operands}".rstrip()
                yield function.name, address, function.code[at : at + size].hex(), text

    def lines() -> Iterator[str]:
        last = ""
        for function, address, code, text in rows():
            if function != last:
                yield f"{chr(10) if last else ''}{function}:\n"
                last = function
            yield f"  {address:x}:  {code:<22}  {text}\n"

    return Rows(columns, rows(), text=lines)


def _disassembler() -> Any:
    import os

    import capstone as cs

    machines = {"x86_64": (cs.CS_ARCH_X86, cs.CS_MODE_64), "aarch64": (cs.CS_ARCH_ARM64, cs.CS_MODE_ARM)}
    machine = os.uname().machine
    if machine not in machines:
        raise UsageError(f"machine code of {machine} cannot be shown", next_step="--raw")
    return cs.Cs(*machines[machine])


def map_rows(name: str, *, most: int = 0) -> Rows:
    """The entries of a map in the kernel, typed where it has types.  most: so many at most; 0: all."""
    opened = open_map(name)
    typed = typed_map(opened)
    columns = [Column("key", format=_shown), Column("value", format=_shown)]

    def rows() -> Iterator[tuple[Any, Any]]:
        with opened:
            for number, (key, value) in enumerate(typed.items()):
                if most and number >= most:
                    break
                yield key, value

    return Rows(columns, rows())


def _shown(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def change_map(action: str, name: str, key: str, value: str) -> Rows:
    """ "lookup", "update", "delete", "push", "pop" or "peek" of one entry; key and value: JSON, or hexadecimal bytes.

    Raises UsageError, SystemCallError.
    """
    columns = [Column("key", format=_shown, in_text=bool(key)), Column("value", format=_shown)]
    with open_map(name) as opened:
        typed = typed_map(opened)
        if action in ("pop", "peek"):
            found = opened.pop() if action == "pop" else opened.peek()
            return Rows(columns, [] if found is None else [(None, typed.value.decode(found))])
        if action == "push":
            opened.push(typed.value.encode(_parsed(value, typed.value.type)))
            return Rows(columns, [])
        parsed = _parsed(key, typed.key.type)
        if action == "update":
            typed[parsed] = _parsed(value, typed.value.type)
            return Rows(columns, [])
        return _looked_up(action, typed, parsed, key)


def _looked_up(action: str, typed: TypedMap, parsed: Any, key: str) -> Rows:
    columns = [Column("key", format=_shown), Column("value", format=_shown)]
    try:
        if action == "delete":
            del typed[parsed]
            return Rows(columns, [])
        return Rows(columns, [(parsed, typed[parsed])])
    except KeyError:
        raise UsageError(f"the map has no entry {key}") from None


def _parsed(text: str, type_id: int) -> Any:
    """What people typed: hexadecimal bytes of what has no type, else JSON."""
    if not type_id:
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise UsageError(f"not hexadecimal bytes: {text!r}", next_step="'01 00 00 00'") from None
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text  # of an array of char


