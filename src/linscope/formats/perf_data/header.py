"""The file header of perf.data: where the attrs, the records and the feature sections lie."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from linscope.abi import perf_file as pf
from linscope.errors import FormatError, UnsupportedError
from linscope.formats.perf_data.attrs import EventAttr, parse_attr

ReadAt = Callable[[int, int], bytes]  # (offset, size) -> that many bytes, or fewer at the end of the file

_MAX_ATTRS = 65_000  # event numbers are 16 bits wide
_MAX_SECTION = 256 << 20  # bytes of one feature section that we are willing to hold


@dataclass
class Header:
    """What the header says; sections are (offset, size) in bytes."""

    big_endian: bool
    pipe: bool
    data: tuple[int, int] = (0, 0)  # size 0: never finished; records run to the end of the file
    attrs: list[EventAttr] = field(default_factory=list)
    features: dict[int, tuple[int, int]] = field(default_factory=dict)
    problems: list[FormatError] = field(default_factory=list)  # damage that leaves the records readable


def detect(head: bytes) -> bool:
    """True if a file that starts with these bytes is perf.data, of a file or a pipe, in either byte order."""
    return head[:8] in (pf.PERF_MAGIC, pf.PERF_MAGIC_SWAPPED)


def parse_header(read_at: ReadAt, file_size: int | None, where: str) -> Header:
    """Read the header; file_size is None for a stream, of which only the pipe form can be read.

    Raises FormatError for what is not perf.data, UnsupportedError for its first version (before 2012).
    """
    head = read_at(0, pf.PIPE_HEADER_SIZE)
    if head[:8] == pf.PERF_MAGIC_V1:
        raise UnsupportedError("a perf.data file of the first version (perf before 3.2)", where=where)
    if not detect(head) or len(head) < pf.PIPE_HEADER_SIZE:
        raise FormatError("not a perf.data file", where=where, offset=0, why=f"it starts with {head[:8]!r}")
    big_endian = head[:8] == pf.PERF_MAGIC_SWAPPED
    order = ">" if big_endian else "<"
    (size,) = struct.unpack_from(order + "Q", head, 8)
    if size == pf.PIPE_HEADER_SIZE:
        return Header(big_endian, pipe=True, data=(pf.PIPE_HEADER_SIZE, 0))
    if file_size is None:
        raise UnsupportedError(
            "a perf.data file in a stream",
            where=where,
            why="only its pipe form can be read without seeking",
            next_step="give the file's name instead",
        )
    raw = head + read_at(pf.PIPE_HEADER_SIZE, pf.FILE_HEADER_SIZE - pf.PIPE_HEADER_SIZE)
    if len(raw) < pf.FILE_HEADER_SIZE:
        raise FormatError("the file ends inside its header", where=where, offset=len(raw))
    fields = struct.unpack_from(order + pf.FILE_HEADER_FORMAT, raw)
    _, _, attr_size, attrs_offset, attrs_size, data_offset, data_size = fields[:7]
    header = Header(big_endian, pipe=False, data=(data_offset, data_size))
    if data_offset < pf.FILE_HEADER_SIZE or data_offset > file_size:
        raise FormatError(
            "the header points outside of the file",
            where=where,
            offset=40,
            why=f"records from {data_offset} of {file_size} bytes",
        )
    header.attrs = _attrs(read_at, big_endian, attr_size, attrs_offset, attrs_size, where, header.problems)
    if data_size:
        _features(header, read_at, fields[9:13], file_size, where)
    return header


def _attrs(
    read_at: ReadAt,
    big_endian: bool,
    entry_size: int,
    offset: int,
    size: int,
    where: str,
    problems: list[FormatError],
) -> list[EventAttr]:
    """The attr section: entries of an attr and the (offset, size) of its ids."""
    order = ">" if big_endian else "<"
    if entry_size < 64 + pf.SECTION_SIZE or size // entry_size > _MAX_ATTRS:
        raise FormatError(
            "the list of events is damaged", where=where, offset=16, why=f"entries of {entry_size} bytes"
        )
    attrs = []
    for start in range(offset, offset + size - entry_size + 1, entry_size):
        entry = read_at(start, entry_size)
        if len(entry) < entry_size:
            raise FormatError(
                "the file ends inside its list of events", where=where, offset=start + len(entry)
            )
        attr = parse_attr(entry[: -pf.SECTION_SIZE], big_endian, offset=start)
        ids_offset, ids_size = struct.unpack_from(
            order + pf.SECTION_FORMAT, entry, entry_size - pf.SECTION_SIZE
        )
        ids = read_at(ids_offset, min(ids_size, _MAX_SECTION)) if ids_size else b""
        if len(ids) < ids_size:
            problems.append(FormatError("an event's list of ids is cut off", where=where, offset=ids_offset))
        attr.ids = list(struct.unpack_from(f"{order}{len(ids) // 8}Q", ids))
        attrs.append(attr)
    return attrs


def _features(header: Header, read_at: ReadAt, words: tuple[int, ...], file_size: int, where: str) -> None:
    """The table of feature sections: one (offset, size) behind the data for each bit that is set."""
    order = ">" if header.big_endian else "<"
    bits = [n * 64 + bit for n, word in enumerate(words) for bit in range(64) if word >> bit & 1]
    if header.big_endian and pf.HEADER_HOSTNAME not in bits:  # a 32-bit machine's array of longs
        bits = [bit ^ 32 for bit in bits]
    at = header.data[0] + header.data[1]
    for bit in bits:
        raw = read_at(at, pf.SECTION_SIZE)
        if len(raw) < pf.SECTION_SIZE:
            header.problems.append(
                FormatError("the table of feature sections is cut off", where=where, offset=at)
            )
            return
        offset, size = struct.unpack(order + pf.SECTION_FORMAT, raw)
        if offset + size > file_size or size > _MAX_SECTION:
            name = pf.FEATURE_NAMES.get(bit, str(bit))
            header.problems.append(
                FormatError(f"the section {name} lies outside of the file", where=where, offset=at)
            )
        else:
            header.features[bit] = (offset, size)
        at += pf.SECTION_SIZE
