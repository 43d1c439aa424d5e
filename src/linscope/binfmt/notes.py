"""ELF notes: a note segment, or /sys/kernel/notes, as (name, type, description) triples.

Source: gABI, "Note Section"; names and descriptions are padded to four bytes (to eight in an 8-byte-aligned
PT_NOTE of x86, where only NT_GNU_PROPERTY_TYPE_0 lives).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NT_GNU_BUILD_ID = 3  # /usr/include/elf.h


class Note(NamedTuple):
    """One note; name without its trailing NUL."""

    name: bytes
    kind: int
    description: bytes


def iter_notes(data: bytes, *, little_endian: bool = True) -> Iterator[Note]:
    """The notes of a section or segment, in order; stops without a word at the first that does not fit."""
    head = struct.Struct("<III" if little_endian else ">III")
    offset = 0
    while offset + head.size <= len(data):
        name_size, description_size, kind = head.unpack_from(data, offset)
        name_at = offset + head.size
        description_at = name_at + (name_size + 3 & ~3)
        end = description_at + description_size
        if end > len(data):
            return
        yield Note(data[name_at : name_at + name_size].rstrip(b"\0"), kind, data[description_at:end])
        offset = end + 3 & ~3


def find_build_id(data: bytes, *, little_endian: bool = True) -> str | None:
    """The GNU build-id among these notes in lower-case hex, None when there is none."""
    for note in iter_notes(data, little_endian=little_endian):
        if note.kind == NT_GNU_BUILD_ID and note.name == b"GNU" and note.description:
            return note.description.hex()
    return None


def read_kernel_build_id(path: str = "/sys/kernel/notes") -> str | None:
    """Build-id of the running kernel in hex, None when the file cannot be read."""
    try:
        return find_build_id(Path(path).read_bytes())
    except OSError:
        return None
