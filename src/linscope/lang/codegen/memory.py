"""Expressions whose value is in memory: code that leaves it at a place; copying, clearing and comparing bytes."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.codegen import scalars
from linscope.lang.codegen.assembler import R0, R1, R2, R3, R6, Label
from linscope.lang.codegen.function import CONSTANT, SCRATCH, ZERO, Function, Place

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_PROBE_READ_KERNEL, _PROBE_READ_KERNEL_STRING = 113, 115
NOT_RECORDED = b"<not recorded>\0"  # what a string reads as that a recording does not have
_UNROLLED = 256  # bytes that are copied, cleared or compared word by word
_CHUNK = 64  # bytes that are compared in a round of a loop
READ = {t.KERNEL: (113, "probe_read_kernel"), t.USER: (112, "probe_read_user"), t.ANY: (4, "probe_read")}
READ_STRING = {
    t.KERNEL: (115, "probe_read_kernel_str"), t.USER: (114, "probe_read_user_str"), t.ANY: (45, "probe_read_str"),
}  # fmt: skip


def words(size: int, align: int) -> Iterator[tuple[int, int]]:
    """(offset, bytes) of the aligned pieces of some bytes."""
    at = 0
    while at < size:
        step = min(align, 8)
        while step > size - at:
            step //= 2
        yield at, step
        at += step


def clear(f: Function, to: Place, size: int) -> None:
    """Zero some bytes."""
    code = f.code
    if size <= _UNROLLED:
        base, offset = f.with_base(to, R1)
        for at, step in words(size, to.align):
            code.store_constant(base, offset + at, 0, step)
        return
    copy(f, to, Place(ZERO, size), size)


def copy(f: Function, to: Place, source: Place, size: int) -> None:
    """Copy some bytes; nothing is kept in r0 to r5."""
    if to.kind == source.kind and to.offset == source.offset and to.temporary is source.temporary:
        return
    code = f.code
    if size > _UNROLLED:
        f.address(to, R1)
        code.constant(R2, size)
        f.address(source, R3)
        code.call(_PROBE_READ_KERNEL)
        return
    from_base, from_offset = f.with_base(source, R2)
    to_base, to_offset = f.with_base(to, R1)
    for at, step in words(size, min(to.align, source.align)):
        code.load(R0, from_base, from_offset + at, step)
        code.store(to_base, to_offset + at, R0, step)


def store_scalar(f: Function, to: Place, type: t.Type) -> None:
    """Store r0 as a scalar of a type; r0 stays."""
    code = f.code
    base, offset = f.with_base(to, R1)
    size, align = type.size, to.align
    if size <= align:
        code.store(base, offset, R0, size)
        return
    code.move(R2, R0)
    for at in range(0, size, align):
        code.store(base, offset + at, R2, align)
        code.alu_constant(">>", R2, 8 * align)


def memory(f: Function, node: ir.Expression) -> Place:
    """Where the value of an expression lies; a scalar is put into memory."""
    if isinstance(node, ir.Get):
        return f.variable(node.variable)
    if isinstance(node, ir.Bytes):
        return Place(CONSTANT, f.generator.constant(node.data.ljust(node.type.size, b"\0")))
    if isinstance(node, ir.Part):
        place = memory(f, node.of).further(node.offset)
        if place.align >= min(node.type.align, 8):
            return place
        room = f.memory(node.type.size)
        copy(f, room, place, node.type.size)
        return room
    if (
        isinstance(node, ir.Reinterpret)
        and not node.operand.type.is_scalar
        and node.type.size <= node.operand.type.size
    ):
        return memory(f, node.operand)
    room = f.memory(node.type.size)
    into(f, node, room)
    return room


def into(f: Function, node: ir.Expression, to: Place) -> None:
    """Put the value of an expression to a place."""
    f.code.at(node.span)
    if node.type.is_scalar:
        if node.type.size:
            scalar_into(f, node, to, node.type)
        return
    writer = _WRITERS.get(type(node))
    if writer is not None:
        mark = f.mark()
        writer(f, node, to)
        f.release(mark)
        return
    mark = f.mark()
    copy(f, to, memory(f, node), node.type.size)
    f.release(mark)


def scalar_into(f: Function, node: ir.Expression, to: Place, type: t.Type) -> None:
    """Store a scalar as a type; r0 to r5 are lost."""
    if isinstance(node, ir.Number) and type.size <= to.align and -(1 << 31) <= node.value < 1 << 31:
        base, offset = f.with_base(to, R1)
        f.code.store_constant(base, offset, node.value, type.size)
        return
    scalars.scalar(f, node)
    store_scalar(f, to, type)


def _bytes(f: Function, node: ir.Bytes, to: Place) -> None:
    """Constants: short ones are part of the instructions."""
    data = node.data.ljust(node.type.size, b"\0")
    if len(data) > 64:
        copy(f, to, Place(CONSTANT, f.generator.constant(data)), len(data))
        return
    base, offset = f.with_base(to, R1)
    for at, step in words(len(data), to.align):
        value = int.from_bytes(data[at : at + step], "little", signed=True)
        if -(1 << 31) <= value < 1 << 31:
            f.code.store_constant(base, offset + at, value, step)
        else:
            f.code.constant(R0, value)
            f.code.store(base, offset + at, R0, step)


def _from_context(f: Function, node: ir.FromContext, to: Place) -> None:
    base, offset = f.with_base(to, R1)
    low = node.offset & -node.offset or 8
    for at, step in words(node.type.size, min(to.align, low)):
        f.code.load(R0, R6, node.offset + at, step)
        f.code.store(base, offset + at, R0, step)


def keep_failure(f: Function, node: ir.Load | ir.LoadString | ir.LoadBuffer) -> None:
    """Keep whether r0, the result of a read, tells a failure, where somebody asks; r0 stays."""
    if node.failed is None:
        return
    code = f.code
    place = f.variable(node.failed)
    code.move(R1, R0)
    code.alu_constant(">>", R1, 63)
    code.store(f.base(place), place.offset, R1, node.failed.type.size)


def unrecorded_text(f: Function) -> Place:
    """Where NOT_RECORDED lies."""
    return Place(CONSTANT, f.generator.constant(NOT_RECORDED))


def say_unrecorded(f: Function, size: int, address: Callable[[], object]) -> None:
    """In a replay, after the failed read of a string: what it reads as.  address: leaves in r1 where it goes.

    r0, the helper's result, becomes that of a read of this text.
    """
    if not f.generator.options.replay:
        return
    code = f.code
    fine = Label()
    code.branch_constant("s>=", R0, 0, fine)
    address()
    code.constant(R2, min(size, len(NOT_RECORDED)))
    f.address(unrecorded_text(f), R3)
    code.call(_PROBE_READ_KERNEL_STRING)
    code.place(fine)


def _load(f: Function, node: ir.Load, to: Place) -> None:
    scalars.scalar(f, node.address)
    number, name = READ[node.space]
    f.code.move(R3, R0)
    f.address(to, R1)
    f.code.constant(R2, node.type.size)
    f.code.call(number)
    keep_failure(f, node)
    scalars.told(f, name, node)
    if isinstance(node.type, t.String):
        say_unrecorded(f, node.type.size, lambda: f.address(to, R1))


def _load_string(f: Function, node: ir.LoadString, to: Place) -> None:
    """The string is read behind zeros, so that what follows its NUL is zero."""
    code = f.code
    size = node.type.size
    scalars.scalar(f, node.address)
    address = f.keep(R0)
    limit = None
    if node.limit is not None:
        scalars.scalar(f, node.limit)
        clamp(f, R0, size - 1)
        code.alu_constant("+", R0, 1)
        limit = f.keep(R0, known=True)
    clear(f, to, size)
    number, name = READ_STRING[node.space]
    f.address(to, R1)
    if limit is None:
        code.constant(R2, size)
    else:
        f.restore(limit, R2)
        f.give_up(limit)
    f.restore(address, R3)
    f.give_up(address)
    code.call(number)
    keep_failure(f, node)
    scalars.told(f, name, node)
    say_unrecorded(f, size, lambda: f.address(to, R1))


def clamp(f: Function, register: int, most: int) -> None:
    """At most so much, as an unsigned number; the verifier sees all that it may be first."""
    more, fine = Label(), Label()
    f.code.branch_constant(">", register, most, more)
    f.code.jump(fine)
    f.code.place(more)
    f.code.constant(register, most)
    f.code.place(fine)


def _load_buffer(f: Function, node: ir.LoadBuffer, to: Place) -> None:
    code = f.code
    kind = node.type
    assert isinstance(kind, t.Buffer)
    scalars.scalar(f, node.address)
    address = f.keep(R0)
    scalars.scalar(f, node.length)
    clamp(f, R0, kind.capacity)
    length = f.keep(R0, known=True)
    clear(f, to, kind.size)
    f.restore(length, R2)
    base, offset = f.with_base(to, R1)
    code.store(base, offset, R2, 4)
    f.address(to.further(4), R1)
    f.restore(address, R3)
    number, name = READ[node.space]
    code.call(number)
    keep_failure(f, node)
    if f.generator.options.replay:
        fine = Label()
        code.branch_constant("s>=", R0, 0, fine)
        base, offset = f.with_base(to, R1)
        code.store_constant(base, offset, min(kind.capacity, len(NOT_RECORDED) - 1), 4)
        copy(f, to.further(4), unrecorded_text(f), min(kind.capacity, len(NOT_RECORDED) - 1))
        code.place(fine)
    f.give_up(length)
    f.give_up(address)
    scalars.told(f, name, node)


def _build(f: Function, node: ir.Build, to: Place) -> None:
    size = node.type.size
    filled = 0
    for offset, part in sorted(node.parts, key=lambda one: one[0]):
        if offset > filled:
            break
        filled = offset + part.type.size
    if filled < size:
        clear(f, to, size)
    for offset, part in node.parts:
        into(f, part, to.further(offset))


def _choice(f: Function, node: ir.Choice, to: Place) -> None:
    no, done = Label(), Label()
    scalars.branch(f, node.condition, no)
    into(f, node.yes, to)
    f.code.jump(done)
    f.code.place(no)
    into(f, node.no, to)
    f.code.place(done)


def _reinterpret(f: Function, node: ir.Reinterpret, to: Place) -> None:
    have, size = node.operand.type, node.type.size
    if have.is_scalar:
        if have.size < size:
            clear(f, to, size)
        scalars.scalar(f, node.operand)
        base, offset = f.with_base(to, R1)
        for at, step in words(min(have.size, size), to.align):
            f.code.store(base, offset + at, R0, step)
            f.code.alu_constant(">>", R0, 8 * step if step < 8 else 0)
        return
    if have.size < size:
        clear(f, to, size)
        into(f, node.operand, to)
    else:
        copy(f, to, memory(f, node.operand), size)


def _fill(f: Function, node: ir.Fill, to: Place) -> None:
    """A helper writes the bytes; zeros when it fails."""
    clear(f, to, node.type.size)  # get_current_comm too: before v6.2 it left what is behind the NUL
    scalars.arguments(f, node.arguments, to)
    f.code.call(node.number)
    if node.fails:
        scalars.told(f, node.name, node, always=True)


def _do(f: Function, node: ir.Do, to: Place) -> None:
    from linscope.lang.codegen.statements import statements

    statements(f, node.statements)
    into(f, node.value, to)


def _map_get(f: Function, node: ir.MapGet, to: Place) -> None:
    from linscope.lang.codegen import maps

    maps.get_into(f, node, to)


def _zero(f: Function, node: ir.Expression, to: Place) -> None:
    clear(f, to, node.type.size)


def _element_into(f: Function, node: ir.Element, to: Place) -> None:
    element(f, node, to)


def element(f: Function, node: ir.Element, to: Place | None = None) -> None:
    """An element by an index: to r0, or to a place.  The value is put into scratch, where any byte can be read."""
    code = f.code
    source = memory(f, node.of)
    size = node.of.type.size
    if source.kind != SCRATCH:
        room = f.memory(size, scratch=True)
        copy(f, room, source, size)
        source = room
    scalars.scalar(f, node.index)
    outside, done = Label(), Label()
    code.branch_constant(">=", R0, node.count, outside)
    code.alu_constant("*", R0, node.type.size)
    f.address(source, R2)
    code.alu("+", R2, R0)
    if to is None:
        scalars.load(f, R0, R2, 0, node.type)
    else:
        kept = f.keep(R2, known=True)
        copy(f, to, Place("pointer", 0, kept), node.type.size)
        f.give_up(kept)
    code.jump(done)
    code.place(outside)
    if node.outside is not None:
        from linscope.lang.codegen.events import emit_error

        code.constant(R0, 0)
        emit_error(f, node.outside)
    if to is None:
        code.constant(R0, 0)
    else:
        clear(f, to, node.type.size)
    code.place(done)


def compare(f: Function, node: ir.Compare) -> None:
    """r0 = whether two values in memory are equal (or differ)"""
    mark = f.mark()
    left, right = memory(f, node.left), memory(f, node.right)
    differ, done = Label(), Label()
    compare_bytes(f, left, right, node.left.type.size, differ)
    f.code.constant(R0, int(node.sign == "=="))
    f.code.jump(done)
    f.code.place(differ)
    f.code.constant(R0, int(node.sign != "=="))
    f.code.place(done)
    f.release(mark)


def compare_bytes(f: Function, left: Place, right: Place, size: int, differ: Label) -> None:
    """Jump when some bytes are not equal."""
    code = f.code
    if size > _UNROLLED:
        from linscope.lang.codegen.strings import compare_long

        compare_long(f, left, right, size // _CHUNK, differ)
        behind = size // _CHUNK * _CHUNK
        left, right, size = left.further(behind), right.further(behind), size - behind
    left_base, left_offset = f.with_base(left, R1)
    right_base, right_offset = f.with_base(right, R2)
    for at, step in words(size, min(left.align, right.align)):
        code.load(R0, left_base, left_offset + at, step)
        code.load(R3, right_base, right_offset + at, step)
        code.branch("!=", R0, R3, differ)


def compare_constant(f: Function, left: Place, data: bytes, differ: Label) -> None:
    """Jump when bytes are not those."""
    code = f.code
    base, offset = f.with_base(left, R1)
    for at, step in words(len(data), left.align):
        value = int.from_bytes(data[at : at + step], "little")
        code.load(R0, base, offset + at, step)
        if value < 1 << 31:
            code.branch_constant("!=", R0, value, differ)
        else:
            code.constant(R3, value - (1 << 64) if value >= 1 << 63 else value)
            code.branch("!=", R0, R3, differ)


def _concat(f: Function, node: ir.ConcatStrings, to: Place) -> None:
    from linscope.lang.codegen import strings

    strings.concat(f, node, to)


_WRITERS: dict[type, Callable[[Function, Any, Place], None]] = {
    ir.Bytes: _bytes, ir.FromContext: _from_context, ir.Load: _load, ir.LoadString: _load_string,
    ir.LoadBuffer: _load_buffer, ir.Build: _build, ir.Choice: _choice, ir.Reinterpret: _reinterpret, ir.Fill: _fill,
    ir.Do: _do, ir.MapGet: _map_get, ir.NotRecorded: _zero, ir.Element: _element_into,
    ir.ConcatStrings: _concat,
}  # fmt: skip
