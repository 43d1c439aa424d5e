"""DWARF debug information, as much as is asked for: the unit of an address, its entries, their attributes.

Read lazily: a unit is found by .debug_aranges or by the ranges of its first entry, and only that unit is walked.
Versions 2 to 5, in the file itself (not in .dwo files; what a dwz file shares is not followed).
Source: DWARF 5, section 7, for forms, attributes and headers; elf(5).
"""

from __future__ import annotations

from linscope.errors import FormatError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.binfmt.elf_view import ElfView

# DW_TAG_*
ARRAY, CLASS, ENUMERATION, PARAMETER, MEMBER, POINTER, UNIT = 0x01, 0x02, 0x04, 0x05, 0x0D, 0x0F, 0x11
REFERENCE, STRUCTURE, SUBROUTINE_TYPE, TYPEDEF, UNION, UNSPECIFIED = 0x10, 0x13, 0x15, 0x16, 0x17, 0x18
INHERITANCE, SUBRANGE, BASE, CONST, ENUMERATOR, SUBPROGRAM = 0x1C, 0x21, 0x24, 0x26, 0x28, 0x2E
VOLATILE, RESTRICT, NAMESPACE, RVALUE_REFERENCE, ATOMIC = 0x35, 0x37, 0x39, 0x42, 0x47
# DW_AT_*
AT_SIBLING, AT_NAME, AT_BYTE_SIZE, AT_BIT_OFFSET, AT_BIT_SIZE = 0x01, 0x03, 0x0B, 0x0C, 0x0D
AT_STMT_LIST, AT_LOW_PC, AT_HIGH_PC, AT_COMP_DIR, AT_CONST_VALUE = 0x10, 0x11, 0x12, 0x1B, 0x1C
AT_UPPER_BOUND, AT_ABSTRACT_ORIGIN, AT_COUNT, AT_MEMBER_LOCATION = 0x2F, 0x31, 0x37, 0x38
AT_DECLARATION, AT_ENCODING, AT_EXTERNAL, AT_SPECIFICATION, AT_TYPE = 0x3C, 0x3E, 0x3F, 0x47, 0x49
AT_RANGES, AT_SIGNATURE, AT_DATA_BIT_OFFSET, AT_LINKAGE_NAME = 0x55, 0x69, 0x6B, 0x6E
_AT_STR_OFFSETS_BASE, _AT_ADDR_BASE, _AT_RNGLISTS_BASE = 0x72, 0x73, 0x74
# DW_ATE_*
BOOLEAN, COMPLEX, FLOAT, SIGNED, SIGNED_CHAR, UNSIGNED, UNSIGNED_CHAR = 2, 3, 4, 5, 6, 7, 8
_SKELETON, _SPLIT_COMPILE, _TYPE, _SPLIT_TYPE = 4, 5, 2, 6  # DW_UT_*
_DEEPEST = 256

# DW_FORM_* -> bytes
_SIZES = {
    0x03: -1, 0x04: -1, 0x05: 2, 0x06: 4, 0x07: 8, 0x08: -1, 0x09: -1, 0x0A: -1, 0x0B: 1, 0x0C: 1, 0x0D: -1,
    0x0F: -1, 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x15: -1, 0x16: -1, 0x18: -1, 0x19: 0, 0x1A: -1, 0x1B: -1,
    0x1C: 4, 0x1E: 16, 0x20: 8, 0x21: 0, 0x22: -1, 0x23: -1, 0x24: 8, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4,
    0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4,
}  # fmt: skip
_OFFSETS = (0x0E, 0x17, 0x1D, 0x1F, 0x1F20, 0x1F21)  # forms of the size of an offset: strp, sec_offset, line_strp ...
_ADDRESS, _REF_ADDR, _REF_SIGNATURE = 0x01, 0x10, 0x20


class Die:
    """A debugging information entry.  attributes: DW_AT_* -> number, bytes, or text; offset: in .debug_info."""

    __slots__ = ("attributes", "end", "forms", "has_children", "offset", "tag", "unit")

    def __init__(self, unit: Unit, offset: int, tag: int, has_children: bool) -> None:
        self.unit, self.offset, self.tag, self.has_children = unit, offset, tag, has_children
        self.attributes: dict[int, int | bytes | str] = {}
        self.forms: dict[int, int] = {}
        self.end = 0  # offset behind the attributes

    def number(self, attribute: int, default: int = 0) -> int:
        """A number; default when there is none."""
        value = self.attributes.get(attribute)
        return value if isinstance(value, int) else default

    @property
    def name(self) -> str:
        """DW_AT_name, also of what the entry is an instance of; "" without."""
        for die in self.chain():
            value = die.attributes.get(AT_NAME)
            if isinstance(value, str):
                return value
        return ""

    def chain(self) -> Iterator[Die]:
        """The entry, then what it is an instance of (abstract origin, specification)."""
        die: Die | None = self
        for _ in range(4):
            if die is None:
                return
            yield die
            origin = AT_ABSTRACT_ORIGIN if AT_ABSTRACT_ORIGIN in die.attributes else AT_SPECIFICATION
            die = die.reference(origin)

    def reference(self, attribute: int) -> Die | None:
        """The entry that an attribute refers to; None: there is none."""
        value = self.attributes.get(attribute)
        if not isinstance(value, int):
            return None
        form = self.forms[attribute]
        if form == _REF_ADDR:
            return self.unit.dwarf.die(value)
        if form == _REF_SIGNATURE:
            return self.unit.dwarf.type_of_signature(value)
        return self.unit.die(self.unit.offset + value) if 0x11 <= form <= 0x15 else None

    @property
    def type(self) -> Die | None:
        """The entry of its type, also that of what the entry is an instance of; None: void."""
        for die in self.chain():
            if AT_TYPE in die.attributes:
                return die.reference(AT_TYPE)
        return None

    def children(self) -> Iterator[Die]:
        """The entries directly inside.  Raises FormatError."""
        if self.has_children:
            yield from self.unit.siblings(self.end)


class Unit:
    """A unit of .debug_info."""

    def __init__(self, dwarf: Dwarf, offset: int) -> None:
        """Raises FormatError."""
        self.dwarf, self.offset = dwarf, offset
        data = dwarf.info
        length, at, self.offset_size = dwarf.initial_length(data, offset)
        self.end = at + length
        if self.end > len(data) or length < 12:
            raise dwarf.damaged("a unit beyond the end of .debug_info", offset)
        self.version = dwarf.number(data, at, 2)
        at += 2
        self.kind, self.signature, self.type_offset = 1, 0, 0
        if self.version >= 5:
            self.kind, self.address_size = data[at], data[at + 1]
            abbreviations = dwarf.number(data, at + 2, self.offset_size)
            at += 2 + self.offset_size
            if self.kind in (_TYPE, _SPLIT_TYPE):
                self.signature = dwarf.number(data, at, 8)
                self.type_offset = dwarf.number(data, at + 8, self.offset_size)
            at += {_SKELETON: 8, _SPLIT_COMPILE: 8, _TYPE: 8 + self.offset_size, _SPLIT_TYPE: 8 + self.offset_size}.get(
                self.kind, 0
            )
        else:
            abbreviations, self.address_size = dwarf.number(data, at, self.offset_size), data[at + self.offset_size]
            at += self.offset_size + 1
        self.first = at
        self.abbreviations = dwarf.abbreviations(abbreviations, self.offset_size, self.address_size, self.version)
        self.bases: dict[int, int] = {}
        self._root: Die | None = None

    @property
    def root(self) -> Die:
        """The entry of the unit itself.  Raises FormatError."""
        if self._root is None:
            for attribute in (_AT_STR_OFFSETS_BASE, _AT_ADDR_BASE, _AT_RNGLISTS_BASE):
                self.bases[attribute] = 8 if self.offset_size == 4 else 16
            found = self.die(self.first)
            if any(base in found.attributes for base in self.bases):  # which its own strings may need
                self.bases.update({base: found.number(base, self.bases[base]) for base in self.bases})
                found = self.die(self.first)
            self._root = found
        return self._root

    def die(self, offset: int) -> Die:
        """The entry at an offset in .debug_info.  Raises FormatError."""
        if not self.first <= offset < self.end:
            raise self.dwarf.damaged("a reference out of its unit", offset)
        try:
            return self._read(offset)
        except (IndexError, ValueError, RecursionError):
            raise self.dwarf.damaged("an entry that cannot be", offset) from None

    def _read(self, offset: int) -> Die:
        data = self.dwarf.info
        code, at = uleb(data, offset)
        found = self.abbreviations.get(code)
        if found is None:
            raise self.dwarf.damaged(f"abbreviation {code} is not declared", offset)
        tag, has_children, attributes, _ = found
        die = Die(self, offset, tag, has_children)
        for attribute, form, implicit in attributes:
            value, at = self._value(form, at, implicit)
            die.attributes[attribute] = value
            die.forms[attribute] = form
        die.end = at
        return die

    def siblings(self, offset: int) -> Iterator[Die]:
        """The entries from an offset on, up to the end of their parent.  Raises FormatError."""
        while offset < self.end and self.dwarf.info[offset]:
            die = self.die(offset)
            yield die
            offset = self._behind(die)

    def _behind(self, die: Die) -> int:
        """Offset behind an entry and all that is in it."""
        if not die.has_children:
            return die.end
        sibling = die.attributes.get(AT_SIBLING)
        if isinstance(sibling, int) and die.offset < self.offset + sibling <= self.end:
            return self.offset + sibling
        return self._skip(die.end)

    def _skip(self, at: int) -> int:
        """Offset behind the end of the children that begin at an offset."""
        try:
            return self._skipped(at)
        except (IndexError, ValueError, RecursionError):
            raise self.dwarf.damaged("entries that cannot be", at) from None

    def _skipped(self, at: int) -> int:
        data, abbreviations = self.dwarf.info, self.abbreviations
        depth = 1
        while at < self.end:
            code = data[at]
            at += 1
            if code & 0x80:
                code, at = uleb(data, at - 1)
            if not code:
                depth -= 1
                if not depth:
                    return at
                continue
            found = abbreviations.get(code)
            if found is None:
                raise self.dwarf.damaged(f"abbreviation {code} is not declared", at)
            _, has_children, attributes, total = found
            if total >= 0:
                at += total
            else:
                for _, form, implicit in attributes:
                    _, at = self._value(form, at, implicit)
            depth += has_children
            if depth > _DEEPEST:
                raise self.dwarf.damaged("entries too deep in each other", at)
        raise self.dwarf.damaged("entries without an end", at)

    def _value(self, form: int, at: int, implicit: int) -> tuple[int | bytes | str, int]:
        """(value, offset behind it) of an attribute."""
        dwarf = self.dwarf
        data = dwarf.info
        size = _size(form, self.offset_size, self.address_size, self.version)
        if size >= 0:
            if form == 0x19:
                return 1, at
            if form == 0x21:
                return implicit, at
            value = dwarf.number(data, at, size) if size <= 8 else 0
            at += size
            if form == 0x0E:
                return dwarf.text(dwarf.strings, value), at
            if form == 0x1F:
                return dwarf.text(dwarf.line_strings, value), at
            if 0x25 <= form <= 0x28:
                return self._indexed_text(value), at
            if 0x29 <= form <= 0x2C:
                return self._indexed_address(value), at
            return value, at
        if form == 0x08:
            end = data.find(b"\0", at)
            return data[at:end].decode("utf-8", "replace"), end + 1
        if form == 0x0D:
            return sleb(data, at)
        if form in (0x0F, 0x15, 0x1A, 0x1B, 0x22, 0x23):
            value, at = uleb(data, at)
            if form == 0x1A:
                return self._indexed_text(value), at
            if form == 0x1B:
                return self._indexed_address(value), at
            if form == 0x23:
                return self._range_list(value), at
            return value, at
        if form in (0x03, 0x04, 0x09, 0x0A, 0x18):
            if form in (0x09, 0x18):
                length, at = uleb(data, at)
            else:
                step = {0x0A: 1, 0x03: 2, 0x04: 4}[form]
                length, at = dwarf.number(data, at, step), at + step
            return data[at : at + length], at + length
        if form == 0x16:
            form, at = uleb(data, at)
            if form != 0x16:
                return self._value(form, at, 0)
        raise dwarf.damaged(f"form {form:#x} is not known", at)

    def _indexed_text(self, index: int) -> str:
        at = self.bases.get(_AT_STR_OFFSETS_BASE, 8) + index * self.offset_size
        table = self.dwarf.section(".debug_str_offsets")
        if at + self.offset_size > len(table):
            return ""
        return self.dwarf.text(self.dwarf.strings, self.dwarf.number(table, at, self.offset_size))

    def _indexed_address(self, index: int) -> int:
        at = self.bases.get(_AT_ADDR_BASE, 8) + index * self.address_size
        table = self.dwarf.section(".debug_addr")
        return self.dwarf.number(table, at, self.address_size) if at + self.address_size <= len(table) else 0

    def _range_list(self, index: int) -> int:
        base = self.bases.get(_AT_RNGLISTS_BASE, 0)
        table, at = self.dwarf.section(".debug_rnglists"), base + index * self.offset_size
        return base + self.dwarf.number(table, at, self.offset_size) if at + self.offset_size <= len(table) else 0

    # -- addresses

    def contains(self, die: Die, address: int) -> bool:
        """Whether an entry's code is at an address."""
        low = die.number(AT_LOW_PC)
        if AT_HIGH_PC in die.attributes:
            high = die.number(AT_HIGH_PC)
            high = high if die.forms[AT_HIGH_PC] == _ADDRESS else low + high
            return low <= address < high
        if AT_RANGES in die.attributes:
            return any(start <= address < end for start, end in self._ranges(die.number(AT_RANGES), low))
        return False

    def _ranges(self, at: int, base: int) -> Iterator[tuple[int, int]]:
        """Source: DWARF 5, 2.17.3; of .debug_ranges DWARF 4, 2.17.3."""
        dwarf, size = self.dwarf, self.address_size
        if self.version < 5:
            data = dwarf.section(".debug_ranges")
            while at + 2 * size <= len(data):
                start, end = dwarf.number(data, at, size), dwarf.number(data, at + size, size)
                at += 2 * size
                if start == (1 << 8 * size) - 1:
                    base = end
                elif not start and not end:
                    return
                else:
                    yield base + start, base + end
            return
        data = dwarf.section(".debug_rnglists")
        while at < len(data):
            kind = data[at]
            at += 1
            if not kind or kind > 7:
                return
            if kind in (5, 6, 7):
                start, at = dwarf.number(data, at, size), at + size
            else:
                start, at = uleb(data, at)
                if kind != 4:
                    start = self._indexed_address(start)
            if kind in (1, 5):  # a new base
                base = start
                continue
            if kind == 6:
                end, at = dwarf.number(data, at, size), at + size
            else:
                end, at = uleb(data, at)
            if kind == 4:
                yield base + start, base + end
            else:
                yield start, self._indexed_address(end) if kind == 2 else end if kind == 6 else start + end


class Dwarf:
    """The debug information of one file."""

    def __init__(self, elf: ElfView) -> None:
        """elf: stays the caller's.  Raises FormatError."""
        self.elf = elf
        self.byte_order = "little" if elf.order == "<" else "big"
        self._sections: dict[str, bytes] = {}
        self._abbreviations: dict[
            tuple[int, int, int, int], dict[int, tuple[int, bool, list[tuple[int, int, int]], int]]
        ] = {}
        self._units: dict[int, Unit] = {}
        self.info = self.section(".debug_info")
        self.strings = self.section(".debug_str")
        self.line_strings = self.section(".debug_line_str")

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.info)

    def section(self, name: str) -> bytes:
        """A section's bytes, empty when there is none.  Raises FormatError."""
        if name not in self._sections:
            found = self.elf.section(name)
            self._sections[name] = self.elf.section_bytes(found) if found is not None else b""
        return self._sections[name]

    def damaged(self, what: str, offset: int) -> FormatError:
        """The error of debug information that cannot be."""
        return FormatError(what, where=self.elf.path, offset=offset)

    def number(self, data: bytes, at: int, size: int) -> int:
        """An unsigned number of ``size`` bytes."""
        return int.from_bytes(data[at : at + size], self.byte_order)  # type: ignore[arg-type]

    def text(self, table: bytes, at: int) -> str:
        """The text that begins at a place and ends at a NUL."""
        end = table.find(b"\0", at)
        return table[at : end if end >= 0 else at].decode("utf-8", "replace")

    def initial_length(self, data: bytes, at: int) -> tuple[int, int, int]:
        """(length, offset behind it, bytes of an offset) at the start of a unit."""
        length = self.number(data, at, 4)
        if length == 0xFFFFFFFF:
            return self.number(data, at + 4, 8), at + 12, 8
        return length, at + 4, 4

    def abbreviations(
        self, at: int, offset_size: int, address_size: int, version: int
    ) -> dict[int, tuple[int, bool, list[tuple[int, int, int]], int]]:
        """code -> (tag, has children, [(attribute, form, value of implicit_const)], bytes or -1) of a table."""
        key = at, offset_size, address_size, version
        if key in self._abbreviations:
            return self._abbreviations[key]
        data = self.section(".debug_abbrev")
        found: dict[int, tuple[int, bool, list[tuple[int, int, int]], int]] = {}
        while at < len(data):
            code, at = uleb(data, at)
            if not code:
                break
            tag, at = uleb(data, at)
            children = at < len(data) and data[at] == 1
            at += 1
            attributes, total = [], 0
            while at < len(data):
                attribute, at = uleb(data, at)
                form, at = uleb(data, at)
                implicit = 0
                if form == 0x21:
                    implicit, at = sleb(data, at)
                if not attribute and not form:
                    break
                attributes.append((attribute, form, implicit))
                size = _size(form, offset_size, address_size, version)
                total = total + size if total >= 0 and size >= 0 else -1
            found[code] = tag, children, attributes, total
        self._abbreviations[key] = found
        return found

    def unit(self, offset: int) -> Unit:
        """The unit that begins at an offset in .debug_info.  Raises FormatError."""
        if offset not in self._units:
            self._units[offset] = Unit(self, offset)
        return self._units[offset]

    def units(self) -> Iterator[Unit]:
        """All units, in order; their entries are not read.  Raises FormatError."""
        at = 0
        while at + 11 <= len(self.info):
            unit = self.unit(at)
            yield unit
            at = unit.end

    def die(self, offset: int) -> Die | None:
        """The entry at an offset in .debug_info, of whatever unit it is."""
        return next((unit.die(offset) for unit in self.units() if unit.first <= offset < unit.end), None)

    def type_of_signature(self, signature: int) -> Die | None:
        """The type that has a unit of its own (-fdebug-types-section); None: it is not in the file."""
        for unit in self.units():
            if unit.signature == signature and unit.type_offset:
                return unit.die(unit.offset + unit.type_offset)
        return None

    def _by_table(self, address: int) -> Unit | None:
        """The unit of an address by .debug_aranges.  Source: DWARF 5, 6.1.2."""
        data, at = self.section(".debug_aranges"), 0
        while at + 12 <= len(data):
            length, body, offset_size = self.initial_length(data, at)
            end = min(body + length, len(data))
            unit = self.number(data, body + 2, offset_size)
            size = self.number(data, body + 2 + offset_size, 1)
            first = body + 4 + offset_size
            first += -(first - at) % (2 * size or 1)
            for place in range(first, end - 2 * size + 1, 2 * size or 1):
                start, count = self.number(data, place, size), self.number(data, place + size, size)
                if start <= address < start + count:
                    return self.unit(unit)
            at = max(end, at + 12)
        return None

    def unit_at(self, address: int) -> Unit | None:
        """The unit whose code is at an address as linked; None: none.  Raises FormatError."""
        found = self._by_table(address)
        if found is not None:
            return found
        return next((unit for unit in self.units() if unit.contains(unit.root, address)), None)

    def subprogram_at(self, address: int) -> Die | None:
        """The function that begins at an address as linked; None: it is not described.  Raises FormatError."""
        unit = self.unit_at(address)
        if unit is None:
            return None
        waiting = [unit.root]
        while waiting:
            for die in waiting.pop().children():
                if die.tag == SUBPROGRAM and die.attributes.get(AT_LOW_PC) == address:
                    return die
                if die.tag in (NAMESPACE, STRUCTURE, CLASS) and die.has_children:
                    waiting.append(die)
        return None


def _size(form: int, offset_size: int, address_size: int, version: int) -> int:
    """Bytes of a form; -1: its own bytes tell."""
    if form in _OFFSETS:
        return offset_size
    if form == _ADDRESS:
        return address_size
    if form == _REF_ADDR:
        return address_size if version < 3 else offset_size
    return _SIZES.get(form, -1)


def uleb(data: bytes, at: int) -> tuple[int, int]:
    """(unsigned LEB128, offset behind it).  Raises FormatError where the data end first."""
    value = shift = 0
    try:
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value, at
            shift += 7
    except IndexError:
        raise FormatError("debug information cut short", offset=at) from None


def sleb(data: bytes, at: int) -> tuple[int, int]:
    """(signed LEB128, offset behind it).  Raises FormatError where the data end first."""
    value, end = uleb(data, at)
    bits = 7 * (end - at)
    return value - (1 << bits) if value >> (bits - 1) else value, end
