"""BTF -> types: lazily, each type once."""

from __future__ import annotations

from linscope.binfmt import btf_types as bt
from linscope.lang import types as t

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.binfmt.btf import Btf

_DEEPEST = 32


class KernelTypes:
    """The types of one BTF."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self._known: dict[int, t.Type] = {}

    def type(self, type_id: int, depth: int = 0) -> t.Type:
        """A type by its id.  Raises FormatError."""
        known = self._known.get(type_id)
        if known is None:
            known = self._known[type_id] = self._convert(type_id, depth)
        return known

    def _convert(self, type_id: int, depth: int) -> t.Type:
        if not type_id or depth > _DEEPEST:
            return t.VOID
        found = self.btf.type(type_id)
        if isinstance(found, bt.Int):
            return _integer(found)
        if isinstance(found, bt.Pointer):
            target = found.target
            return t.Pointer.lazy(lambda: self.type(target), self._space(target))
        if isinstance(found, bt.Struct):
            tag = "union" if found.is_union else "struct"
            return t.Struct(found.name, found.size, lambda: self._fields(found), tag)
        if isinstance(found, bt.Enum):
            values = {value: name for name, value in reversed(found.values)}
            return t.Enum(found.name, found.size, found.signed or any(value < 0 for value in values), values)
        if isinstance(found, bt.Array):
            element = self.type(found.element, depth + 1)
            if isinstance(element, t.Int) and element.name == "char" and found.length:
                return t.String(found.length)
            return t.Array(element, found.length)
        if isinstance(found, bt.Typedef):
            inner = self.type(found.target, depth + 1)
            if isinstance(inner, t.Struct) and not inner.name:  # typedef struct { ... } name;
                return t.Struct(found.name, inner.width, inner.read_fields, inner.tag)
            return t.Int(inner.size, inner.signed, found.name) if isinstance(inner, t.Int) else inner
        if isinstance(found, bt.Qualifier | bt.TypeTag):
            return self.type(found.target, depth + 1)
        if isinstance(found, bt.Float):
            return t.Void(found.size)
        if isinstance(found, bt.Forward):
            return t.Struct(found.name, 0, list, "union" if found.is_union else "struct")
        return t.VOID

    def _space(self, target: int) -> str:
        """Where a pointer leads that points to a type: to the process, when its declaration has __user."""
        found = self.btf.type(target)
        for _ in range(_DEEPEST):
            if isinstance(found, bt.TypeTag) and found.name == "user":
                return t.USER
            if not isinstance(found, bt.TypeTag | bt.Qualifier):
                break
            found = self.btf.type(found.target)
        return t.KERNEL

    def _fields(self, struct: bt.Struct) -> list[t.Field]:
        fields = []
        for member in struct.members:
            type = self.type(member.type)
            offset, bits = divmod(member.bit_offset, 8)
            if member.bitfield_size:
                unit = max(type.size, 1)
                offset = member.bit_offset // (8 * unit) * unit
                bits = member.bit_offset - 8 * offset
                fields.append(t.Field(member.name, type, offset, bits, member.bitfield_size))
            else:
                fields.append(t.Field(member.name, type, offset))
        return fields


def _integer(found: bt.Int) -> t.Type:
    if found.encoding & bt.INT_BOOL:
        return t.BOOL
    signed = bool(found.encoding & bt.INT_SIGNED)
    if found.name in ("char", "unsigned char", "signed char"):
        return t.Int(1, signed if found.name != "char" else True, found.name)
    return t.Int(found.size, signed, found.name) if found.size in (1, 2, 4, 8) else t.Array(t.UINT8, found.size)
