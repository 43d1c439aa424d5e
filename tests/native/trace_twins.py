"""Plain twins of the native code for kernel traces: ring-buffer pages, fields of events, lines of text."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

DELTA_BITS, STAMP_BITS = 27, 59
PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31
COMMIT, MISSED_EVENTS, MISSED_STORED = (1 << 20) - 1, 1 << 31, 1 << 30
ALL = (1 << 64) - 1
SIGNED, HEX, UPPER, ZEROS, LEFT, PREFIX, NIL = (1 << bit for bit in range(7))


class Found(NamedTuple):
    """An event: offset and bytes of its data, time, page, type, pid."""

    at: int
    size: int
    time: int
    page: int
    type: int
    pid: int


def ring_events(
    data: bytes, page_size: int, long_size: int, big: bool
) -> tuple[list[Found], dict[int, int], dict[int, int]]:
    """(events, events missed by page, offset of the damage by page)."""
    order = ">" if big else "<"
    word_code = order + ("Q" if long_size == 8 else "I")
    found: list[Found] = []
    missed: dict[int, int] = {}
    damaged: dict[int, int] = {}
    for page in range(len(data) // page_size):
        start = page * page_size
        (time,) = struct.unpack_from(order + "Q", data, start)
        (word,) = struct.unpack_from(word_code, data, start + 8)
        at, room = start + 8 + long_size, page_size - 8 - long_size
        end = at + min(word & COMMIT, room)
        if word & COMMIT > room:
            damaged[page] = start
        if word & MISSED_EVENTS:
            stored = word & MISSED_STORED and end + long_size <= start + page_size
            count = struct.unpack_from(word_code, data, end)[0] if stored else -1
            missed[page] = count - (1 << 64) if count >= 1 << 63 else count
        while at + 4 <= end:
            (head,) = struct.unpack_from(order + "I", data, at)
            kind, delta = (head >> DELTA_BITS, head & ((1 << DELTA_BITS) - 1)) if big else (head & 31, head >> 5)
            if kind == PADDING and delta == 0:
                break
            extra = 0
            if kind == 0 or kind >= PADDING:
                if at + 8 > end:
                    damaged[page] = at
                    break
                (extra,) = struct.unpack_from(order + "I", data, at + 4)
            size = extra - 4 if kind == 0 else kind * 4
            whole = 4 + kind * 4 if 0 < kind < PADDING else 8 if kind > PADDING else 4 + (extra + 3 & ~3)
            if at + whole > end or (kind == 0 and extra < 4):
                damaged[page] = at
                break
            stamp = (extra << DELTA_BITS) + delta
            if kind == TIME_STAMP:
                time = time & ~((1 << STAMP_BITS) - 1) & ALL | stamp
            else:
                time = time + (stamp if kind == TIME_EXTEND else delta) & ALL
            if kind < PADDING:
                where = at + (8 if kind == 0 else 4)
                type_, pid = 0xFFFF, 0
                if size >= 2:
                    (first,) = struct.unpack_from(order + "H", data, where)
                    type_ = first if size >= 8 else 0xFFFF
                if size >= 8:
                    (pid,) = struct.unpack_from(order + "I", data, where + 4)
                found.append(Found(where, size, time, page, type_, pid))
            at += whole
    return found, missed, damaged


def gather(data: bytes, at: Sequence[int], fields: Sequence[tuple[int, int]]) -> list[bytes]:
    """The bytes of each field of all events."""
    return [b"".join(data[one + offset : one + offset + size] for one in at) for offset, size in fields]


def write_lines(pieces: Sequence[tuple[Any, ...]], rows: int) -> tuple[bytes, list[int]]:
    """(text, where each row of it ends)."""
    text, ends = b"", []
    for row in range(rows):
        for kind, *words in pieces:
            text += (literal, number, plain, choice)[kind](row, *words)
        ends.append(len(text))
    return text, ends


def literal(row: int, text: bytes) -> bytes:
    """The same in each row."""
    return text


def number(row: int, values: Sequence[int], flags: int, width: int) -> bytes:
    """As printf: %d, %u, %x, %X, %p."""
    value = int(values[row])
    if value == 0 and flags & NIL:
        return justified(b"", b"(nil)", flags & LEFT, width)
    if flags & SIGNED and value >= 1 << 63:
        value -= 1 << 64
    sign = "-" if value < 0 else "0x" if flags & PREFIX and value else ""
    digits = f"{abs(value):x}" if flags & HEX else str(abs(value))
    if flags & UPPER:
        sign, digits = sign.upper(), digits.upper()
    return justified(sign.encode(), digits.encode(), flags, width)


def justified(sign: bytes, body: bytes, flags: int, width: int) -> bytes:
    """Filled up to the width."""
    if flags & LEFT:
        return (sign + body).ljust(width)
    return sign + body.rjust(width - len(sign), b"0") if flags & ZEROS else (sign + body).rjust(width)


def plain(row: int, texts: bytes, size: int, flags: int, width: int) -> bytes:
    """A char array up to its NUL."""
    body = bytes(texts[row * size : (row + 1) * size]).split(b"\0", 1)[0]
    return justified(b"", body, flags & LEFT, width)


def choice(row: int, choices: Sequence[int], texts: bytes, ends: Sequence[int]) -> bytes:
    """One of several texts."""
    which = int(choices[row])
    return texts[int(ends[which - 1]) if which else 0 : int(ends[which])]
