"""Aggregations: each CPU adds to its own value; reading adds up those of all CPUs."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.codegen import memory, scalars
from linscope.lang.codegen.assembler import R0, R1, R2, R3, R4, R5, Label
from linscope.lang.codegen.function import Function, Place, Temporary
from linscope.lang.codegen.generator import enter_callback
from linscope.lang.codegen.maps import find_or_make, key_place
from linscope.lang.unit import BUCKETED, bucket_count, bucket_offset

_LOOKUP_PER_CPU, _KTIME, _LOOP = 195, 5, 181
_MOST_UNROLLED = 8  # CPUs


def aggregate(f: Function, node: ir.Aggregate) -> None:
    """Add a value to an aggregation."""
    kind = node.map.value
    code = f.code
    value: Temporary | None = None
    if node.value is not None:
        scalars.scalar(f, node.value)
        value = f.keep(R0)
    times: Temporary | None = None
    if node.times is not None:
        scalars.scalar(f, node.times)
        times = f.keep(R0)
    epoch: Temporary | None = None
    if isinstance(kind, t.TimeSeries):
        if node.now is None:
            code.call(_KTIME)
        else:
            scalars.scalar(f, node.now)
        _constant_to(f, R1, kind.interval_ns)
        code.alu("/", R0, R1)
        epoch = f.keep(R0)
    key = _bucket_key(f, node, value, epoch) if isinstance(kind, BUCKETED) else key_place(f, node.map, node.key)
    found, done = Label(), Label()
    find_or_make(f, node.map, key, found, node.span)
    code.jump(done)
    code.place(found)
    _change(f, kind, value, times, epoch)
    code.place(done)
    for held in (value, times, epoch):
        if held is not None:
            f.give_up(held)


def _constant_to(f: Function, register: int, value: int) -> None:
    f.code.constant(register, value - (1 << 64) if value >= 1 << 63 else value)


def _bucket_key(f: Function, node: ir.Aggregate, value: Temporary | None, epoch: Temporary | None) -> Place:
    """The map's key with the bucket that the value falls into."""
    kind = node.map.value
    offset = bucket_offset(node.map.key)
    room = f.memory(offset + 4)
    if node.key is not None:
        assert node.map.key is not None
        if offset != node.map.key.size:
            memory.clear(f, room, offset + 4)
        memory.into(f, node.key, room)
    code = f.code
    if isinstance(kind, t.TimeSeries):
        assert epoch is not None
        f.restore(epoch, R0)
        code.alu_constant("%", R0, kind.intervals)
    else:
        assert value is not None
        f.restore(value, R0)
        if isinstance(kind, t.Histogram):
            _histogram_bucket(f, kind.bits)
        else:
            assert isinstance(kind, t.LinearHistogram)
            _linear_bucket(f, kind)
    base, base_offset = f.with_base(room, R1)
    code.store(base, base_offset + offset, R0, 4)
    return room


def _histogram_bucket(f: Function, bits: int) -> None:
    """r0 = unit.histogram_bucket(r0): below zero 0, then linear, then by powers of two."""
    code = f.code
    negative, small, done = Label(), Label(), Label()
    code.branch_constant("s<", R0, 0, negative)
    code.branch_constant("<", R0, 1 << bits, small)
    code.move(R1, R0)  # r2 = position of the highest bit
    code.constant(R2, 0)
    for shift in (32, 16, 8, 4, 2, 1):
        lower = Label()
        code.move(R3, R1)
        code.alu_constant(">>", R3, shift)
        code.branch_constant("==", R3, 0, lower)
        code.move(R1, R3)
        code.alu_constant("+", R2, shift)
        code.place(lower)
    if bits:
        code.alu_constant("-", R2, bits)
    code.alu_constant("&", R2, 63)
    code.alu(">>", R0, R2)
    code.alu_constant("<<", R2, bits)
    code.alu("+", R0, R2)
    code.place(small)
    code.alu_constant("+", R0, 1)
    code.jump(done)
    code.place(negative)
    code.constant(R0, 0)
    code.place(done)


def _linear_bucket(f: Function, kind: t.LinearHistogram) -> None:
    """r0 = unit.linear_bucket(r0)"""
    code = f.code
    below, above, done = Label(), Label(), Label()
    _constant_to(f, R1, kind.least)
    code.branch("s<", R0, R1, below)
    _constant_to(f, R2, kind.most)
    code.branch("s>=", R0, R2, above)
    code.alu("-", R0, R1)
    _constant_to(f, R1, kind.step)
    code.alu("/", R0, R1)
    code.alu_constant("+", R0, 1)
    code.jump(done)
    code.place(below)
    code.constant(R0, 0)
    code.jump(done)
    code.place(above)
    code.constant(R0, bucket_count(kind) - 1)
    code.place(done)


def _change(
    f: Function, kind: t.Type, value: Temporary | None, times: Temporary | None, epoch: Temporary | None
) -> None:
    """Change the value at r0."""
    code = f.code
    if isinstance(kind, t.TimeSeries):
        assert value is not None and epoch is not None
        _series(f, kind, value, epoch)
        return
    if isinstance(kind, t.Extreme):
        assert value is not None
        f.restore(value, R1)
        keep, store = Label(), Label()
        code.load(R2, R0, 8, 8)
        code.branch_constant("==", R2, 0, store)
        code.load(R2, R0, 0, 8)
        code.branch(("s" if kind.signed else "") + (">=" if kind.word == "min" else "<="), R1, R2, keep)
        code.place(store)
        code.store(R0, 0, R1, 8)
        code.constant(R1, 1)
        code.store(R0, 8, R1, 8)
        code.place(keep)
        return
    if isinstance(kind, t.Sum | t.Average):
        assert value is not None
        f.restore(value, R1)
    elif times is not None:
        f.restore(times, R1)
    else:
        code.constant(R1, 1)
    code.load(R2, R0, 0, 8)
    code.alu("+", R2, R1)
    code.store(R0, 0, R2, 8)
    if isinstance(kind, t.Average):
        code.load(R2, R0, 8, 8)
        code.alu_constant("+", R2, 1)
        code.store(R0, 8, R2, 8)


def _series(f: Function, kind: t.TimeSeries, value: Temporary, epoch: Temporary) -> None:
    """The bucket at r0: value, count, epoch; one of an older round begins anew."""
    code = f.code
    f.restore(value, R1)
    f.restore(epoch, R2)
    same, first, done = Label(), Label(), Label()
    code.load(R3, R0, 16, 8)
    code.load(R4, R0, 8, 8)
    code.branch_constant("==", R4, 0, first)
    code.branch("==", R3, R2, same)
    code.place(first)
    code.store(R0, 16, R2, 8)
    code.store(R0, 0, R1, 8)
    code.constant(R4, 1)
    code.store(R0, 8, R4, 8)
    code.jump(done)
    code.place(same)
    code.alu_constant("+", R4, 1)
    code.store(R0, 8, R4, 8)
    code.load(R5, R0, 0, 8)
    if kind.word in ("avg", "sum"):
        code.alu("+", R1, R5)
    elif kind.word in ("min", "max"):
        sign = ("s" if kind.signed else "") + (">=" if kind.word == "min" else "<=")
        code.branch(sign, R1, R5, done)
    code.store(R0, 0, R1, 8)
    code.place(done)


def sum_over_cpus(f: Function, script_map: ir.Map, key: Place, to: Place) -> None:
    """Put the value of all CPUs to a place; zeros when there is no such key."""
    code = f.code
    cpus = f.generator.options.cpus
    size = script_map.value.size
    if cpus <= _MOST_UNROLLED:
        memory.clear(f, to, size)
        for cpu in range(cpus):
            f.code.constant(R3, cpu)
            _add_cpu(f, script_map, key, to)
        return
    mark = f.mark()
    key_size = 4 if script_map.key is None else script_map.key.size
    kept_key, total = f.memory(key_size, scratch=True), f.memory(size, scratch=True)
    memory.copy(f, kept_key, key, key_size)
    memory.clear(f, total, size)
    inner = f.callback("cpu")
    inner.code.move(R3, R1)
    _add_cpu(inner, script_map, kept_key, total)
    inner.code.constant(R0, 0)
    inner.code.exit()
    enter_callback(inner, R2)
    code.constant(R1, cpus)
    code.callback(R2, inner.code)
    f.frame(R3)
    code.constant(R4, 0)
    code.call(_LOOP)
    memory.copy(f, to, total, size)
    f.release(mark)


def _add_cpu(f: Function, script_map: ir.Map, key: Place, to: Place) -> None:
    """Add the value of the CPU in r3 to what is at a place."""
    kind = script_map.value
    code = f.code
    none = Label()
    f.address(key, R2)
    code.map(R1, f.generator.map_place(script_map))
    code.call(_LOOKUP_PER_CPU)
    code.branch_constant("==", R0, 0, none)
    base, offset = f.with_base(to, R5)
    code.load(R1, R0, 0, 8)
    code.load(R2, base, offset, 8)
    if isinstance(kind, t.Extreme):
        store = Label()
        code.load(R3, R0, 8, 8)
        code.branch_constant("==", R3, 0, none)
        code.load(R3, base, offset + 8, 8)
        code.branch_constant("==", R3, 0, store)
        code.branch(("s" if kind.signed else "") + (">=" if kind.word == "min" else "<="), R1, R2, none)
        code.place(store)
        code.store(base, offset, R1, 8)
        code.constant(R1, 1)
        code.store(base, offset + 8, R1, 8)
    else:
        code.alu("+", R1, R2)
        code.store(base, offset, R1, 8)
        if isinstance(kind, t.Average):
            code.load(R1, R0, 8, 8)
            code.load(R2, base, offset + 8, 8)
            code.alu("+", R1, R2)
            code.store(base, offset + 8, R1, 8)
    code.place(none)
