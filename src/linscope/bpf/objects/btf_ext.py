"""``.BTF.ext``: which instruction is which function, comes from which line, and depends on which type of the kernel.

Source: Documentation/bpf/btf.rst, ".BTF.ext section"; include/uapi/linux/bpf.h, struct bpf_core_relo.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from linscope.errors import FormatError

_MAGIC = 0xEB9F
_MAX_RECORD = 1 << 10  # bytes; newer compilers may append fields


class FunctionInfo(NamedTuple):
    """A function begins here."""

    offset: int  # bytes in the section
    type: int  # KIND_FUNC


class LineInfo(NamedTuple):
    """A line begins here; names are offsets of BTF's strings."""

    offset: int  # bytes in the section
    file: int
    text: int
    line: int
    column: int


class CoreRelocation(NamedTuple):
    """An instruction depends on how the kernel has a type; kind: BPF_CORE_*."""

    offset: int  # bytes in the section
    type: int  # in the object's BTF
    access: int  # string: "0:1:2"
    kind: int


class BtfExt(NamedTuple):
    """All of it, by the names of the sections."""

    functions: dict[str, list[FunctionInfo]]
    lines: dict[str, list[LineInfo]]
    relocations: dict[str, list[CoreRelocation]]


def parse_btf_ext(data: bytes, names: bytes, *, little_endian: bool, where: str = "", at: int = 0) -> BtfExt:
    """The contents of the section ``.BTF.ext``.

    names: the strings of ``.BTF``; at: where the section lies in the file, for errors.  Raises FormatError.
    """
    order = "<" if little_endian else ">"

    def fail(what: str, offset: int) -> FormatError:
        return FormatError(f".BTF.ext: {what}", where=where, offset=at + offset)

    if len(data) < 24:
        raise fail("header cut short", 0)
    magic, version, _flags, length = struct.unpack_from(order + "HBBI", data)
    if magic != _MAGIC or version != 1 or not 24 <= length <= len(data):
        raise fail("not of version 1", 0)
    spans = [struct.unpack_from(order + "II", data, place) for place in (8, 16)]
    spans.append(struct.unpack_from(order + "II", data, 24) if length >= 32 else (0, 0))
    formats = (order + "II", order + "IIII", order + "IIII")
    least = (8, 16, 16)
    found: list[dict[str, list[tuple[int, ...]]]] = []
    for (begin, size), form, smallest in zip(spans, formats, least, strict=True):
        records: dict[str, list[tuple[int, ...]]] = {}
        found.append(records)
        if not size:
            continue
        place, end = length + begin, length + begin + size
        if begin % 4 or end > len(data) or size < 4:
            raise fail("a table beyond the end of the section", 8)
        (width,) = struct.unpack_from(order + "I", data, place)
        if not smallest <= width <= _MAX_RECORD or width % 4:
            raise fail(f"records of {width} bytes", place)
        place += 4
        unpack = struct.Struct(form).unpack_from
        while place < end:
            if place + 8 > end:
                raise fail("the head of a section's records is cut short", place)
            name_at, count = struct.unpack_from(order + "II", data, place)
            stop = names.find(b"\0", name_at)
            if name_at >= len(names) or stop < 0 or not count:
                raise fail("records of no section", place)
            place += 8
            if place + count * width > end:
                raise fail(f"{count} records beyond the end of their table", place)
            name = names[name_at:stop].decode("utf-8", "replace")
            records.setdefault(name, []).extend(unpack(data, place + width * number) for number in range(count))
            place += count * width
    functions, lines, relocations = found
    return BtfExt(
        {name: sorted(FunctionInfo(*each) for each in rows) for name, rows in functions.items()},
        {
            name: sorted(LineInfo(off, file, text, place >> 10, place & 0x3FF) for off, file, text, place in rows)
            for name, rows in lines.items()
        },
        {name: sorted(CoreRelocation(*each) for each in rows) for name, rows in relocations.items()},
    )
