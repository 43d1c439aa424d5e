"""Programs from what people have: object files, assembler, hexadecimal text, raw instructions."""

from __future__ import annotations

import os
import re
import sys

from linscope.bpf.instructions import SIZE, decode
from linscope.bpf.program import Function, Program
from linscope.errors import FormatError, UnknownNameError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.objects.target import Target

_ELF = b"\x7fELF"
_HEX = re.compile(rb"(?:0x)?[0-9a-fA-F]{2}(?:[\s,]*(?:0x)?[0-9a-fA-F]{2})*")
_MAX_SOURCE = 1 << 28  # bytes


def read_programs(path: str, *, target: Target | None = None) -> list[Program]:
    """All programs of a file; "-" is standard input.  What it holds is seen by its content.

    target: the kernel that an object file is fitted to; None: as it was compiled.
    Raises SourceError (assembler), FormatError, UnsupportedError (object files), OSError.
    """
    with sys.stdin.buffer if path == "-" else open(path, "rb") as file:
        data = file.read(_MAX_SOURCE + 1)
    if len(data) > _MAX_SOURCE:
        raise FormatError("a file of more than 256 MB", where=path)
    return programs_of(data, target=target, where=path)


def programs_of(data: bytes, *, target: Target | None = None, where: str = "") -> list[Program]:
    """All programs of the bytes of a file; see ``read_programs``."""
    if data.startswith(_ELF):
        from linscope.bpf.objects.reader import read_object

        return list(read_object(data, target=target, where=where).programs.values())
    name = os.path.basename(where).partition(".")[0] if where != "-" else ""
    stripped = data.strip()
    if _HEX.fullmatch(stripped):
        data = bytes.fromhex(re.sub(rb"0x|[\s,]", b"", stripped).decode())
    elif (text := _as_text(data)) is not None:
        from linscope.bpf.asm import assemble_program

        program = assemble_program(text, where=where)
        program.name = program.name or name
        return [program]
    if not data or len(data) % SIZE:
        why = "it is no ELF file, no text, and instructions have eight bytes each"
        raise FormatError("no eBPF program", where=where, offset=len(data) // SIZE * SIZE, why=why)
    return [Program(decode(data), name=name, functions=[Function(0, name or "main", 0)])]


def choose(programs: list[Program], name: str, *, where: str = "") -> list[Program]:
    """Those of a name or section, all for "".  Raises UnknownNameError, FormatError when there are none."""
    if not programs:
        raise FormatError("an object file without programs", where=where)
    chosen = [one for one in programs if not name or name in (one.name, one.section)]
    if not chosen:
        raise UnknownNameError("program", name, [one.name for one in programs])
    return chosen


def _as_text(data: bytes) -> str | None:
    """The text; None when the bytes are none."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if all(letter.isprintable() or letter in "\t\r\n\f" for letter in text) else None
