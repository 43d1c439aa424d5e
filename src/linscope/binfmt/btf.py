"""BTF, the types that a kernel carries of itself: /sys/kernel/btf/*, ELF sections ``.BTF``, kernel images.

Lazy: opening reads the file and checks the header.  A name is searched for as bytes, in the strings and then in the
types; the places at which types begin are counted only as far as an answer needs.  Every reference is held against
the file's sizes first, so damage gives FormatError.
Source: Documentation/bpf/btf.rst; include/uapi/linux/btf.h; kernel/bpf/btf.c.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from bisect import bisect_left

from linscope.binfmt import btf_types as bt
from linscope.errors import FormatError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    Data: TypeAlias = bytes | mmap.mmap

VMLINUX = "/sys/kernel/btf/vmlinux"
_MAGIC = 0xEB9F
_HEADER = "HBBIIIII"  # struct btf_header
_HEADER_SIZE = 24
_MANY_WORDS = 300_000  # to count: more than it takes to read their file
_MOST_KEPT = 1 << 14  # types that are kept as they were decoded
_MAX_CHAIN = 64  # typedefs and qualifiers of one type; the kernel allows 32 (MAX_RESOLVE_DEPTH)
_MODIFIERS = {bt.KIND_TYPEDEF, bt.KIND_VOLATILE, bt.KIND_CONST, bt.KIND_RESTRICT, bt.KIND_TYPE_TAG}
_KEYWORDS = {bt.KIND_VOLATILE: "volatile", bt.KIND_CONST: "const", bt.KIND_RESTRICT: "restrict"}
# kind -> words behind the three of struct btf_type: once, and for each of vlen
_FIXED = {bt.KIND_INT: 1, bt.KIND_ARRAY: 3, bt.KIND_VAR: 1, bt.KIND_DECL_TAG: 1}
_EACH = {
    bt.KIND_STRUCT: 3, bt.KIND_UNION: 3, bt.KIND_ENUM: 2, bt.KIND_FUNC_PROTO: 2, bt.KIND_DATASEC: 3, bt.KIND_ENUM64: 3,
}  # fmt: skip


_SIZED = (
    bt.KIND_INT, bt.KIND_STRUCT, bt.KIND_UNION, bt.KIND_ENUM, bt.KIND_DATASEC, bt.KIND_FLOAT, bt.KIND_ENUM64,
)  # fmt: skip


class Btf:
    """The types of one kernel, module or object file, by id; ids count from 1, or go on where the base ends."""

    def __init__(self, data: Data, base: Btf | None = None, *, where: str = "", start: int = 0) -> None:
        """data: the whole BTF; it begins at start.  base: of the kernel, for the split BTF of a module.

        Raises FormatError when it is no BTF, or cut short.
        """
        self.where = where
        self.base = base
        self._data = data
        self._start = start
        header = data[start : start + _HEADER_SIZE]
        if len(header) < _HEADER_SIZE:
            raise FormatError("BTF header cut short", where=where, offset=start)
        order = "<" if header[:2] == _MAGIC.to_bytes(2, "little") else ">"
        magic, version, _flags, length, type_at, type_size, string_at, string_size = struct.unpack(
            order + _HEADER, header
        )
        if magic != _MAGIC or version != 1:
            raise FormatError("not BTF of version 1", where=where, offset=start)
        self.little_endian = order == "<"
        self._types_at: int = start + length + type_at
        self._types_end: int = self._types_at + type_size
        self._strings_at: int = start + length + string_at
        self._strings_end: int = self._strings_at + string_size
        if length < _HEADER_SIZE or type_size % 4 or max(self._types_end, self._strings_end) > len(data):
            raise FormatError("BTF sections beyond the end of the data", where=where, offset=start)
        if not string_size or data[self._strings_end - 1] or (base is None and data[self._strings_at]):
            raise FormatError("BTF strings do not begin or end with NUL", where=where, offset=self._strings_at)
        self._words = self._read_words()
        self._first_string: int = base.string_size if base is not None else 0  # name offsets below are the base's
        self._decoded: dict[int, bt.Type] = {}
        self._bare: dict[int, int] = {}
        self._places: Sequence[int] = []  # word at which each type begins, of those counted so far
        self._kept = False  # whether the places have been looked for in their file, or need not be
        self._counted_to = 0  # word
        self._steps: dict[int, int] = {}  # info of a type -> words that it takes

    @classmethod
    def open(cls, path: str = VMLINUX, base: Btf | None = None) -> Btf:
        """BTF of a file: as it is, in an ELF file's section ``.BTF``, or in a kernel image (bzImage).

        base: the kernel's, when path is of a module.  Raises OSError, FormatError, UnsupportedError.
        """
        data = _read_file(path)
        if data[:4] == b"\x7fELF":
            return cls(_elf_section(data[:], path), base, where=path)
        if data[0x202:0x206] == b"HdrS":
            from linscope.binfmt.kernel_image import extract_vmlinux

            return cls(_elf_section(extract_vmlinux(data[:], where=path), path), base, where=path)
        return cls(data, base, where=path)

    def __repr__(self) -> str:
        return f"<Btf {self.where or 'in memory'}: {self._types_end - self._types_at} bytes of types>"

    def __len__(self) -> int:
        """Number of types, with void and those of the base; the highest id is one less.  Raises FormatError."""
        self._count_to(len(self._words))
        return self.first_id + len(self._places)

    @property
    def first_id(self) -> int:
        """Id of the first type that is not the base's."""
        return len(self.base) if self.base is not None else 1

    @property
    def string_size(self) -> int:
        """Bytes of strings, with those of the base."""
        return self._first_string + self._strings_end - self._strings_at

    # -- where types begin

    def _read_words(self) -> Sequence[int]:
        types = memoryview(self._data)[self._types_at : self._types_end]
        if self.little_endian == (sys.byteorder == "little"):
            return types.cast("I")
        from array import array

        words = array("I", types.tobytes())
        words.byteswap()
        return words

    def _fail(self, what: str, word: int) -> FormatError:
        return FormatError(what, where=self.where, offset=self._types_at + 4 * word)

    def _count_to(self, word: int) -> None:
        """Count types until the one that begins at a word, or after it.  Raises FormatError at a damaged one."""
        if word - self._counted_to > _MANY_WORDS and not self._kept and self.where == VMLINUX:
            self._count_kept()
        if word < self._counted_to:
            return
        at, words, steps = self._counted_to, self._words, self._steps
        stop = min(word + 1, len(words))
        places: list[int] = []
        add = places.append
        while at < stop:
            try:
                while at < stop:
                    step = steps[words[at + 1]]
                    add(at)
                    at += step
            except KeyError:
                steps[words[at + 1]] = self._step(at)
            except IndexError:
                raise self._fail("BTF type cut short", at) from None
        if at > len(words):
            raise self._fail("BTF type cut short", places[-1])
        if places:
            assert isinstance(self._places, list)  # of the file: it has all
            self._places += places
        self._counted_to = at

    def _count_kept(self) -> None:
        """All places, from the file that keeps them; it is written when it is not there."""
        from linscope.binfmt.btf_places import load, store

        self._kept = True
        types = memoryview(self._data)[self._types_at : self._types_end]
        found = load(types)
        if found is not None:
            self._places, self._counted_to = found, len(self._words)
            return
        self._count_to(len(self._words))
        store(types, self._places)

    def _step(self, at: int) -> int:
        """Words of the type at a word.  Raises FormatError when there is no such kind."""
        info = self._words[at + 1]
        kind = info >> 24 & 0x1F
        if not kind or kind > bt.KIND_MAX or info & 0x60FF0000:
            raise self._fail(f"no BTF type: its info is {info:#x}", at)
        return 3 + _FIXED.get(kind, 0) + _EACH.get(kind, 0) * (info & 0xFFFF)

    def _place(self, type_id: int) -> int:
        """The word at which a type of our own begins.  Raises FormatError when there is none of that id."""
        number = type_id - self.first_id
        while number >= len(self._places):
            if self._counted_to >= len(self._words):
                raise FormatError(f"no BTF type {type_id}", where=self.where, offset=self._types_at)
            # three words are the least that a type has
            self._count_to(self._counted_to + 3 * (number - len(self._places)))
        return self._places[number]

    # -- names

    def _text(self, offset: int, word: int) -> str:
        """The string at an offset; word: of the type that names it, for the error."""
        if offset < self._first_string and self.base is not None:
            return self.base._text(offset, word)
        start = self._strings_at + offset - self._first_string
        if start >= self._strings_end:
            raise self._fail(f"BTF name at {offset} lies beyond the strings", word)
        return self._data[start : self._data.find(b"\0", start)].decode("utf-8", "replace")

    def _offsets_of(self, name: bytes) -> Iterator[int]:
        """Offsets of a string, in the base and here."""
        if self.base is not None:
            yield from self.base._offsets_of(name)
        wanted = name + b"\0"
        at = self._strings_at
        if not self._data[at : at + len(wanted)].startswith(wanted):
            at = self._data.find(b"\0" + wanted, at, self._strings_end) + 1
        while at:
            yield self._first_string + at - self._strings_at
            at = self._data.find(b"\0" + wanted, at, self._strings_end) + 1

    def find(self, name: str, kinds: tuple[int, ...] = ()) -> list[int]:
        """Ids of the types of a name, in order; empty when there is none.

        kinds: KIND_* to look for, all without.  "task_struct" finds struct task_struct (C's tags and other names
        are not told apart; kinds does).  Raises FormatError when a type in front of the found one is damaged.
        """
        found = self.base.find(name, kinds) if self.base is not None else []
        return found + sorted(self._iter_found(name, kinds))

    def _iter_found(self, name: str, kinds: tuple[int, ...]) -> Iterator[int]:
        """Ids of our own types of a name; in order, where every string is there once (in the kernel's BTF)."""
        encoded = name.encode()
        if not encoded or b"\0" in encoded:
            return
        order = "little" if self.little_endian else "big"
        first = self.first_id if self._words else 0
        for offset in self._offsets_of(encoded):
            packed = offset.to_bytes(4, order)  # type: ignore[arg-type]
            at = self._data.find(packed, self._types_at, self._types_end)
            while at >= 0:
                word, rest = divmod(at - self._types_at, 4)
                if not rest and (place := self._type_at(word, kinds)) >= 0:
                    yield first + place
                at = self._data.find(packed, at + 1, self._types_end)

    def find_enumerator(self, name: str) -> tuple[int, int] | None:
        """(id of the enum, value) of the first enumerator of a name; None: there is none.  Raises FormatError."""
        found = self.base.find_enumerator(name) if self.base is not None else None
        if found is not None or not name:
            return found
        order = "little" if self.little_endian else "big"
        best: tuple[int, int] | None = None
        for offset in self._offsets_of(name.encode()):
            packed = offset.to_bytes(4, order)  # type: ignore[arg-type]
            at = self._data.find(packed, self._types_at, self._types_end)
            while at >= 0:
                word, rest = divmod(at - self._types_at, 4)
                value = None if rest else self._enumerator_at(word)
                if value is not None and (best is None or value[0] < best[0]):
                    best = value
                    break
                at = self._data.find(packed, at + 1, self._types_end)
        return best

    def _enumerator_at(self, word: int) -> tuple[int, int] | None:
        """(id of the enum, value) of the enumerator that begins at this word; None: none does."""
        if word < 3 or word + 1 >= len(self._words):
            return None
        self._count_to(word)
        place = bisect_left(self._places, word + 1) - 1
        if place < 0:
            return None
        at = self._places[place]
        info = self._words[at + 1]
        kind, count = info >> 24 & 0x1F, info & 0xFFFF
        step = _EACH.get(kind, 0) if kind in (bt.KIND_ENUM, bt.KIND_ENUM64) else 0
        inside = word - at - 3
        if not step or inside < 0 or inside % step or inside // step >= count:
            return None
        value = self._words[word + 1]
        if kind == bt.KIND_ENUM64:
            value |= self._words[word + 2] << 32
            value = value - (1 << 64) if info >> 31 and value >> 63 else value
        elif info >> 31 and value >> 31:
            value -= 1 << 32
        return (self.first_id if self._words else 0) + place, value

    def _type_at(self, word: int, kinds: tuple[int, ...]) -> int:
        """Which of our own types begins at this word and is of one of the kinds; -1: none.

        Members, parameters and values begin with a name too, so most that cannot be a type is refused by its
        second word, and the rest by counting.
        """
        if word + 1 >= len(self._words):
            return -1
        info = self._words[word + 1]
        kind = info >> 24 & 0x1F
        if not kind or kind > bt.KIND_MAX or info & 0x60FF0000 or (kinds and kind not in kinds):
            return -1
        self._count_to(word)
        place = bisect_left(self._places, word)
        return place if place < len(self._places) and self._places[place] == word else -1

    def find_one(self, name: str, kinds: tuple[int, ...] = ()) -> int:
        """Id of the first type of a name; 0 when there is none.  See ``find``."""
        found = self.base.find_one(name, kinds) if self.base is not None else 0
        return found or next(self._iter_found(name, kinds), 0)

    def iter_ids(self, kind: int) -> Iterator[int]:
        """Ids of all types of a kind (KIND_*), those of the base first.  Raises FormatError."""
        if self.base is not None:
            yield from self.base.iter_ids(kind)
        self._count_to(len(self._words))
        words, first = self._words, self.first_id
        for number, place in enumerate(self._places):
            if words[place + 1] >> 24 & 0x1F == kind:
                yield first + number

    def iter_names(self, kind: int, prefix: str = "") -> Iterator[tuple[int, str]]:
        """(id, name) of our own types of a kind (KIND_*) whose names begin with a prefix.  Raises FormatError."""
        self._count_to(len(self._words))
        words, data, begin = self._words, self._data, prefix.encode()
        here = self._strings_at - self._first_string
        wanted, own = kind << 24, self.base is None
        first = self.first_id
        for number, place in enumerate(self._places):
            if words[place + 1] & 0x1F000000 != wanted:
                continue
            offset = words[place]
            if not own and offset < self._first_string:
                name = self._text(offset, place)
                if name.startswith(prefix):
                    yield first + number, name
                continue
            at = here + offset
            if not begin or data[at : at + len(begin)] == begin:
                yield first + number, data[at : data.find(b"\0", at)].decode("utf-8", "replace")

    # -- types

    def _locate(self, type_id: int) -> tuple[Btf, int]:
        """(whose type it is, word at which it begins).  Raises FormatError when there is none of that id."""
        if self.base is not None and type_id < self.first_id:
            return self.base._locate(type_id)
        if type_id < 1:
            raise FormatError(f"no BTF type {type_id}", where=self.where, offset=self._types_at)
        return self, self._place(type_id)

    def kind(self, type_id: int) -> int:
        """KIND_* of a type; KIND_VOID for 0.  Raises FormatError when there is none of that id."""
        if not type_id:
            return bt.KIND_VOID
        owner, at = self._locate(type_id)
        return owner._words[at + 1] >> 24 & 0x1F

    def size(self, type_id: int) -> int:
        """Bytes that a struct, union, enum, number or section says it has; 0 of others.  Raises FormatError."""
        if not type_id:
            return 0
        owner, at = self._locate(type_id)
        return owner._words[at + 2] if owner._words[at + 1] >> 24 & 0x1F in _SIZED else 0

    def name(self, type_id: int) -> str:
        """Name of a type, "" when it has none.  Raises FormatError."""
        if not type_id:
            return "void"
        owner, at = self._locate(type_id)
        return owner._text(owner._words[at], at)

    def type(self, type_id: int) -> bt.Type:
        """What a type is; ``Void()`` for 0.  Raises FormatError when there is none of that id, or it is damaged."""
        found = self._decoded.get(type_id)
        if found is None:
            if not type_id:
                return bt.Void()
            owner, at = self._locate(type_id)
            if len(self._decoded) >= _MOST_KEPT:
                self._decoded.clear()
            found = self._decoded[type_id] = owner._decode(at)
        return found

    def _decode(self, at: int) -> bt.Type:
        words = self._words
        name_at, info, size = words[at], words[at + 1], words[at + 2]
        kind, count, flag = info >> 24 & 0x1F, info & 0xFFFF, bool(info >> 31)
        name = self._text(name_at, at)
        if kind in (bt.KIND_STRUCT, bt.KIND_UNION):
            return bt.Struct(name, size, self._members(at, count, flag), kind == bt.KIND_UNION)
        if kind == bt.KIND_FUNC_PROTO:
            return self._prototype(at, count)
        if kind in (bt.KIND_ENUM, bt.KIND_ENUM64):
            return bt.Enum(name, size, flag, self._values(at, kind, count, flag))
        if kind == bt.KIND_DATASEC:
            spans = range(at + 3, at + 3 + 3 * count, 3)
            return bt.DataSection(name, size, tuple(bt.SectionVariable(*words[i : i + 3]) for i in spans))
        if kind == bt.KIND_INT:
            more = words[at + 3]
            return bt.Int(name, size, more & 0xFF, more >> 16 & 0xFF, more >> 24 & 0xF)
        if kind == bt.KIND_ARRAY:
            return bt.Array(*words[at + 3 : at + 6])
        if kind in _KEYWORDS:
            return bt.Qualifier(_KEYWORDS[kind], size)
        if kind == bt.KIND_DECL_TAG:
            component = words[at + 3]
            return bt.DeclTag(name, size, -1 if component == 0xFFFFFFFF else component)
        if kind == bt.KIND_FUNC:
            return bt.Func(name, size, count)
        if kind == bt.KIND_VAR:
            return bt.Var(name, size, words[at + 3])
        if kind == bt.KIND_FWD:
            return bt.Forward(name, flag)
        if kind == bt.KIND_PTR:
            return bt.Pointer(size)
        if kind == bt.KIND_FLOAT:
            return bt.Float(name, size)
        return bt.Typedef(name, size) if kind == bt.KIND_TYPEDEF else bt.TypeTag(name, size)

    def _members(self, at: int, count: int, bitfields: bool) -> tuple[bt.Member, ...]:
        words = self._words
        members = []
        for place in range(at + 3, at + 3 + 3 * count, 3):
            name, type_id, offset = words[place : place + 3]
            size = offset >> 24 if bitfields else 0
            members.append(bt.Member(self._text(name, at), type_id, offset & 0xFFFFFF if bitfields else offset, size))
        return tuple(members)

    def _prototype(self, at: int, count: int) -> bt.FuncProto:
        words = self._words
        found = [
            bt.Parameter(self._text(words[place], at), words[place + 1])
            for place in range(at + 3, at + 3 + 2 * count, 2)
        ]
        variadic = bool(found) and found[-1] == bt.Parameter("", 0)
        return bt.FuncProto(words[at + 2], tuple(found[:-1] if variadic else found), variadic)

    def _values(self, at: int, kind: int, count: int, signed: bool) -> tuple[tuple[str, int], ...]:
        words = self._words
        step = _EACH[kind]
        values = []
        for place in range(at + 3, at + 3 + step * count, step):
            value = words[place + 1] | (words[place + 2] << 32 if step == 3 else 0)
            if signed and value >> (32 * (step - 1) - 1):
                value -= 1 << 32 * (step - 1)
            values.append((self._text(words[place], at), value))
        return tuple(values)

    # -- through typedefs

    def resolve(self, type_id: int) -> int:
        """The type behind typedefs, const, volatile, restrict and type tags.  Raises FormatError at a circle."""
        found = self._bare.get(type_id)
        if found is not None:
            return found
        asked = type_id
        for _ in range(_MAX_CHAIN):
            if not type_id:
                return 0
            owner, at = self._locate(type_id)
            if owner._words[at + 1] >> 24 & 0x1F not in _MODIFIERS:
                if len(self._bare) >= _MOST_KEPT:
                    self._bare.clear()
                self._bare[asked] = type_id
                return type_id
            type_id = owner._words[at + 2]
        raise FormatError(f"BTF type {type_id} is behind a circle of typedefs", where=self.where, offset=self._types_at)


def _read_file(path: str) -> Data:
    """The whole file; mapped where the file system can, for sysfs gives a page a read."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        try:
            return mmap.mmap(fd, size, mmap.MAP_PRIVATE | mmap.MAP_POPULATE, mmap.PROT_READ)
        except (OSError, ValueError):  # ENODEV: sysfs before v6.16; ValueError: an empty file
            parts = []
            while part := os.read(fd, 1 << 20):
                parts.append(part)
            return b"".join(parts)
    finally:
        os.close(fd)


def _elf_section(image: bytes, where: str) -> bytes:
    from linscope.binfmt.elf import ElfFile  # numpy: only for who reads ELF files

    with ElfFile(image, where=where) as elf:
        section = elf.section(".BTF")
        if section is None:
            raise FormatError("ELF file without a .BTF section", where=where)
        return elf.section_bytes(section)
