"""BTF that is to be changed: its types as words, its strings, and all put together again.

Source: Documentation/bpf/btf.rst; include/uapi/linux/btf.h.
"""

from __future__ import annotations

import struct

from linscope.errors import FormatError

_MAGIC = 0xEB9F
# bytes behind the twelve of struct btf_type, by kind: once, and for each of vlen
_FIXED = {1: 4, 3: 12, 14: 4, 17: 4}  # int, array, var, decl_tag
_EACH = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}  # struct, union, enum, func_proto, datasec, enum64
_KIND_MAX = 19


class RawTypes:
    """The types and strings of some BTF without a base.  Types are told by id, from 1; ``places[id]`` is a byte."""

    def __init__(self, data: bytes, *, where: str = "", at: int = 0) -> None:
        """at: where the BTF lies in its file, for errors.  Raises FormatError."""
        self._where = where
        self._at = at
        if len(data) < 24:
            raise self._fail("BTF header cut short", 0)
        self._order = "<" if data[:2] == _MAGIC.to_bytes(2, "little") else ">"
        magic, version, _flags, length, type_at, type_size, string_at, string_size = struct.unpack_from(
            self._order + "HBBIIIII", data
        )
        if magic != _MAGIC or version != 1 or length < 24:
            raise self._fail("not BTF of version 1", 0)
        if max(length + type_at + type_size, length + string_at + string_size) > len(data):
            raise self._fail("BTF sections beyond the end of the data", 8)
        self._start = length + type_at
        self.types = bytearray(data[length + type_at : length + type_at + type_size])
        self.strings = bytearray(data[length + string_at : length + string_at + string_size])
        if not string_size or self.strings[0] or self.strings[-1]:
            raise self._fail("BTF strings do not begin and end with NUL", 16)
        self.places = [0]
        place = 0
        while place < type_size:
            self.places.append(place)
            place += self._length(place)
        if place != type_size:
            raise self._fail("BTF type cut short", self._start + self.places[-1])

    def _fail(self, what: str, offset: int) -> FormatError:
        return FormatError(what, where=self._where, offset=self._at + offset)

    def _length(self, place: int) -> int:
        if place + 12 > len(self.types):
            raise self._fail("BTF type cut short", self._start + place)
        (info,) = struct.unpack_from(self._order + "I", self.types, place + 4)
        kind = info >> 24 & 0x1F
        if not 0 < kind <= _KIND_MAX:
            raise self._fail(f"no BTF type: its info is {info:#x}", self._start + place)
        return 12 + _FIXED.get(kind, 0) + _EACH.get(kind, 0) * int(info & 0xFFFF)

    def __len__(self) -> int:
        return len(self.places)

    def get(self, type_id: int, word: int) -> int:
        """A word of a type: 0 its name, 1 its info, 2 its size or target, then what the kind has."""
        if not 0 < type_id < len(self.places):
            raise self._fail(f"no BTF type {type_id}", self._start)
        place = self.places[type_id] + 4 * word
        if place + 4 > len(self.types):
            raise self._fail("BTF type cut short", self._start + self.places[type_id])
        return int(struct.unpack_from(self._order + "I", self.types, place)[0])

    def set(self, type_id: int, word: int, value: int) -> None:
        """Change a word of a type."""
        struct.pack_into(self._order + "I", self.types, self.places[type_id] + 4 * word, value & 0xFFFFFFFF)

    def kind(self, type_id: int) -> int:
        """KIND_* of a type."""
        return self.get(type_id, 1) >> 24 & 0x1F

    def count(self, type_id: int) -> int:
        """vlen of a type."""
        return self.get(type_id, 1) & 0xFFFF

    def text(self, offset: int) -> str:
        """The string at an offset.  Raises FormatError."""
        if offset >= len(self.strings):
            raise self._fail(f"BTF name at {offset} lies beyond the strings", self._start)
        return self.strings[offset : self.strings.find(b"\0", offset)].decode("utf-8", "replace")

    def name(self, type_id: int) -> str:
        """Name of a type, "" without."""
        return self.text(self.get(type_id, 0))

    def string(self, text: str) -> int:
        """The offset of a string, which is added when it is not there."""
        encoded = text.encode() + b"\0"
        found = self.strings.find(b"\0" + encoded) + 1 if text else 0
        if text and not found:
            found = len(self.strings)
            self.strings += encoded
        return found

    def find(self, kind: int, name: str | None = None) -> int:
        """The first type of a kind, and of a name when given; 0 when there is none."""
        for number in range(1, len(self.places)):
            if self.kind(number) == kind and (name is None or self.name(number) == name):
                return number
        return 0

    def add(self, kind: int, name: str, value: int, *words: int, count: int = 0) -> int:
        """Append a type; its id."""
        self.places.append(len(self.types))
        words = (self.string(name), kind << 24 | count, value, *words)
        self.types += struct.pack(f"{self._order}{len(words)}I", *words)
        return len(self.places) - 1

    def to_bytes(self) -> bytes:
        """The BTF as it is now."""
        sizes = (24, 0, len(self.types), len(self.types), len(self.strings))
        return struct.pack(self._order + "HBBIIIII", _MAGIC, 1, 0, *sizes) + self.types + self.strings
