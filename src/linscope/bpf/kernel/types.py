"""Types in the kernel: BTF loaded for programs and maps, and read back.

Source: Documentation/bpf/btf.rst; include/uapi/linux/bpf.h, struct bpf_func_info, bpf_line_info, bpf_btf_info.
What older kernels know of BTF: tools/lib/bpf/libbpf.c, bpf_object__sanitize_btf (v6.1), which replaces what they do
not by what takes the same room.
"""

from __future__ import annotations

import struct
from errno import ENOSPC

from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf import Btf
from linscope.bpf.kernel.descriptor import Descriptor, get_by_id
from linscope.errors import FormatError, SystemCallError
from linscope.sys import bpf as sys_bpf
from linscope.sys.bpf_errors import explain

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.program import Program

_HEADER = struct.Struct("=HBBIIIII")
_LINE_BITS = 10  # line_col: line << 10 | column
# what to do without, step by step: the kernel that a kind came with
_NEWER = (
    frozenset((bt.KIND_ENUM64,)),  # v6.0
    frozenset((bt.KIND_TYPE_TAG,)),  # v5.17
    frozenset((bt.KIND_DECL_TAG,)),  # v5.16
    frozenset((bt.KIND_FLOAT,)),  # v5.13
    frozenset((bt.KIND_FUNC,)),  # its linkage, v5.6
    frozenset((bt.KIND_VAR, bt.KIND_DATASEC)),  # v5.2
)


class KernelTypes(Descriptor):
    """BTF in the kernel: a program's, a module's or the kernel's own."""

    __slots__ = ()
    kind = "BTF"

    @classmethod
    def load(cls, data: bytes) -> KernelTypes:
        """Load BTF; kinds that the kernel does not know yet are replaced.  Raises SystemCallError with its log."""
        without: frozenset[int] = frozenset()
        first: OSError | None = None
        for kinds in (frozenset(), *_NEWER):
            without |= kinds
            try:
                return cls(sys_bpf.btf_load(without_kinds(data, without) if without else data))
            except OSError as error:
                first = first or error
                if error.errno in (1, 13):  # EPERM, EACCES: not for the types
                    break
        assert first is not None
        raise _refusal(data, first) from first

    @classmethod
    def by_id(cls, id: int) -> KernelTypes:
        """The types of an id.  Raises SystemCallError."""
        return cls(get_by_id("BTF", id))

    def info(self) -> tuple[int, str, bool, int]:
        """(id, name of the module or "", True when it is the kernel's, bytes).  Raises SystemCallError."""
        name = bytearray(64)
        info = bytearray(struct.pack("=QIIQII", 0, 0, 0, sys_bpf.address_of(name), len(name), 0))
        try:
            sys_bpf.obj_get_info_by_fd(self.fd, info)
        except OSError as error:
            raise explain(error, "cannot look at BTF") from error
        _, size, number, _, _, kernel = struct.unpack_from("=QIIQII", info)
        return number, bytes(name).partition(b"\0")[0].decode("utf-8", "replace"), bool(kernel), size

    def read(self, base: Btf | None = None) -> Btf:
        """The types themselves; base: the kernel's, for a module's.  Raises SystemCallError, FormatError."""
        number, name, _, size = self.info()
        data = bytearray(size)
        info = bytearray(struct.pack("=QIIQII", sys_bpf.address_of(data), size, 0, 0, 0, 0))
        try:
            sys_bpf.obj_get_info_by_fd(self.fd, info)
        except OSError as error:
            raise explain(error, "cannot read BTF") from error
        return Btf(bytes(data), base, where=name or f"BTF {number}")


def _refusal(data: bytes, error: OSError) -> SystemCallError:
    log = bytearray(1 << 16)
    try:
        sys_bpf.btf_load(data, log_level=1, log=log)
    except OSError as again:
        if again.errno != ENOSPC:
            error = again
    text = log.partition(b"\0")[0].decode("utf-8", "replace").strip()
    return explain(error, "the kernel refuses the BTF", why=text.splitlines()[-1] if text else "")


def btf_bytes(btf: Btf) -> bytes:
    """The BTF that was read into an object, as it was."""
    data = btf._data
    return bytes(data[btf._start :])


def _strings(data: bytes) -> tuple[int, bytes]:
    """(offset of the strings in BTF, the strings)."""
    _magic, _version, _flags, length, _type_at, _type_size, at, size = _HEADER.unpack_from(data)
    return length + at, data[length + at : length + at + size]


def describe(program: Program, *, extend: bool = True) -> tuple[bytes, bytes, bytes]:
    """(BTF, struct bpf_func_info of all functions, struct bpf_line_info of all lines) to load with a program.

    extend: strings of lines that the program's BTF has not are put behind its own; else they are left out.  A program
    with lines and no BTF gets one with a single type, for the kernel takes no lines without.
    """
    if program.btf is not None:
        data = btf_bytes(program.btf)
    else:
        integer = struct.pack("=IIII", 1, bt.KIND_INT << 24, 4, bt.INT_SIGNED << 24 | 32)
        data = _HEADER.pack(0xEB9F, 1, 0, 24, 0, 16, 16, 5) + integer + b"\0int\0"
    strings_at, strings = _strings(data)
    known: dict[str, int] = {"": 0}
    grown = bytearray(strings)

    def offset_of(text: str) -> int:
        found = known.get(text)
        if found is None:
            encoded = text.encode() + b"\0"
            found = grown.find(b"\0" + encoded) + 1
            if not found and extend:
                found = len(grown)
                grown.extend(encoded)
            known[text] = found
        return found

    lines = b"".join(
        struct.pack("=IIII", one.slot, offset_of(one.file), offset_of(one.text), one.line << _LINE_BITS | one.column)
        for one in program.lines
        if one.line < 1 << 32 - _LINE_BITS and one.column < 1 << _LINE_BITS
    )
    functions = b""
    if program.btf is not None and program.functions and all(each.type_id for each in program.functions):
        functions = b"".join(struct.pack("=II", each.slot, each.type_id) for each in program.functions)
    if len(grown) != len(strings):
        if strings_at + len(strings) != len(data):  # something lies behind the strings: they move to the end
            start = _HEADER.unpack_from(data)[3]
            head = list(_HEADER.unpack_from(data))
            head[6] = len(data) - start
            data = _HEADER.pack(*head) + data[_HEADER.size :] + bytes(grown)
            strings_at = len(data) - len(grown)
        else:
            data = data[:strings_at] + bytes(grown)
        data = data[:20] + struct.pack("=I", len(grown)) + data[24:]
    return data, functions, lines


def without_kinds(data: bytes, kinds: frozenset[int]) -> bytes:
    """BTF with kinds of types replaced by older ones of the same length; ids and names of the others stay.

    KIND_FUNC: functions keep their kind and lose their linkage.  Raises FormatError.
    """
    result = bytearray(data)
    start, type_at, type_size = _HEADER.unpack_from(data)[3:6]
    at, end = start + type_at, start + type_at + type_size
    names: list[int] = [0]  # of types by id
    sections: list[tuple[int, int]] = []
    an_int = 0
    words = struct.Struct("=III")
    while at < end:
        if at + 12 > end:
            raise FormatError("BTF type cut short", offset=at)
        name, info, size = words.unpack_from(result, at)
        kind, count = info >> 24 & 0x1F, info & 0xFFFF
        length = 12 + _LENGTHS.get(kind, 0) + _EACH.get(kind, 0) * count
        if kind == bt.KIND_INT and not an_int:
            an_int = len(names)
        names.append(name)
        if kind in kinds:
            if kind == bt.KIND_TYPE_TAG:
                words.pack_into(result, at, 0, bt.KIND_CONST << 24, size)
            elif kind in (bt.KIND_DECL_TAG, bt.KIND_VAR):  # an int of one byte; its name stays
                struct.pack_into("=IIII", result, at, name or 0, bt.KIND_INT << 24, 1, 8)
            elif kind == bt.KIND_FLOAT:
                words.pack_into(result, at, 0, bt.KIND_STRUCT << 24, size)
            elif kind == bt.KIND_FUNC:
                words.pack_into(result, at, name, bt.KIND_FUNC << 24, size)
            elif kind == bt.KIND_DATASEC:
                words.pack_into(result, at, 0, bt.KIND_STRUCT << 24 | count, size)
                sections.append((at + 12, count))
            elif kind == bt.KIND_ENUM64:
                words.pack_into(result, at, name, bt.KIND_UNION << 24 | count, size)
                for place in range(at + 12, at + length, 12):
                    words.pack_into(result, place, words.unpack_from(result, place)[0], an_int, 0)
        at += length
    for at, count in sections:  # (variable, offset, size) -> (name, type, bit offset); the variables are ints by now
        for place in range(at, at + 12 * count, 12):
            variable, offset, _size = words.unpack_from(result, place)
            words.pack_into(result, place, names[variable] if variable < len(names) else 0, variable, 8 * offset)
    return bytes(result)


# bytes behind struct btf_type: once, and for each of vlen
_LENGTHS = {bt.KIND_INT: 4, bt.KIND_ARRAY: 12, bt.KIND_VAR: 4, bt.KIND_DECL_TAG: 4}
_EACH = {
    bt.KIND_STRUCT: 12, bt.KIND_UNION: 12, bt.KIND_ENUM: 8, bt.KIND_FUNC_PROTO: 8, bt.KIND_DATASEC: 12,
    bt.KIND_ENUM64: 12,
}  # fmt: skip
