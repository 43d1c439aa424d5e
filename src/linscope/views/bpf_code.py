"""eBPF programs as rows: an instruction each, with the source lines and functions that they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from linscope.binfmt.btf_text import type_text
from linscope.bpf.dis import iter_text
from linscope.bpf.instructions import encode
from linscope.bpf.program import Function, Line, Program
from linscope.picture.rows import Column, Rows

Written: TypeAlias = "tuple[Program, Mapping[int, str]]"  # a program, and the text of each slot
_MAP = re.compile(r"map\[idx:(\d+)\]")


def instruction_rows(
    programs: Sequence[Program], style: str = "kernel", *, opcodes: bool = False, source: bool = True
) -> Rows:
    """The instructions of programs.

    style: as linscope.bpf.dis; opcodes: text shows the bytes, too; source: text shows lines of the source in between.
    """
    written = [(program, dict(iter_text(program.instructions, style))) for program in programs]
    return code_rows(written, style, opcodes=opcodes, source=source)


def code_rows(programs: Sequence[Written], style: str, *, opcodes: bool, source: bool) -> Rows:
    """Programs whose instructions have become text already; see ``instruction_rows``."""
    columns = [
        Column("program"),
        Column("function"),
        Column("slot", align=">"),
        Column("bytes"),
        Column("text"),
        Column("file"),
        Column("line", align=">"),
        Column("source"),
    ]

    def text() -> Iterator[str]:
        for number, (program, texts) in enumerate(programs):
            if number:
                yield "\n"
            yield from _text(program, texts, style, opcodes=opcodes, source=source)

    return Rows(columns, (row for program, texts in programs for row in _rows(program, texts)), text=text)


def _rows(program: Program, texts: Mapping[int, str]) -> Iterator[tuple[Any, ...]]:
    functions = {one.slot: one.name for one in program.functions}
    lines = {one.slot: one for one in program.lines}
    function, line = program.name, Line(0, "", 0, 0, "")
    ends = [*list(texts)[1:], len(program.instructions)]
    for (slot, text), end in zip(texts.items(), ends[: len(texts)], strict=True):
        function, line = functions.get(slot, function), lines.get(slot, line)
        code = encode(program.instructions[slot:end]).hex()
        text = _MAP.sub(lambda match: _map_name(program, match), text)
        yield program.name, function, slot, code, text, line.file, line.line, line.text


def _heading(program: Program, function: Function) -> str:
    """A function as C declares it, where its types are known; else its name."""
    if program.btf is None or not function.type_id:
        return function.name
    return type_text(program.btf, function.type_id).rstrip(";")


def _map_name(program: Program, match: re.Match[str]) -> str:
    """A map's name instead of its place, where it has one."""
    place = int(match[1])
    return f"map[{program.maps[place].name}]" if place < len(program.maps) and program.maps[place].name else match[0]


def _text(
    program: Program, texts: Mapping[int, str], style: str, *, opcodes: bool, source: bool
) -> Iterator[str]:
    """Lines as llvm-objdump and bpftool lay them out."""
    width = len(str(max(len(program.instructions) - 1, 0)))
    section = f" ({program.section})" if program.section else ""
    headings = {one.name: _heading(program, one) for one in program.functions}
    last_function, last_line = "", ""
    for name, function, slot, code, text, file, line, written in _rows(program, texts):
        if function != last_function:
            shown = headings.get(function, function) or name or "program"
            yield f"{'' if slot == 0 else chr(10)}{shown}{section if slot == 0 else ''}:\n"
            last_function = function
        here = f"{file}:{line}: {written}" if file else written
        if source and written and here != last_line and program.btf is not None:
            yield f"; {written.strip()}\n"
            last_line = here
        shown = f"{' '.join(code[at : at + 2] for at in range(0, len(code), 2)):<47}  " if opcodes else ""
        if style == "kernel" and not opcodes:
            text = f"({code[:2]}) {text}"
        yield f"{slot:>{width + 2}}: {shown}{text}\n"
