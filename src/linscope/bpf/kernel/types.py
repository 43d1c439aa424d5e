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
from linscope.bpf.objects.raw_types import RawTypes
from linscope.errors import SystemCallError
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


def describe(program: Program, *, extend: bool = True) -> tuple[bytes, bytes, bytes]:
    """(BTF, struct bpf_func_info of all functions, struct bpf_line_info of all lines) to load with a program.

    extend: strings of lines that the program's BTF has not are put behind its own; else they are left out.  A program
    with lines and no BTF gets one with a single type, for the kernel takes no lines without.
    """
    if program.btf is not None:
        types = RawTypes(btf_bytes(program.btf), where=program.btf.where)
    else:
        types = RawTypes(_HEADER.pack(0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"\0")
        types.add(bt.KIND_INT, "int", 4, bt.INT_SIGNED << 24 | 32)
    known: dict[str, int] = {"": 0}

    def offset_of(text: str) -> int:
        found = known.get(text)
        if found is None:
            found = types.string(text) if extend else types.strings.find(b"\0" + text.encode() + b"\0") + 1
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
    return types.to_bytes(), functions, lines


def without_kinds(data: bytes, kinds: frozenset[int]) -> bytes:
    """BTF with kinds of types replaced by older ones of the same length; ids and names of the others stay.

    KIND_FUNC: functions keep their kind and lose their linkage.  Raises FormatError.
    """
    types = RawTypes(data)
    an_int = types.find(bt.KIND_INT)
    for number in range(1, len(types)):
        kind, count, name = types.kind(number), types.count(number), types.get(number, 0)
        if kind not in kinds:
            continue
        words: tuple[int, ...] = ()  # the new name, info, size or target, and what is behind them
        if kind == bt.KIND_TYPE_TAG:
            words = (0, bt.KIND_CONST << 24)
        elif kind in (bt.KIND_DECL_TAG, bt.KIND_VAR):  # an int of one byte
            words = (name, bt.KIND_INT << 24, 1, 8)
        elif kind == bt.KIND_FLOAT:
            words = (0, bt.KIND_STRUCT << 24)
        elif kind == bt.KIND_FUNC:
            words = (name, bt.KIND_FUNC << 24)
        elif kind == bt.KIND_ENUM64:
            words = (name, bt.KIND_UNION << 24 | count)
            for member in range(3, 3 + 3 * count, 3):
                types.set(number, member + 1, an_int)
                types.set(number, member + 2, 0)
        elif kind == bt.KIND_DATASEC:  # (variable, offset, size) -> (name, type, bit offset)
            words = (0, bt.KIND_STRUCT << 24 | count)
            for member in range(3, 3 + 3 * count, 3):
                variable, offset = types.get(number, member), types.get(number, member + 1)
                types.set(number, member, types.get(variable, 0))
                types.set(number, member + 1, variable)
                types.set(number, member + 2, 8 * offset)
        for place, word in enumerate(words):
            types.set(number, place, word)
    return types.to_bytes()
