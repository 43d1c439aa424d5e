"""What lies between the members of a struct: holes, padding, bits left over, and the attributes that explain them.

The rules are pahole's, so that its users find its numbers: a bit field is counted in a unit of its type, aligned to
that; alignment and packing, which BTF does not have, are inferred from offsets.
Source: dwarves, dwarves.c (class__find_holes, class__infer_packed_attributes, tag__natural_alignment) and btf_loader.c
(class__infer_alignment, class__fixup_btf_bitfields).
"""

from __future__ import annotations

from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf import Btf
from linscope.binfmt.btf_layout import size_of

_POINTER_SIZE = 8
_MAX_DEPTH = 32


class MemberLayout:
    """Where one member lies, and what follows it unused.  Offsets and sizes in bytes, the bit ones in bits."""

    __slots__ = ("alignment", "bit_hole", "bit_offset", "bits", "byte_offset", "hole", "name", "size", "type")

    def __init__(self, name: str, type: int, byte_offset: int, size: int, bits: int, bit_offset: int) -> None:
        """bits: of a bit field, 0 of others; bit_offset: from byte_offset on."""
        self.name = name
        self.type = type
        self.byte_offset = byte_offset
        self.size = size
        self.bits = bits
        self.bit_offset = bit_offset
        self.alignment = 0  # that was forced; 0: the natural one
        self.hole = 0  # bytes behind it that nobody uses
        self.bit_hole = 0


class StructLayout:
    """The members of a struct or union with the space between them."""

    __slots__ = (
        "alignment", "bit_holes", "bit_padding", "holes", "members", "padding", "pre_bit_hole", "pre_hole", "size",
    )  # fmt: skip

    def __init__(self, size: int, members: list[MemberLayout]) -> None:
        self.size = size
        self.members = members
        self.alignment = 0
        self.holes = 0  # how many
        self.bit_holes = 0
        self.pre_hole = 0  # bytes in front of the first member
        self.pre_bit_hole = 0
        self.padding = 0  # bytes behind the last member
        self.bit_padding = 0


class Layouts:
    """Layouts of the structs of one BTF, each made once."""

    def __init__(self, btf: Btf, cacheline_size: int = 64) -> None:
        self.btf = btf
        self.cacheline_size = cacheline_size
        self._made: dict[int, StructLayout] = {}
        self._natural: dict[int, int] = {}

    def of(self, type_id: int) -> StructLayout:
        """The layout of a struct or union, whose id it is.  Raises FormatError."""
        made = self._made.get(type_id)
        if made is None:
            made = self._made[type_id] = self._make(type_id)
        return made

    def natural_alignment(self, type_id: int, depth: int = 0) -> int:
        """The alignment that a type has by itself, in bytes; 1 for what has none."""
        type_id = self.btf.resolve(type_id)
        known = self._natural.get(type_id)
        if known is not None:
            return known
        self._natural[type_id] = 1  # damaged types can lie in themselves
        found = 1
        match self.btf.type(type_id):
            case bt.Pointer():
                found = _POINTER_SIZE
            case bt.Int(size=size) | bt.Float(size=size) | bt.Enum(size=size):
                found = size
            case bt.Struct(members=members):
                found = max((self.natural_alignment(one.type, depth + 1) for one in members), default=1)
            case bt.Array(element=element) if depth < _MAX_DEPTH:
                found = self.natural_alignment(element, depth + 1)
        self._natural[type_id] = found or 1
        return found or 1

    def is_packed(self, type_id: int) -> bool:
        """True if a struct must have been declared packed to look as it does."""
        struct = self.btf.type(type_id)
        if not isinstance(struct, bt.Struct) or struct.is_union:
            return False
        layout = self.of(type_id)
        if layout.padding or layout.holes:
            return False
        most = 1
        for one in layout.members:
            natural = self.natural_alignment(one.type)
            most = max(most, natural)
            if one.byte_offset % natural:
                return True
        return (most != 1 and layout.alignment == 1) or layout.size % most != 0

    def _make(self, type_id: int) -> StructLayout:
        struct = self.btf.type(type_id)
        assert isinstance(struct, bt.Struct)
        members = [self._member(one) for one in struct.members]
        made = StructLayout(struct.size, members)
        if struct.is_union:
            return made
        end = 0
        for one in members:
            if one.size:
                natural = self.natural_alignment(one.type)
                one.alignment = self._forced_alignment(one.byte_offset, natural, end)
                end = one.byte_offset + one.size
        made.alignment = self._forced_alignment(struct.size, self.natural_alignment(type_id), end)
        _find_holes(made)
        return made

    def _member(self, member: bt.Member) -> MemberLayout:
        size = size_of(self.btf, member.type)
        bits = member.bitfield_size
        target = self.btf.type(self.btf.resolve(member.type))
        byte_offset, bit_offset = member.bit_offset // 8, 0
        if isinstance(target, bt.Int) and not bits and 0 < target.bits < 8 * size and target.bits % 8:
            bits = target.bits  # older compilers have an integer of fewer bits
        if bits and size and isinstance(target, bt.Int | bt.Enum):
            byte_offset = member.bit_offset // (8 * size) * size
            bit_offset = member.bit_offset - 8 * byte_offset
            if not self.btf.little_endian:
                bit_offset = 8 * size - bit_offset - bits
        return MemberLayout(member.name, member.type, byte_offset, size, bits, bit_offset)

    def _forced_alignment(self, offset: int, natural: int, end: int) -> int:
        """The alignment that explains a gap from end to offset; 0: the natural one does, or there is none."""
        if offset <= end:
            return 0
        alignment = 1 << (offset - end).bit_length() if offset % 2 == 0 else 1
        if alignment <= natural or alignment == 1:
            return 0
        line = self.cacheline_size
        return line if alignment < line and line % alignment == 0 and offset % line == 0 else alignment


def _find_holes(made: StructLayout) -> None:
    """Fill in the holes and paddings of a struct."""
    seen = 0  # bits that are accounted for
    unit_end = 0  # bit at which the storage of the current bit fields ends
    in_bits = False
    last: MemberLayout | None = None
    for one in made.members:
        start = 8 * one.byte_offset + one.bit_offset
        end = start + (one.bits or 8 * one.size)
        hole = bit_hole = 0
        if in_bits:
            bits_end = min(start, unit_end)
            bit_hole = bits_end - seen
            seen = bits_end
        if one.bits:
            aligned = 8 * one.byte_offset
            if seen < aligned <= start:
                hole = one.byte_offset - seen // 8
                seen = aligned
            bit_hole += start - seen
        else:
            hole = start // 8 - seen // 8
        seen = end
        if one.bits:
            if not in_bits or unit_end < end:
                unit_end = 8 * (one.byte_offset + one.size)
                if unit_end < end:
                    unit_end += 8 * one.size
            in_bits = True
        else:
            in_bits = False
        if last is None:
            made.pre_hole, made.pre_bit_hole = hole, bit_hole
        else:
            last.hole, last.bit_hole = hole, bit_hole
        made.holes += hole > 0
        made.bit_holes += bit_hole > 0
        last = one
    if in_bits:
        bits_end = min(8 * made.size, unit_end)
        made.bit_padding = bits_end - seen
        seen = bits_end
    made.padding = made.size - seen // 8
