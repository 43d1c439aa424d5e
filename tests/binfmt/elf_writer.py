"""A small ELF file of any class and byte order, for corners that no compiler here makes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple


class Symbol(NamedTuple):
    """A symbol to write; section 1 is .text."""

    name: str
    value: int
    size: int = 0
    kind: int = 2  # STT_FUNC
    binding: int = 1  # STB_GLOBAL
    section: int = 1
    other: int = 0


def write_elf(
    symbols: Sequence[Symbol],
    *,
    is_64: bool = True,
    little: bool = True,
    machine: int = 62,
    build_id: bytes = b"",
    address: int = 0x401000,
    text_size: int = 0x1000,
    debug_link: str = "",
    debugdata: bytes = b"",
) -> bytes:
    """An ET_DYN image: .text at file offset 0x1000 loaded at address, .symtab, build-id note."""
    order = "<" if little else ">"
    word = "Q" if is_64 else "I"
    strings = b"\0"
    rows = [bytes(24 if is_64 else 16)]
    for one in symbols:
        info = one.binding << 4 | one.kind
        if is_64:
            row = struct.pack(
                order + "IBBHQQ", len(strings), info, one.other, one.section, one.value, one.size
            )
        else:
            row = struct.pack(
                order + "IIIBBH", len(strings), one.value, one.size, info, one.other, one.section
            )
        rows.append(row)
        strings += one.name.encode() + b"\0"
    note = struct.pack(order + "III", 4, len(build_id), 3) + b"GNU\0" + build_id if build_id else b""
    link = debug_link.encode() + b"\0"
    link += bytes(-len(link) % 4) + bytes(4)
    contents = [
        ("", 0, 0, b"", 0, 0),
        (".text", 1, 6, bytes(text_size), 0, 0),
        (".symtab", 2, 0, b"".join(rows), 3, len(rows[0])),
        (".strtab", 3, 0, strings, 0, 0),
        (".note.gnu.build-id", 7, 2, note, 0, 0),
    ]
    if debug_link:
        contents.append((".gnu_debuglink", 1, 0, link, 0, 0))
    if debugdata:
        contents.append((".gnu_debugdata", 1, 0, debugdata, 0, 0))
    names = b""
    name_offsets = []
    for name in [one[0] for one in contents] + [".shstrtab"]:
        name_offsets.append(len(names))
        names += name.encode() + b"\0"
    contents.append((".shstrtab", 3, 0, names, 0, 0))
    body = b""
    headers = b""
    at = 0x1000
    for (name, kind, flags, data, to, size), name_at in zip(contents, name_offsets, strict=True):
        where = at + len(body) if kind else 0
        headers += struct.pack(
            order + "II" + word * 4 + "II" + word * 2,
            *(name_at, kind, flags, address if name == ".text" else 0, where, len(data), to, 0, 1, size),
        )
        body += data
    body += bytes(-len(body) % 8)
    if is_64:
        segment = struct.pack(order + "IIQQQQQQ", 1, 5, at, address, address, text_size, text_size, 4096)
    else:
        segment = struct.pack(order + "IIIIIIII", 1, at, address, address, text_size, text_size, 5, 4096)
    head = struct.pack(
        order + "HHI" + word * 3 + "IHHHHHH",
        *(3, machine, 1, 0, 64 if is_64 else 52, at + len(body), 0, 64 if is_64 else 52),
        *(len(segment), 1, 64 if is_64 else 40, len(contents), len(contents) - 1),
    )
    ident = b"\x7fELF" + bytes([2 if is_64 else 1, 1 if little else 2, 1]) + bytes(9)
    return (ident + head + segment).ljust(at, b"\0") + body + headers
