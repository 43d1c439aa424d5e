"""printf: formats compiled once, beside C's own printf where it has the conversion."""

from __future__ import annotations

import ctypes
import random
import struct

import pytest

from linscope.lang import types as t
from linscope.lang.unit import event_layout, is_variable
from linscope.session.script.printf import Plain, make_formatter
from linscope.session.script.resolver import Resolver

RESOLVER = Resolver({})


def record(types: tuple[t.Type, ...], values: tuple[int | bytes, ...]) -> bytes:
    """The bytes of an event."""
    offsets, end = event_layout(types)
    fixed, behind = bytearray(end), b""
    for type, offset, value in zip(types, offsets, values, strict=True):
        if is_variable(type):
            assert isinstance(value, bytes)
            struct.pack_into("<I", fixed, offset, len(value))
            behind += value
        elif isinstance(value, bytes):
            fixed[offset : offset + len(value)] = value
        else:
            fixed[offset : offset + type.size] = (value & (1 << 8 * type.size) - 1).to_bytes(type.size, "little")
    struct.pack_into("<I", fixed, 4, end + len(behind))
    return bytes(fixed) + behind


def shown(format: str, *pairs: tuple[t.Type, int | bytes]) -> str:
    types, values = tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
    text: bytes = make_formatter(format.encode(), types, RESOLVER)(record(types, values))
    return text.decode()


BIG = (t.INT64, 0x12345678ABCDEF)
COLOR = t.Enum("Foo", 4, False, {1: "ONE", 2: "TWO"})


@pytest.mark.parametrize(
    ("format", "pairs", "expected"),
    [
        ("hi!\n", (), "hi!\n"),
        ("100%% %d%%", ((t.INT8, 5),), "100% 5%"),
        ("%hhx %hx %x %jx", (BIG, BIG, BIG, BIG), "ef cdef 78abcdef 12345678abcdef"),
        ("%d %u %lx", ((t.INT8, -1), (t.INT8, -1), (t.INT8, -1)), "-1 4294967295 ffffffffffffffff"),
        ("%d %d", ((t.UINT8, 255), (t.UINT32, 0xFFFFFFFF)), "255 -1"),
        ("%c%c|%3c", ((t.INT64, 0x41), (t.UINT8, 0x42), (t.INT64, 65)), "AB|  A"),
        ("%p %8p|%-8p|", ((t.UINT64, 255), (t.UINT64, 16), (t.UINT64, 16)), "0xff     0x10|0x10    |"),
        ("%5s %04x", ((t.String(3), b"ba"), (t.INT8, 2)), "   ba 0002"),
        ("%5.2s|%-4s|", ((t.String(8), b"abcdef"), (t.String(3), b"ab")), "   ab|ab  |"),
        ("%s", ((t.String(5, 4), b"/bin"),), "/bin.."),
        ("%r %rx %rh", ((t.Buffer(6), b"Hello\0"),) * 3, "Hello\\x00 \\x48\\x65\\x6c\\x6c\\x6f\\x00 48 65 6c 6c 6f 00"),
        ("%gr", ((t.INT64, 1),), "GFP_DMA"),
        ("%d %s %s|%-5s|", ((COLOR, 1), (COLOR, 2), (COLOR, 9), (COLOR, 1)), "1 TWO 9|ONE  |"),
        ("%s %s %d", ((t.String(4), b"abc"), (t.Tuple((t.INT8, t.INT8)), b"\1\2"), (t.INT8, 3)), "abc (1, 2) 3"),
        ("%s %s", ((t.BOOL, 1), (t.Inet(), struct.pack("<I", 2) + b"\1\0\0\0")), "true 1.0.0.0"),
        ("%#o", ((t.INT64, 8),), "010"),
    ],
)  # fmt: skip
def test_printf(format: str, pairs: tuple[tuple[t.Type, int | bytes], ...], expected: str) -> None:
    assert shown(format, *pairs) == expected


def test_numbers_are_as_c_writes_them() -> None:
    libc = ctypes.CDLL(None)
    chance = random.Random(7)
    room = ctypes.create_string_buffer(256)
    for _ in range(400):
        letter = chance.choice("diuxXo")
        flags = "".join(f for f in "-0 +" if chance.random() < 0.2)
        width = str(chance.randrange(1, 24)) if chance.random() < 0.5 else ""
        point = f".{chance.randrange(12)}" if chance.random() < 0.3 else ""
        length = chance.choice(["hh", "h", "", "l", "ll", "j", "z"])
        if letter in "uxXo":
            flags = flags.replace("+", "").replace(" ", "")  # of no meaning there; Python writes the sign
        if "0" in flags and point:
            flags = flags.replace("0", "")  # which C then takes for nothing
        value = chance.choice([0, 1, -1, chance.getrandbits(63), -chance.getrandbits(40), chance.getrandbits(20)])
        if point == ".0" and not value & 0xFF:
            continue  # C writes no digit at all for 0
        format = f"%{flags}{width}{point}{length}{letter}"
        libc.snprintf(room, 256, format.encode(), ctypes.c_longlong(value))
        if point == ".0" and not room.value.strip():
            continue
        assert shown(format, (t.INT64, value)) == room.value.decode(), format


def test_many_records_at_once() -> None:
    types: tuple[t.Type, ...] = (t.UINT32, t.UINT64)
    formatter = make_formatter(b"%u %llu\n", types, RESOLVER)
    assert isinstance(formatter, Plain)
    one = record(types, (5, 1 << 40))
    data = b"".join(one + bytes(8) for _ in range(3))
    assert formatter.many(data, len(one) + 8) == formatter(one) * 3
