"""Writes small BTF for tests: types by hand, in either byte order, also split from a base."""

from __future__ import annotations

import struct

from linscope.binfmt import btf_types as bt


class BtfWriter:
    """Collects types; each ``add`` returns the id of the type."""

    def __init__(self, order: str = "<", *, first_id: int = 1, first_string: int = 0) -> None:
        self.order = order
        self.next_id = first_id
        self.first_string = first_string
        self.types = b""
        self.strings = b"" if first_string else b"\0"

    def text(self, name: str) -> int:
        """Offset of a string; equal ones are written once."""
        if not name:
            return 0
        encoded = name.encode() + b"\0"
        at = (b"\0" + self.strings).find(b"\0" + encoded)
        if at < 0:
            at = len(self.strings)
            self.strings += encoded
        return self.first_string + at

    def add(self, kind: int, name: str = "", value: int = 0, *more: int, count: int = 0, flag: bool = False) -> int:
        """One type: its size or target is value; more: the words behind it."""
        info = kind << 24 | count | (1 << 31 if flag else 0)
        words = (self.text(name), info, value, *(word & 0xFFFFFFFF for word in more))
        self.types += struct.pack(f"{self.order}{len(words)}I", *words)
        self.next_id += 1
        return self.next_id - 1

    def integer(self, name: str, size: int, encoding: int = 0) -> int:
        """An integer of size bytes."""
        return self.add(bt.KIND_INT, name, size, encoding << 24 | 8 * size)

    def struct(self, name: str, size: int, *members: tuple[str, int, int], union: bool = False) -> int:
        """A struct or union of (name, type, bit offset)."""
        words = [word for member, type_, offset in members for word in (self.text(member), type_, offset)]
        return self.add(bt.KIND_UNION if union else bt.KIND_STRUCT, name, size, *words, count=len(members))

    def bitfields(self, name: str, size: int, *members: tuple[str, int, int, int]) -> int:
        """A struct of (name, type, bit offset, bits)."""
        words = [w for m, type_, offset, bits in members for w in (self.text(m), type_, bits << 24 | offset)]
        return self.add(bt.KIND_STRUCT, name, size, *words, count=len(members), flag=True)

    def function(self, name: str, returns: int, *parameters: tuple[str, int]) -> int:
        """A prototype and its function; the id of the function."""
        words = [word for parameter, type_ in parameters for word in (self.text(parameter), type_)]
        proto = self.add(bt.KIND_FUNC_PROTO, "", returns, *words, count=len(parameters))
        return self.add(bt.KIND_FUNC, name, proto, count=1)

    def data(self) -> bytes:
        """The whole BTF."""
        strings = self.strings or b"\0"
        head = struct.pack(self.order + "HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(strings))
        return head + self.types + strings


def every_kind(order: str = "<") -> BtfWriter:
    """One type at least of each kind."""
    w = BtfWriter(order)
    number = w.integer("int", 4, bt.INT_SIGNED)
    char = w.integer("char", 1, bt.INT_CHAR | bt.INT_SIGNED)
    pointer = w.add(bt.KIND_PTR, "", char)
    text = w.add(bt.KIND_ARRAY, "", 0, char, number, 16)
    point = w.struct("point", 8, ("x", number, 0), ("y", number, 32))
    either = w.struct("", 8, ("word", number, 0), ("bytes", pointer, 0), union=True)
    shape = w.struct("shape", 48, ("name", text, 0), ("", either, 128), ("corner", point, 192), ("link", pointer, 256))
    w.bitfields("flags", 4, ("low", number, 0, 3), ("high", number, 3, 5), ("whole", number, 8, 0))
    w.add(bt.KIND_ENUM, "color", 4, w.text("RED"), 0, w.text("BLUE"), -2, count=2, flag=True)
    w.add(bt.KIND_ENUM64, "wide", 8, w.text("HUGE"), 5, 1, count=1)
    w.add(bt.KIND_FWD, "hidden", 0)
    alias = w.add(bt.KIND_TYPEDEF, "shape_t", shape)
    constant = w.add(bt.KIND_CONST, "", alias)
    volatile = w.add(bt.KIND_VOLATILE, "", constant)
    w.add(bt.KIND_RESTRICT, "", pointer)
    w.add(bt.KIND_FLOAT, "double", 8)
    draw = w.function("draw", number, ("shape", volatile), ("count", number))
    w.function("print", 0, ("format", pointer), ("", 0))
    variable = w.add(bt.KIND_VAR, "origin", point, 1)
    w.add(bt.KIND_DATASEC, ".data", 8, variable, 0, 8, count=1)
    w.add(bt.KIND_DECL_TAG, "hot", draw, -1)
    w.add(bt.KIND_TYPE_TAG, "user", char)
    return w
