"""Types -> BTF: for programs that are loaded into the kernel, and for tests.

Source: Documentation/bpf/btf.rst; include/uapi/linux/btf.h.
"""

from __future__ import annotations

import struct

from linscope.binfmt import btf_types as bt

_MAGIC = 0xEB9F
_FLAG = 1 << 31  # kind_flag of the info word
_MOST = 0xFFFF  # members, parameters, values of one type
_KEYWORDS = {"volatile": bt.KIND_VOLATILE, "const": bt.KIND_CONST, "restrict": bt.KIND_RESTRICT}


class BtfWriter:
    """Collects types; ``data()`` is the whole BTF.  Ids count on from the first one, in the order of ``add``."""

    def __init__(self, *, first_id: int = 1, first_string: int = 0, little_endian: bool = True) -> None:
        """first_id, first_string: where the base ends (``len(base)``, ``base.string_size``), for split BTF."""
        self.next_id = first_id
        self._first_string = first_string
        self._order = "<" if little_endian else ">"
        self._types = bytearray()
        self._strings = bytearray(b"" if first_string else b"\0")
        self._offsets: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<BtfWriter: next id {self.next_id}, {len(self._types)} bytes of types>"

    def string(self, text: str) -> int:
        """Offset of a string; the same one is written once."""
        if not text:
            return 0
        offset = self._offsets.get(text)
        if offset is None:
            offset = self._offsets[text] = self._first_string + len(self._strings)
            self._strings += text.encode() + b"\0"
        return offset

    def add(self, type_: bt.Type) -> int:
        """Append a type, whose references are ids of this BTF; returns its id.  Raises ValueError: void, too large."""
        kind, name, value, count, flag, words = self._parts(type_)
        if count > _MOST:
            raise ValueError(f"a type of {count} parts; BTF has {_MOST} at most")
        info = kind << 24 | count | (_FLAG if flag else 0)
        packed = (self.string(name), info, value, *(word & 0xFFFFFFFF for word in words))
        self._types += struct.pack(f"{self._order}{len(packed)}I", *packed)
        self.next_id += 1
        return self.next_id - 1

    def _parts(self, type_: bt.Type) -> tuple[int, str, int, int, bool, list[int]]:
        """Kind, name, size or target, count, kind flag, the words behind."""
        match type_:
            case bt.Int(name=name, size=size, bits=bits, offset=offset, encoding=encoding):
                return bt.KIND_INT, name, size, 0, False, [encoding << 24 | offset << 16 | bits]
            case bt.Float(name=name, size=size):
                return bt.KIND_FLOAT, name, size, 0, False, []
            case bt.Pointer(target=target):
                return bt.KIND_PTR, "", target, 0, False, []
            case bt.Array(element=element, index_type=index, length=length):
                return bt.KIND_ARRAY, "", 0, 0, False, [element, index, length]
            case bt.Struct(name=name, size=size, members=members, is_union=is_union):
                bits = any(one.bitfield_size for one in members)
                words = []
                for one in members:
                    place = one.bitfield_size << 24 | one.bit_offset if bits else one.bit_offset
                    words += [self.string(one.name), one.type, place]
                return bt.KIND_UNION if is_union else bt.KIND_STRUCT, name, size, len(members), bits, words
            case bt.Enum(name=name, size=size, signed=signed, values=values):
                wide = size == 8
                words = []
                for label, value in values:
                    words += [self.string(label), value, value >> 32] if wide else [self.string(label), value]
                return bt.KIND_ENUM64 if wide else bt.KIND_ENUM, name, size, len(values), signed, words
            case bt.Forward(name=name, is_union=is_union):
                return bt.KIND_FWD, name, 0, 0, is_union, []
            case bt.Typedef(name=name, target=target):
                return bt.KIND_TYPEDEF, name, target, 0, False, []
            case bt.Qualifier(keyword=keyword, target=target):
                return _KEYWORDS[keyword], "", target, 0, False, []
            case bt.TypeTag(name=name, target=target):
                return bt.KIND_TYPE_TAG, name, target, 0, False, []
            case bt.DeclTag(name=name, target=target, component=component):
                return bt.KIND_DECL_TAG, name, target, 0, False, [component]
            case bt.FuncProto(returns=returns, parameters=parameters, variadic=variadic):
                words = []
                for parameter in (*parameters, bt.Parameter("", 0)) if variadic else parameters:
                    words += [self.string(parameter.name), parameter.type]
                return bt.KIND_FUNC_PROTO, "", returns, len(words) // 2, False, words
            case bt.Func(name=name, proto=proto, linkage=linkage):
                return bt.KIND_FUNC, name, proto, linkage, False, []
            case bt.Var(name=name, type=target, linkage=linkage):
                return bt.KIND_VAR, name, target, 0, False, [linkage]
            case bt.DataSection(name=name, size=size, variables=variables):
                return bt.KIND_DATASEC, name, size, len(variables), False, [word for one in variables for word in one]
            case bt.Void():
                raise ValueError("void has the id 0 and is not written")

    def data(self) -> bytes:
        """The whole BTF: header, types, strings."""
        sizes = (0, len(self._types), len(self._types), len(self._strings))
        header = struct.pack(self._order + "HBBI4I", _MAGIC, 1, 0, 24, *sizes)
        return header + bytes(self._types) + bytes(self._strings)
