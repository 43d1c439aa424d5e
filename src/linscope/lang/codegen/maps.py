"""The script's maps: keys and values put into memory, looked up, changed."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.codegen import memory, scalars
from linscope.lang.codegen.assembler import R0, R1, R2, R3, R4, Assembler, Label
from linscope.lang.codegen.events import emit_error
from linscope.lang.codegen.function import POINTER, VALUE, Function, Place

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.lang.bpftrace.syntax import Span

LOOKUP, UPDATE, DELETE, FOR_EACH = 1, 2, 3, 164
_ANY, NOEXIST = 0, 1
FULL = -7  # -E2BIG


def key_place(f: Function, script_map: ir.Map, key: ir.Expression | None) -> Place:
    """Where a key lies, as the map wants it; of a scalar map a u32 zero."""
    if key is None or script_map.key is None:
        room = f.memory(8)
        memory.clear(f, room, 8)
        return room
    if key.type.is_scalar:
        room = f.memory(8)
        memory.scalar_into(f, key, room, script_map.key)
        return room
    return memory.memory(f, key)


def is_direct(script_map: ir.Map) -> bool:
    """Whether it is an array of one value, whose address is known before."""
    return script_map.key is None and not isinstance(script_map.value, t.Aggregation)


def look_up(f: Function, script_map: ir.Map, key: Place) -> None:
    """r0 = address of the value, 0 when there is no such key"""
    f.address(key, R2)
    f.code.map(R1, f.generator.map_place(script_map))
    f.code.call(LOOKUP)


def get(f: Function, node: ir.MapGet) -> None:
    """r0 = a map's scalar, 0 when it has no such key"""
    if is_direct(node.map):
        f.code.map_value(R1, f.generator.map_place(node.map), 0)
        scalars.load(f, R0, R1, 0, node.type)
        return
    mark = f.mark()
    look_up(f, node.map, key_place(f, node.map, node.key))
    none = Label()
    f.code.branch_constant("==", R0, 0, none)
    scalars.load(f, R0, R0, 0, node.type)
    f.code.place(none)
    f.release(mark)


def get_into(f: Function, node: ir.MapGet, to: Place) -> None:
    """Put a map's value to a place; zeros when it has no such key."""
    code = f.code
    size = node.type.size
    if is_direct(node.map):
        memory.copy(f, to, Place(VALUE, f.generator.map_place(node.map)), size)
        return
    look_up(f, node.map, key_place(f, node.map, node.key))
    none, done = Label(), Label()
    code.branch_constant("==", R0, 0, none)
    kept = f.keep(R0, known=True)
    memory.copy(f, to, Place(POINTER, 0, kept), size)
    f.give_up(kept)
    code.jump(done)
    code.place(none)
    memory.clear(f, to, size)
    code.place(done)


def has(f: Function, node: ir.MapHas) -> None:
    """r0 = whether a map has a key; its value goes to a variable"""
    mark = f.mark()
    code = f.code
    look_up(f, node.map, key_place(f, node.map, node.key))
    none, done = Label(), Label()
    code.branch_constant("==", R0, 0, none)
    if node.into is not None:
        kept = f.keep(R0, known=True)
        to = f.variable(node.into)
        if node.into.type.is_scalar:
            base, offset = f.with_base(Place(POINTER, 0, kept), R1)
            scalars.load(f, R0, base, offset, node.map.value)
            code.store(f.base(to), to.offset, R0, node.into.type.size)
        else:
            memory.copy(f, to, Place(POINTER, 0, kept), min(node.map.value.size, node.into.type.size))
        f.give_up(kept)
    code.constant(R0, 1)
    code.jump(done)
    code.place(none)
    code.constant(R0, 0)
    code.place(done)
    f.release(mark)


def delete(f: Function, node: ir.MapDelete) -> None:
    """r0 = whether a key was removed; a scalar map's value becomes zero"""
    mark = f.mark()
    code = f.code
    if is_direct(node.map):
        memory.clear(f, Place(VALUE, f.generator.map_place(node.map)), max(node.map.value.size, 1))
        code.constant(R0, 1)
        return
    key = key_place(f, node.map, node.key)
    if node.key is None:  # an aggregation: of this CPU only
        look_up(f, node.map, key)
        none = Label()
        code.branch_constant("==", R0, 0, none)
        kept = f.keep(R0, known=True)
        memory.clear(f, Place(POINTER, 0, kept), max(node.map.value.size, 1))
        f.give_up(kept)
        code.constant(R0, 1)
        code.place(none)
    else:
        f.address(key, R2)
        code.map(R1, f.generator.map_place(node.map))
        code.call(DELETE)
        code.zero_extend(R0)  # before v6.4 the upper half says nothing
        done, fine = Label(), Label()
        code.branch_constant("==", R0, 0, fine)
        code.constant(R0, 0)
        code.jump(done)
        code.place(fine)
        code.constant(R0, 1)
        code.place(done)
    f.release(mark)


def set_value(f: Function, node: ir.MapSet) -> None:
    """map[key] = value"""
    if is_direct(node.map):
        target = Place(VALUE, f.generator.map_place(node.map))
        if node.value.type.is_scalar:
            memory.scalar_into(f, node.value, target, node.map.value)
        else:  # made whole before any of it is seen: the new value may be made of the old one
            memory.copy(f, target, memory.memory(f, node.value), node.value.type.size)
        return
    if node.value.type.is_scalar:
        place = f.memory(8)
        memory.scalar_into(f, node.value, place, node.map.value)
    else:
        place = memory.memory(f, node.value)
    key = key_place(f, node.map, node.key)
    update(f, node.map, key, place, _ANY)
    scalars.extend(f, R0, t.INT32)  # before v6.4 (d7ba4cc900bf) the upper half says nothing
    report(f, "map_update_elem", node.span)


def update(f: Function, script_map: ir.Map, key: Place, value: Place, flags: int) -> None:
    """r0 = 0, or a negative errno"""
    f.address(key, R2)
    f.address(value, R3)
    f.code.map(R1, f.generator.map_place(script_map))
    f.code.constant(R4, flags)
    f.code.call(UPDATE)


def report(f: Function, name: str, span: Span) -> None:
    """Tell user space when r0 is negative."""
    fine = Label()
    f.code.branch_constant("s>=", R0, 0, fine)
    emit_error(f, f.generator.helper_error(name, span))
    f.code.place(fine)


def add(f: Function, node: ir.MapAdd) -> None:
    """r0 = the value before or after something was added to it, in one step (of 4 and 8 bytes)"""
    mark = f.mark()
    code = f.code
    scalars.scalar(f, node.delta)
    delta = f.keep(R0)
    done = Label()
    if is_direct(node.map):
        code.map_value(R2, f.generator.map_place(node.map), 0)
    else:
        key = key_place(f, node.map, node.key)
        found = Label()
        find_or_make(f, node.map, key, found, node.span)
        code.constant(R0, 0)
        code.jump(done)
        code.place(found)
        code.move(R2, R0)
    f.restore(delta, R1)
    size = node.map.value.size
    if size >= 4:
        code.atomic_add(R2, 0, R1, size, fetch=True)
        code.move(R0, R1)
        if not node.old:
            f.restore(delta, R1)
            code.alu("+", R0, R1)
    else:  # processors have atomic additions, eBPF has none so small
        code.load(R0, R2, 0, size)
        code.alu("+", R1, R0)
        code.store(R2, 0, R1, size)
        if not node.old:
            code.move(R0, R1)
    scalars.extend(f, R0, node.type)
    code.place(done)
    f.give_up(delta)
    f.release(mark)


def find_or_make(f: Function, script_map: ir.Map, key: Place, found: Label, span: Span) -> None:
    """Go to ``found`` with the address of a key's value in r0, zeros when it is new; go on when there is no room."""
    code = f.code
    look_up(f, script_map, key)
    code.branch_constant("!=", R0, 0, found)
    if script_map.key is None:
        return  # an array: the key is always there
    size = script_map.value.size
    room = f.memory(size)
    memory.clear(f, room, size)
    update(f, script_map, key, room, NOEXIST)
    look_up(f, script_map, key)
    code.branch_constant("!=", R0, 0, found)
    code.constant(R0, FULL)
    emit_error(f, f.generator.helper_error("map_update_elem", span))


def length(f: Function, node: ir.MapLength) -> None:
    """r0 = the number of keys: each is called back"""
    counted = Assembler("count_keys")
    counted.constant(R0, 0)
    counted.exit()
    code = f.code
    code.map(R1, f.generator.map_place(node.map))
    code.callback(R2, counted)
    f.frame(R3)
    code.constant(R4, 0)
    code.call(FOR_EACH)
    scalars.extend(f, R0, t.INT32)
    positive = Label()
    code.branch_constant("s>=", R0, 0, positive)
    code.constant(R0, 0)
    code.place(positive)


def aggregated(f: Function, node: ir.Aggregated) -> None:
    """r0 = the number of an aggregation, over all CPUs"""
    from linscope.lang.codegen.aggregates import sum_over_cpus

    mark = f.mark()
    key = key_place(f, node.map, node.key)
    room = f.memory(node.map.value.size)
    sum_over_cpus(f, node.map, key, room)
    base, offset = f.with_base(room, R1)
    f.code.load(R0, base, offset, 8)
    if isinstance(node.map.value, t.Average):
        f.code.load(R1, base, offset + 8, 8)
        scalars.average(f, node.map.value)
    f.release(mark)
