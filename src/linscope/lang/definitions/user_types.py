"""Types of a program's debug information -> types: lazily, each once.  Their pointers are the process's."""

from __future__ import annotations

from linscope.binfmt import dwarf as dw
from linscope.binfmt.dwarf import Die, uleb
from linscope.lang import types as t

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator

_TAGS = {dw.STRUCTURE: "struct", dw.CLASS: "struct", dw.UNION: "union", dw.ENUMERATION: "enum"}
_PASSED = (dw.CONST, dw.VOLATILE, dw.RESTRICT, dw.ATOMIC)
_POINTERS = (dw.POINTER, dw.REFERENCE, dw.RVALUE_REFERENCE)
_PLUS_CONSTANT = 0x23  # DW_OP_plus_uconst
_DEEPEST = 32


class UserTypes:
    """The types of one file."""

    def __init__(self) -> None:
        self._known: dict[int, t.Type] = {}

    def type(self, die: Die | None, depth: int = 0) -> t.Type:
        """The type of an entry; None is void.  Raises FormatError."""
        if die is None or depth > _DEEPEST:
            return t.VOID
        known = self._known.get(die.offset)
        if known is None:
            known = self._known[die.offset] = self._convert(die, depth)
        return known

    def _convert(self, die: Die, depth: int) -> t.Type:
        if dw.AT_SIGNATURE in die.attributes:  # declared here, defined in a unit of its own
            die = die.reference(dw.AT_SIGNATURE) or die
        tag, size = die.tag, die.number(dw.AT_BYTE_SIZE)
        if tag == dw.BASE:
            return _base(die, size)
        if tag in _POINTERS:
            return t.Pointer.lazy(lambda: self.type(die.type), t.USER)
        if tag in (dw.STRUCTURE, dw.CLASS, dw.UNION):
            return t.Struct(die.name, size, lambda: self._fields(die), _TAGS[tag])
        if tag == dw.ENUMERATION:
            return self._enum(die, size)
        if tag == dw.ARRAY:
            return self._array(die, depth)
        if tag == dw.TYPEDEF:
            inner = self.type(die.type, depth + 1)
            if isinstance(inner, t.Struct) and not inner.name:  # typedef struct { ... } name;
                return t.Struct(die.name, inner.width, inner.read_fields, inner.tag)
            return t.Int(inner.size, inner.signed, die.name) if isinstance(inner, t.Int) else inner
        if tag in _PASSED:
            return self.type(die.type, depth + 1)
        return t.VOID

    def _enum(self, die: Die, size: int) -> t.Type:
        values: dict[int, str] = {}
        for child in die.children():
            if child.tag == dw.ENUMERATOR:
                values.setdefault(child.number(dw.AT_CONST_VALUE), child.name)
        return t.Enum(die.name, size or 4, any(value < 0 for value in values), values)

    def _array(self, die: Die, depth: int) -> t.Type:
        counts = []
        for child in die.children():
            if child.tag == dw.SUBRANGE:
                upper = child.attributes.get(dw.AT_UPPER_BOUND)
                count = child.number(dw.AT_COUNT, upper + 1 if isinstance(upper, int) else 0)
                counts.append(count if count < 1 << 31 else 0)  # int a[0] has the bound -1
        made = self.type(die.type, depth + 1)
        for place, count in enumerate(reversed(counts)):
            characters = not place and isinstance(made, t.Int) and made.name == "char" and count
            made = t.String(count) if characters else t.Array(made, count)
        return made

    def _fields(self, die: Die) -> list[t.Field]:
        fields = []
        for child in die.children():
            if child.tag == dw.INHERITANCE:
                fields.append(t.Field("", self.type(child.type), _location(child)))
            elif child.tag == dw.MEMBER and (dw.AT_DECLARATION not in child.attributes):
                fields.append(self._field(child))
        return fields

    def _field(self, die: Die) -> t.Field:
        type, at = self.type(die.type), _location(die)
        bits = die.number(dw.AT_BIT_SIZE)
        if not bits:
            return t.Field(die.name, type, at)
        unit = max(type.size, 1)
        if dw.AT_DATA_BIT_OFFSET in die.attributes:
            place = die.number(dw.AT_DATA_BIT_OFFSET)
        else:  # counted from the highest bit of the storage unit
            place = 8 * (at + die.number(dw.AT_BYTE_SIZE, unit)) - die.number(dw.AT_BIT_OFFSET) - bits
        offset = place // (8 * unit) * unit
        return t.Field(die.name, type, offset, place - 8 * offset, bits)


def _base(die: Die, size: int) -> t.Type:
    encoding = die.number(dw.AT_ENCODING)
    if encoding == dw.BOOLEAN:
        return t.BOOL
    if encoding in (dw.FLOAT, dw.COMPLEX):
        return t.Void(size)
    if size not in (1, 2, 4, 8):
        return t.Array(t.UINT8, size)
    return t.Int(size, encoding in (dw.SIGNED, dw.SIGNED_CHAR), die.name)


def _location(die: Die) -> int:
    """Where a member lies in its struct, bytes."""
    value = die.attributes.get(dw.AT_MEMBER_LOCATION, 0)
    if isinstance(value, bytes):
        return uleb(value, 1)[0] if value[:1] == bytes([_PLUS_CONSTANT]) else 0
    return value if isinstance(value, int) else 0


def type_text(die: Die | None, depth: int = 0) -> str:
    """How C calls the type of an entry: ``struct file *``."""
    if die is None:
        return "void"
    if depth > _DEEPEST:
        return "?"
    if die.tag == dw.POINTER:
        inner = type_text(die.type, depth + 1)
        return f"{inner}*" if inner.endswith("*") else f"{inner} *"
    if die.tag in (dw.REFERENCE, dw.RVALUE_REFERENCE):
        return f"{type_text(die.type, depth + 1)} {'&' if die.tag == dw.REFERENCE else '&&'}"
    if die.tag in _PASSED:
        word = {dw.CONST: "const", dw.VOLATILE: "volatile", dw.RESTRICT: "restrict"}.get(die.tag, "_Atomic")
        inner = type_text(die.type, depth + 1)
        return f"{inner} {word}" if inner.endswith("*") else f"{word} {inner}"
    if die.tag == dw.ARRAY:
        return f"{type_text(die.type, depth + 1)} []"
    if die.tag == dw.SUBROUTINE_TYPE:
        shown = ", ".join(type_text(child.type, depth + 1) for child in die.children() if child.tag == dw.PARAMETER)
        return f"{type_text(die.type, depth + 1)} ({shown or 'void'})"
    if die.tag in _TAGS:
        return f"{_TAGS[die.tag]} {die.name or '{...}'}"
    return die.name or "?"


def find_named(dwarf: dw.Dwarf, tag: str | None, name: str) -> Die | None:
    """The entry of a struct, union, enum (by ``tag``) or typedef (None) of a name; None: there is none.

    Only units in which the name can be are walked.  Raises FormatError.
    """
    tags = [number for number, word in _TAGS.items() if word == tag] if tag else [dw.TYPEDEF, dw.BASE]
    for unit in _units_with(dwarf, name):
        waiting = [unit.root]
        while waiting:
            for die in waiting.pop().children():
                if die.tag in tags and die.attributes.get(dw.AT_NAME) == name:
                    if dw.AT_DECLARATION not in die.attributes:
                        return die
                elif die.tag == dw.NAMESPACE:
                    waiting.append(die)
    return None


def _units_with(dwarf: dw.Dwarf, name: str) -> Iterator[dw.Unit]:
    """The units in which the bytes of a name, or of its place among the strings, occur."""
    wanted = name.encode() + b"\0"
    at = dwarf.strings.find(wanted)
    needles = [wanted]
    while at >= 0:
        needles.append(at.to_bytes(4, dwarf.byte_order))  # type: ignore[arg-type]
        at = dwarf.strings.find(wanted, at + 1)
    indexed = bool(dwarf.section(".debug_str_offsets"))  # names are numbers then: any unit may have it
    for unit in dwarf.units():
        if indexed or any(dwarf.info.find(needle, unit.first, unit.end) >= 0 for needle in needles):
            yield unit
