"""Objects of C in a kernel's memory: members, elements and pointers are followed as C does it.

An object has a type and either a place in memory or a value.  What Python could take for a member ends with an
underscore: ``task.comm.string_()``, ``task.mm.type_``.
"""

from __future__ import annotations

from linscope.binfmt import btf_types as bt
from linscope.errors import MemoryFault, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from linscope.binfmt.btf_layout import Place
    from linscope.contracts import Memory
    from linscope.target.types import Type, Types

_READ_WHOLE = 1 << 15  # bytes of a struct that is read at once
_MASK = (1 << 64) - 1


class Space:
    """What objects live in: bytes by virtual address, and the types."""

    def __init__(self, memory: Memory, types: Types) -> None:
        self.memory = memory
        self.types = types

    def u64(self, address: int) -> int:
        """The 8 bytes at an address.  Raises MemoryFault."""
        return int.from_bytes(self.memory.read(address & _MASK, 8), "little")

    def u32(self, address: int) -> int:
        """The 4 bytes at an address.  Raises MemoryFault."""
        return int.from_bytes(self.memory.read(address & _MASK, 4), "little")

    def string(self, address: int, limit: int = 4096) -> str:
        """The text until NUL, at most limit bytes; what is no UTF-8 is replaced.  Raises MemoryFault."""
        out = b""
        while len(out) < limit:
            size = min(64 - (address & 63), limit - len(out))
            data = self.memory.read(address & _MASK, size)
            text, end, _ = data.partition(b"\0")
            out += text
            if end:
                break
            address += size
        return out.decode("utf-8", "replace")

    def object(self, type_name: str | Type, address: int) -> Object:
        """The object of a type at an address.  Raises UnknownNameError."""
        kind = self.types.get(type_name) if isinstance(type_name, str) else type_name
        return Object(self, kind, address & _MASK)

    def value(self, type_name: str | Type, number: int) -> Object:
        """A number or pointer that lies nowhere.  Raises UnknownNameError."""
        kind = self.types.get(type_name) if isinstance(type_name, str) else type_name
        size = kind.size or 8
        return Object(self, kind, None, (number & (1 << 8 * size) - 1).to_bytes(size, "little"))


class Object:
    """One object of C."""

    __slots__ = ("_bits", "_data", "address_", "space_", "type_")

    def __init__(
        self, space: Space, kind: Type, address: int | None, data: bytes | None = None,
        bits: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        """address: None for a value; data: the bytes, where they were read; bits: (first, count) of a bit field."""
        self.space_ = space
        self.type_ = kind
        self.address_ = address
        self._data = data
        self._bits = bits

    def __repr__(self) -> str:
        place = "" if self.address_ is None else f" at {self.address_:#x}"
        return f"<{self.type_.name}{place}>"

    # -- bytes and values

    def bytes_(self) -> bytes:
        """The object's bytes.  Raises MemoryFault."""
        if self._data is None:
            assert self.address_ is not None
            self._data = self.space_.memory.read(self.address_, self.type_.size)
        return self._data

    def value_(self) -> Any:
        """A number, truth or text of what is scalar: int, bool, float; of an array of char its text.

        Raises UsageError for structs and other arrays, MemoryFault.
        """
        if self.type_.kind() == bt.KIND_PTR:
            return int.from_bytes(self.bytes_(), "little")
        content = self.type_.content()
        if isinstance(content, bt.Int | bt.Enum):
            if self._bits is not None:
                return self._bit_field(content.signed)
            number = int.from_bytes(self.bytes_(), "little", signed=content.signed)
            return bool(number) if isinstance(content, bt.Int) and content.encoding & bt.INT_BOOL else number
        if isinstance(content, bt.Array) and self._is_text(content):
            return self.string_()
        if isinstance(content, bt.Float):
            import struct

            return struct.unpack("<f" if content.size == 4 else "<d", self.bytes_())[0]
        raise UsageError(f"{self.type_.name} has no single value")

    def _bit_field(self, signed: bool) -> int:
        assert self._bits is not None
        first, count = self._bits
        number = int.from_bytes(self.bytes_(), "little") >> first & (1 << count) - 1
        return number - (1 << count) if signed and number >> count - 1 else number

    def _is_text(self, array: bt.Array) -> bool:
        element = self.type_.btf.type(self.type_.btf.resolve(array.element))
        return isinstance(element, bt.Int) and element.size == 1 and element.name in ("char", "unsigned char")

    def __int__(self) -> int:
        if self.address_ is not None and self.type_.kind() == bt.KIND_ARRAY:
            return self.address_  # an array is its address
        value = self.value_()
        if isinstance(value, str):
            raise UsageError(f"{self.type_.name} is no number")
        return int(value)

    __index__ = __int__

    def __bool__(self) -> bool:
        return self.type_.kind() in (bt.KIND_STRUCT, bt.KIND_UNION) or bool(int(self))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Object):
            if self.type_.kind() in (bt.KIND_STRUCT, bt.KIND_UNION) and self.type_.kind() == other.type_.kind():
                return self.address_ is not None and self.address_ == other.address_
            return int(self) == int(other)
        return int(self) == other if isinstance(other, int) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.address_, self.type_.id, self.type_.stars))

    def string_(self, limit: int = 4096) -> str:
        """The text that an array of char holds, or that a pointer points to.  Raises MemoryFault."""
        if self.type_.kind() == bt.KIND_ARRAY:
            if self.type_.length:
                return self.bytes_().partition(b"\0")[0].decode("utf-8", "replace")
            assert self.address_ is not None
            return self.space_.string(self.address_, limit)
        return self.space_.string(int(self), limit)

    def enumerator_(self) -> str:
        """The name of an enum's value, the number where it has none."""
        number = int(self)
        content = self.type_.content()
        if isinstance(content, bt.Enum):
            return next((name for name, value in content.values if value == number), str(number))
        return str(number)

    # -- as C goes on from here

    def member_(self, name: str) -> Object:
        """A member by name or path with dots; a pointer is followed first.

        Raises UnknownNameError with near names, MemoryFault.
        """
        owner = self
        if self.type_.kind() == bt.KIND_PTR:
            owner = self.deref_()
        return owner.part_(self.space_.types.place(owner.type_, name))

    def part_(self, place: Place) -> Object:
        """What lies at a place in this struct or union, an anonymous member for instance.  Raises MemoryFault."""
        kind = self.type_
        found = type(kind)(kind.btf, place.type)
        if place.bitfield_size:
            first = place.bit_offset % 8
            start, size = place.bit_offset // 8, (first + place.bitfield_size + 7) // 8
            bits = (first, place.bitfield_size)
            data = self._part(start, size)
            if data is None:
                assert self.address_ is not None
                data = self.space_.memory.read(self.address_ + start, size)
            return Object(self.space_, found, None, data, bits)
        start = place.bit_offset // 8
        address = None if self.address_ is None else self.address_ + start
        return Object(self.space_, found, address, self._part(start, found.size))

    def _part(self, start: int, size: int) -> bytes | None:
        """Some of our bytes; None: to be read for itself, because all of it cannot be or is too much."""
        if self._data is None:
            whole = self.type_.size
            if whole > _READ_WHOLE:
                return None
            try:
                self.bytes_()
            except MemoryFault:  # an object of the slab may be shorter than its type, and end a page
                if self.address_ is None:
                    raise
                return None
        assert self._data is not None
        return self._data[start : start + size] if start + size <= len(self._data) else None

    def __getattr__(self, name: str) -> Object:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.member_(name)

    def deref_(self) -> Object:
        """What a pointer points to.  Raises UsageError when it is none."""
        target = self.type_.target()
        if target is None:
            raise UsageError(f"{self.type_.name} is no pointer")
        return Object(self.space_, target, int(self))

    def address_of_(self) -> Object:
        """A pointer to the object.  Raises UsageError for a value that lies nowhere."""
        if self.address_ is None:
            raise UsageError(f"a value of {self.type_.name} has no address")
        return self.space_.value(self.type_.pointer(), self.address_)

    def __getitem__(self, index: int) -> Object:
        element = self.type_.element()
        if element is None:
            element = self.type_.target()
            if element is None:
                raise UsageError(f"{self.type_.name} has no elements")
            base: int | None = int(self)
            data = None
        else:
            base, data = self.address_, self._data
        size = element.size
        at = index * size
        part = data[at : at + size] if data is not None and 0 <= at <= len(data) - size else None
        if base is None and part is None:
            raise UsageError(f"no element {index} in {self.type_.name}")
        return Object(self.space_, element, None if base is None else (base + at) & _MASK, part)

    def __len__(self) -> int:
        if self.type_.element() is None:
            raise UsageError(f"{self.type_.name} has no length")
        return self.type_.length

    def __iter__(self) -> Iterator[Object]:
        return (self[index] for index in range(len(self)))

    def cast_(self, kind: str | Type) -> Object:
        """The same value as another type; a struct at its address as another struct.  Raises UnknownNameError."""
        found = self.space_.types.get(kind) if isinstance(kind, str) else kind
        if self.address_ is not None and self.type_.kind() in (bt.KIND_STRUCT, bt.KIND_UNION, bt.KIND_ARRAY):
            return Object(self.space_, found, self.address_)
        return self.space_.value(found, int(self))

    def container_of_(self, kind: str, member: str) -> Object:
        """The struct of a type whose member this is, or points to.  Raises UnknownNameError."""
        address = int(self) if self.type_.target() is not None else self.address_
        if address is None:
            raise UsageError(f"a value of {self.type_.name} is in no struct")
        return self.space_.object(kind, address - self.space_.types.offset(kind, member))
