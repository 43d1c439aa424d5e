"""Keys and values with the types that BTF gives them: bytes <-> numbers, texts, lists and dictionaries.

Source: Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, TypeAlias

from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf_layout import size_of, type_name
from linscope.bpf.kernel.maps import PER_CPU, KernelMap
from linscope.bpf.kernel.types import KernelTypes
from linscope.errors import FormatError, UsageError
from linscope.sys import bpf as sys_bpf
from linscope.sys.bpf_errors import explain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.binfmt.btf import Btf

Value: TypeAlias = "int | float | str | bool | list[Value] | dict[str, Value] | None"
_MAX_DEPTH = 32
_FLOATS = {4: "f", 8: "d"}


class Codec:
    """One type: ``decode`` and ``encode``.  A struct is a dictionary by member, anonymous ones dissolved into it.

    Arrays of char are texts up to the first NUL, other arrays lists; pointers and enums are numbers.
    """

    def __init__(self, btf: Btf, type_id: int) -> None:
        """type_id: in btf; 0: bytes of any size, which are shown as hex."""
        self.btf = btf
        self.type = type_id
        self.size = size_of(btf, type_id) if type_id else 0
        self._order = "<" if btf.little_endian else ">"

    @property
    def name(self) -> str:
        """As C calls the type."""
        return type_name(self.btf, self.type)

    def decode(self, data: bytes) -> Value:
        """The value of some bytes.  Raises FormatError: too few."""
        if not self.type:
            return data.hex(" ")
        if len(data) < self.size:
            raise FormatError(f"{self.name} has {self.size} bytes, not {len(data)}", where=self.btf.where)
        return self._decode(self.type, data, 0, 0)

    def _decode(self, type_id: int, data: bytes, at: int, depth: int) -> Value:
        if depth > _MAX_DEPTH:
            raise FormatError("types lie too deep in each other", where=self.btf.where)
        type_id = self.btf.resolve(type_id)
        kind = self.btf.type(type_id)
        if isinstance(kind, bt.Int):
            raw = self._number(data[at : at + kind.size], signed=kind.signed)
            return bool(raw) if kind.encoding & bt.INT_BOOL else raw
        if isinstance(kind, bt.Struct):
            return self._members(kind, data, at, depth)
        if isinstance(kind, bt.Array):
            return self._elements(kind, data, at, depth)
        if isinstance(kind, bt.Enum):
            return self._number(data[at : at + kind.size], signed=kind.signed)
        if isinstance(kind, bt.Pointer):
            return self._number(data[at : at + 8])
        if isinstance(kind, bt.Float) and kind.size in _FLOATS:
            return float(struct.unpack_from(self._order + _FLOATS[kind.size], data, at)[0])
        if isinstance(kind, bt.Var):
            return self._decode(kind.type, data, at, depth + 1)
        if isinstance(kind, bt.DataSection):
            return {
                self.btf.name(each.variable): self._decode(each.variable, data, at + each.offset, depth + 1)
                for each in kind.variables
                if at + each.offset + each.size <= len(data)
            }
        return None

    def _number(self, data: bytes, *, signed: bool = False) -> int:
        return int.from_bytes(data, "little" if self.btf.little_endian else "big", signed=signed)

    def _members(self, struct_type: bt.Struct, data: bytes, at: int, depth: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for each in struct_type.members:
            if each.bitfield_size:
                found[each.name] = self._bits(each, data, at)
                continue
            value = self._decode(each.type, data, at + each.bit_offset // 8, depth + 1)
            if each.name:
                found[each.name] = value
            elif isinstance(value, dict):
                found.update(value)
        return found

    def _bits(self, member: bt.Member, data: bytes, at: int) -> int:
        begin, bits = member.bit_offset, member.bitfield_size
        first, last = begin // 8, (begin + bits + 7) // 8
        raw = self._number(data[at + first : at + last])
        shift = begin - 8 * first if self.btf.little_endian else 8 * last - begin - bits
        value = raw >> shift & (1 << bits) - 1
        kind = self.btf.type(self.btf.resolve(member.type))
        if isinstance(kind, bt.Int | bt.Enum) and kind.signed and value >> bits - 1:
            value -= 1 << bits
        return value

    def _elements(self, array: bt.Array, data: bytes, at: int, depth: int) -> Value:
        element = self.btf.type(self.btf.resolve(array.element))
        step = size_of(self.btf, array.element)
        if isinstance(element, bt.Int) and element.size == 1 and element.name == "char":
            return data[at : at + array.length].partition(b"\0")[0].decode("utf-8", "backslashreplace")
        if array.length * step > len(data):
            raise FormatError("an array beyond its data", where=self.btf.where)
        return [self._decode(array.element, data, at + step * number, depth + 1) for number in range(array.length)]

    def encode(self, value: Value | bytes) -> bytes:
        """The bytes of a value; members that a dictionary lacks are zero.  Raises UsageError: it does not fit."""
        if isinstance(value, bytes):
            return value
        if not self.type:
            return bytes.fromhex(str(value))
        data = bytearray(self.size)
        self._encode(self.type, value, data, 0)
        return bytes(data)

    def _encode(self, type_id: int, value: Value, data: bytearray, at: int) -> None:
        type_id = self.btf.resolve(type_id)
        kind = self.btf.type(type_id)
        size = size_of(self.btf, type_id)
        if isinstance(kind, bt.Int | bt.Enum | bt.Pointer) and isinstance(value, int):
            if not -(1 << 8 * size - 1) <= value < 1 << 8 * size:
                raise UsageError(f"{value} does not fit into {type_name(self.btf, type_id)}")
            number = value & (1 << 8 * size) - 1
            data[at : at + size] = number.to_bytes(size, "little" if self.btf.little_endian else "big")
        elif isinstance(kind, bt.Struct) and isinstance(value, dict):
            self._encode_members(kind, dict(value), data, at)
        elif isinstance(kind, bt.Array) and isinstance(value, str):
            text = value.encode()
            if len(text) > kind.length:
                raise UsageError(f"{value!r} does not fit into {type_name(self.btf, type_id)}")
            data[at : at + len(text)] = text
        elif isinstance(kind, bt.Array) and isinstance(value, list) and len(value) <= kind.length:
            step = size_of(self.btf, kind.element)
            for number, one in enumerate(value):
                self._encode(kind.element, one, data, at + step * number)
        elif isinstance(kind, bt.Float) and isinstance(value, int | float) and kind.size in _FLOATS:
            struct.pack_into(self._order + _FLOATS[kind.size], data, at, value)
        else:
            raise UsageError(f"{value!r} is no {type_name(self.btf, type_id)}")

    def _encode_members(self, kind: bt.Struct, value: dict[str, Value], data: bytearray, at: int) -> None:
        for each in kind.members:
            if not each.name:
                inner = self.btf.type(self.btf.resolve(each.type))
                if isinstance(inner, bt.Struct):
                    names = {one.name for one in inner.members}
                    mine = {name: value.pop(name) for name in list(value) if name in names}
                    self._encode_members(inner, mine, data, at + each.bit_offset // 8)
            elif each.name in value:
                one = value.pop(each.name)
                if each.bitfield_size:
                    self._encode_bits(each, one, data, at)
                else:
                    self._encode(each.type, one, data, at + each.bit_offset // 8)
        if value:
            raise UsageError(f"struct {kind.name} has no member {next(iter(value))!r}")

    def _encode_bits(self, member: bt.Member, value: Value, data: bytearray, at: int) -> None:
        begin, bits = member.bit_offset, member.bitfield_size
        if not isinstance(value, int) or not -(1 << bits - 1) <= value < 1 << bits:
            raise UsageError(f"{value!r} does not fit into {bits} bits")
        first, last = begin // 8, (begin + bits + 7) // 8
        order = "little" if self.btf.little_endian else "big"
        shift = begin - 8 * first if self.btf.little_endian else 8 * last - begin - bits
        raw = int.from_bytes(data[at + first : at + last], order) & ~((1 << bits) - 1 << shift)  # type: ignore[arg-type]
        raw |= (value & (1 << bits) - 1) << shift
        data[at + first : at + last] = raw.to_bytes(last - first, order)  # type: ignore[arg-type]


class TypedMap:
    """A map whose keys and values are values of Python; ``raw`` is the map itself, which stays its owner's."""

    def __init__(self, raw: KernelMap, key: Codec, value: Codec) -> None:
        """key, value: their types.  ``typed_map`` asks the kernel for them."""
        self.raw = raw
        self.key = key
        self.value = value

    def _decode_value(self, data: bytes) -> Value:
        if self.raw.type in PER_CPU:
            return [self.value.decode(each) for each in self.raw.per_cpu(data)]
        return self.value.decode(data)

    def __getitem__(self, key: Value) -> Value:
        data = self.raw.lookup(self.key.encode(key))
        if data is None:
            raise KeyError(key)
        return self._decode_value(data)

    def __setitem__(self, key: Value, value: Value) -> None:
        if self.raw.type in PER_CPU and isinstance(value, list):
            data = b"".join(self.value.encode(each).ljust(self.raw.value_size + 7 & ~7, b"\0") for each in value)
        else:
            data = self.value.encode(value)
        self.raw.update(self.key.encode(key), data)

    def __delitem__(self, key: Value) -> None:
        if not self.raw.delete(self.key.encode(key)):
            raise KeyError(key)

    def items(self) -> Iterator[tuple[Value, Value]]:
        """(key, value) of all entries; of a per-CPU map a value is a list, one for each possible CPU."""
        for key, value in self.raw.items():
            yield self.key.decode(key), self._decode_value(value)


def typed_map(raw: KernelMap) -> TypedMap:
    """A map with the types that it was created with; without, keys and values are hex.  Raises SystemCallError."""
    info = bytearray(128)
    try:
        sys_bpf.obj_get_info_by_fd(raw.fd, info)
    except OSError as error:
        raise explain(error, "cannot look at a map") from error
    btf_id, key_type, value_type = struct.unpack_from("=III", info, 64)
    if btf_id:
        with KernelTypes.by_id(btf_id) as types:
            btf = types.read()
    else:
        btf = _no_types()
    return TypedMap(raw, Codec(btf, key_type), Codec(btf, value_type))


def _no_types() -> Btf:
    from linscope.binfmt.btf import Btf as Types

    return Types(struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"\0")
