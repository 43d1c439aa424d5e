"""Structs, unions and enums of BTF as the C that could define them, in the form of ``bpftool btf dump format c``.

Without comments; members that only fill gaps are left out.  btf_text.py has the form that shows the layout.
"""

from __future__ import annotations

from linscope.binfmt import btf_types as bt
from linscope.errors import FormatError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.binfmt.btf import Btf

_DEEPEST = 32


def definition(btf: Btf, type_id: int) -> str:
    """``struct name { ... };`` of a struct, union or enum, without a newline at its end.  Raises FormatError."""
    return _Writer(btf).body(type_id, 0, 0) + ";"


def declaration(btf: Btf, type_id: int, name: str = "") -> str:
    """How C declares something of a type: ``struct file *file``, ``int (*show)(int)``.  Raises FormatError."""
    return _Writer(btf).declare(type_id, name, 0, 0)


class _Writer:
    """Writes the types of one BTF."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf

    def body(self, type_id: int, level: int, depth: int) -> str:
        """The definition with braces; level: tabs in front of the lines inside, less one."""
        if depth > _DEEPEST:
            raise FormatError("BTF types lie in each other in a circle", where=self.btf.where)
        found = self.btf.type(type_id)
        inner, end = "\t" * (level + 1), "\t" * level + "}"
        if isinstance(found, bt.Enum):
            head = f"enum {found.name}".rstrip()
            lines = [f"{inner}{name} = {self._value(value, found)},\n" for name, value in found.values]
            return f"{head} {{\n{''.join(lines)}{end}"
        if not isinstance(found, bt.Struct):
            raise FormatError(f"BTF type {type_id} is no struct, union or enum", where=self.btf.where)
        head = f"{'union' if found.is_union else 'struct'} {found.name}".rstrip()
        if not found.members:
            return f"{head} {{}}"
        lines = []
        for member in found.members:
            bits = f": {member.bitfield_size}" if member.bitfield_size else ""
            lines.append(f"{inner}{self.declare(member.type, member.name, level + 1, depth + 1)}{bits};\n")
        packed = " __attribute__((packed))" if self._is_packed(found) else ""
        return f"{head} {{\n{''.join(lines)}{end}{packed}"

    def _value(self, value: int, found: bt.Enum) -> str:
        unsigned = "ULL" if found.size == 8 and not found.signed else ""
        return f"{value}{'LL' if found.size == 8 and found.signed else unsigned}"

    def declare(self, type_id: int, name: str, level: int, depth: int) -> str:
        """A type and a name, inside out: name, then arrays, functions and stars around it."""
        text, qualifiers = name, ""
        for _ in range(4 * _DEEPEST):
            found = self.btf.type(type_id)
            if isinstance(found, bt.Pointer):
                space = " " if qualifiers or text.startswith("(") else ""
                text, type_id, qualifiers = f"*{space}{qualifiers}{text}".rstrip(), found.target, ""
            elif isinstance(found, bt.Array):
                text = f"({text})" if text.startswith("*") else text
                text, type_id = f"{text}[{found.length}]", found.element
            elif isinstance(found, bt.FuncProto):
                text = f"({text})" if text.startswith("*") else text
                text, type_id = f"{text}({self._parameters(found, level, depth)})", found.returns
            elif isinstance(found, bt.Qualifier):
                word = f"{found.keyword} "  # of an array and again of its elements: once
                qualifiers += "" if word in qualifiers else word
                type_id = found.target
            elif isinstance(found, bt.TypeTag):
                type_id = found.target
            else:
                return f"{qualifiers}{self._base(type_id, level, depth)} {text}".rstrip()
        raise FormatError("BTF types lie in each other in a circle", where=self.btf.where)

    def _base(self, type_id: int, level: int, depth: int) -> str:
        """What stands in front of the name."""
        found = self.btf.type(type_id)
        if isinstance(found, bt.Struct | bt.Enum):
            if not found.name:
                return self.body(type_id, level, depth)
            return f"{self._tag(found)} {found.name}"
        if isinstance(found, bt.Forward):
            return f"{'union' if found.is_union else 'struct'} {found.name}"
        return self.btf.name(type_id)

    def _tag(self, found: bt.Struct | bt.Enum) -> str:
        if isinstance(found, bt.Enum):
            return "enum"
        return "union" if found.is_union else "struct"

    def _parameters(self, proto: bt.FuncProto, level: int, depth: int) -> str:
        if depth > _DEEPEST:
            raise FormatError("BTF types lie in each other in a circle", where=self.btf.where)
        shown = [self.declare(one.type, one.name, level, depth + 1) for one in proto.parameters]
        return ", ".join([*shown, "..."] if proto.variadic else shown) or "void"

    # -- packed

    def _is_packed(self, found: bt.Struct) -> bool:
        """Whether a member lies where its alignment would not have it."""
        if found.is_union:
            return False
        align = 1
        for member in found.members:
            own = self._align(member.type, 0)
            align = max(align, own)
            if not member.bitfield_size and member.bit_offset % (8 * own):
                return True
        return bool(found.size % align)

    def _align(self, type_id: int, depth: int) -> int:
        found = self.btf.type(self.btf.resolve(type_id))
        if depth > _DEEPEST:
            return 1
        if isinstance(found, bt.Array):
            return self._align(found.element, depth + 1)
        if isinstance(found, bt.Struct):
            if not found.is_union and self._is_packed(found):
                return 1
            return max((self._align(member.type, depth + 1) for member in found.members), default=1)
        if isinstance(found, bt.Int | bt.Enum | bt.Float):
            return min(found.size, 16) or 1
        return 8 if isinstance(found, bt.Pointer) else 1
