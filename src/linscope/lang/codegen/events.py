"""Events: records for user space, in the ring buffer.  Their bytes: see lang/unit.py.

The fixed part is built at a place of known size; strings and buffers are read right behind it, one after the other, so
that a record is no longer than what it says.
"""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.built import EXITING
from linscope.lang.codegen import memory, scalars
from linscope.lang.codegen.assembler import R0, R1, R2, R3, R4, Label
from linscope.lang.codegen.function import CONSTANT, Function, Place, Temporary
from linscope.lang.unit import HEADER_SIZE, event_layout, is_variable

_RINGBUF_OUTPUT, _LOOKUP = 130, 1
_READ_KERNEL, _READ_KERNEL_STRING = 113, 115
_RINGBUF_QUERY, _AVAILABLE = 134, 0  # BPF_RB_AVAIL_DATA
_STEP = 256  # bytes beyond Options.wakeup_bytes in which a record wakes the reader
_NO_WAKEUP, _FORCE_WAKEUP = 1, 2  # BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP
# kinds of which there may be many: the reader is woken as Options says, for all others at once
_MANY = ("printf", "print", "errorf", "warnf", "cat", "join", "time", "helper_error", "runtime_error")


def emit(f: Function, node: ir.Emit) -> None:
    """Tell user space some values."""
    event = node.event
    if event.kind == "exit":
        f.code.map_value(R1, f.generator.stop_map(), 0)
        f.code.store_constant(R1, 0, EXITING, 8)
    offsets, fixed = event_layout(event.values)
    room_needed = fixed + sum(_most(type) for type in event.values if is_variable(type))
    record = f.memory(room_needed, scratch=room_needed != fixed)
    if fixed > HEADER_SIZE:
        _clear_gaps(f, record, event, offsets, fixed)
    _header(f, record, event, fixed)
    size: Temporary | None = None
    for value, type, offset in zip(node.values, event.values, offsets, strict=True):
        if not is_variable(type):
            memory.into(f, value, record.further(offset))
            continue
        if size is None:
            f.code.constant(R0, fixed)
            size = f.keep(R0, known=True)
        mark = f.mark()
        _append(f, value, record, size, record.further(offset))
        f.release(mark)
    if size is None:
        _output(f, record, event, None, fixed)
        return
    f.restore(size, R0)
    base, at = f.with_base(record, R1)
    f.code.store(base, at + 4, R0, 4)
    _output(f, record, event, size, fixed)
    f.give_up(size)


def _most(type: t.Type) -> int:
    """Bytes behind the fixed part that a value may take."""
    return type.capacity if isinstance(type, t.Buffer) else type.size


def _clear_gaps(f: Function, record: Place, event: ir.Event, offsets: list[int], fixed: int) -> None:
    """Zero what lies between the values: nothing of other records is told."""
    filled = HEADER_SIZE
    for type, offset in zip(event.values, offsets, strict=True):
        if offset != filled:
            break
        filled += 4 if is_variable(type) else type.size
    if filled != fixed:
        memory.clear(f, record.further(HEADER_SIZE), fixed - HEADER_SIZE)


def _header(f: Function, record: Place, event: ir.Event, size: int) -> None:
    base, offset = f.with_base(record, R1)
    f.code.store_constant(base, offset, f.generator.number_of(event), 4)
    f.code.store_constant(base, offset + 4, size, 4)


def _destination(f: Function, record: Place, size: Temporary) -> None:
    """r1 = where the next bytes go"""
    f.restore(size, R2)
    f.address(record, R1)
    f.code.alu("+", R1, R2)


def _append(f: Function, value: ir.Expression, record: Place, size: Temporary, length: Place) -> None:
    """Read a string or buffer behind what is there, and write down its length."""
    code = f.code
    type = value.type
    if isinstance(value, ir.LoadString):
        _append_string(f, value, record, size)
    elif isinstance(value, ir.LoadBuffer):
        _append_buffer(f, value, record, size)
    elif isinstance(value, ir.Bytes):
        data = value.data[: value.type.size - 1]
        data = data.partition(b"\0")[0]
        if data:
            _destination(f, record, size)
            code.constant(R2, len(data))
            f.address(Place(CONSTANT, f.generator.constant(data)), R3)
            code.call(_READ_KERNEL)
        code.constant(R0, len(data))
    elif isinstance(type, t.Buffer):
        place = memory.memory(f, value)
        base, offset = f.with_base(place, R1)
        code.load(R0, base, offset, 4)
        memory.clamp(f, R0, type.capacity)
        kept = f.keep(R0, known=True)
        _destination(f, record, size)
        f.restore(kept, R2)
        f.address(place.further(4), R3)
        code.call(_READ_KERNEL)
        f.restore(kept, R0)
        f.give_up(kept)
    else:
        place = memory.memory(f, value)
        _destination(f, record, size)
        code.constant(R2, type.size)
        f.address(place, R3)
        code.call(_READ_KERNEL_STRING)
        length_of_string(f)
    base, offset = f.with_base(length, R1)
    code.store(base, offset, R0, 4)
    f.restore(size, R1)
    code.alu("+", R1, R0)
    f.change(size, R1)


def length_of_string(f: Function) -> None:
    """r0 = characters without the NUL, from a helper's result

    The verifier goes straight on first: with all lengths, so that it needs not follow the way of the failed read too.
    """
    code = f.code
    none, done = Label(), Label()
    code.branch_constant("s<=", R0, 0, none)
    code.alu_constant("-", R0, 1)
    code.jump(done)
    code.place(none)
    code.constant(R0, 0)
    code.place(done)


def _append_string(f: Function, value: ir.LoadString, record: Place, size: Temporary) -> None:
    code = f.code
    scalars.scalar(f, value.address)
    address = f.keep(R0)
    limit = None
    if value.limit is not None:
        scalars.scalar(f, value.limit)
        memory.clamp(f, R0, value.type.size - 1)
        code.alu_constant("+", R0, 1)
        limit = f.keep(R0, known=True)
    _destination(f, record, size)
    if limit is None:
        code.constant(R2, value.type.size)
    else:
        f.restore(limit, R2)
        f.give_up(limit)
    f.restore(address, R3)
    f.give_up(address)
    number, name = memory.READ_STRING[value.space]
    code.call(number)
    memory.keep_failure(f, value)
    memory.say_unrecorded(f, value.type.size, lambda: _destination(f, record, size))
    if f.generator.options.helper_errors:
        kept = f.keep(R0, known=True)
        scalars.told(f, name, value)
        f.restore(kept, R0)
        f.give_up(kept)
    length_of_string(f)


def _append_buffer(f: Function, value: ir.LoadBuffer, record: Place, size: Temporary) -> None:
    code = f.code
    kind = value.type
    assert isinstance(kind, t.Buffer)
    scalars.scalar(f, value.address)
    address = f.keep(R0)
    scalars.scalar(f, value.length)
    memory.clamp(f, R0, kind.capacity)
    length = f.keep(R0, known=True)
    _destination(f, record, size)
    f.restore(length, R2)
    f.restore(address, R3)
    code.call(memory.READ[value.space][0])
    memory.keep_failure(f, value)
    if f.generator.options.replay:
        fine = Label()
        code.branch_constant("s>=", R0, 0, fine)
        code.constant(R0, min(kind.capacity, len(memory.NOT_RECORDED) - 1))
        f.change(length, R0)
        _destination(f, record, size)
        f.restore(length, R2)
        f.address(memory.unrecorded_text(f), R3)
        code.call(_READ_KERNEL)
        code.place(fine)
    scalars.told(f, memory.READ[value.space][1], value)
    f.restore(length, R0)
    f.give_up(length)
    f.give_up(address)


def _output(f: Function, record: Place, event: ir.Event, size: Temporary | None, fixed: int) -> None:
    """Write the record to the ring buffer; count it when there is no room."""
    code = f.code
    waiting = f.generator.options.wakeup_bytes
    if f.generator.options.replay:
        _pause(f, event)
        code.constant(R4, 0)
    elif event.kind not in _MANY:
        code.constant(R4, _FORCE_WAKEUP)
    elif waiting:
        code.map(R1, f.generator.events_map())
        code.constant(R2, _AVAILABLE)
        code.call(_RINGBUF_QUERY)
        other = Label()  # fewer bytes, or more: then the reader was woken before
        code.constant(R4, _NO_WAKEUP)
        code.alu_constant("-", R0, waiting)
        code.branch_constant(">=", R0, _STEP, other)
        code.constant(R4, _FORCE_WAKEUP)
        code.place(other)
    else:
        code.constant(R4, 0)
    f.address(record, R2)
    if size is None:
        code.constant(R3, fixed)
    else:
        f.restore(size, R3)
    code.map(R1, f.generator.events_map())
    code.call(_RINGBUF_OUTPUT)
    written = Label()
    code.branch_constant("==", R0, 0, written)
    key = f.memory(8)
    memory.clear(f, key, 8)
    f.address(key, R2)
    code.map(R1, f.generator.lost_map())
    code.call(_LOOKUP)
    code.branch_constant("==", R0, 0, written)
    code.load(R1, R0, 0, 8)
    code.alu_constant("+", R1, 1)
    code.store(R0, 0, R1, 8)
    code.place(written)


def _pause(f: Function, event: ir.Event) -> None:
    """Set STOP when user space is to act before the next record of a replay: it looks at the record's time or at maps,
    or much waits already.
    """
    code = f.code
    going_on = Label()
    if event.kind in _MANY and event.kind != "time":
        code.map(R1, f.generator.events_map())
        code.constant(R2, _AVAILABLE)
        code.call(_RINGBUF_QUERY)
        code.branch_constant("<", R0, f.generator.options.wakeup_bytes, going_on)
    code.map_value(R1, f.generator.stop_map(), 0)
    code.store_constant(R1, 0, 1, 8)
    code.place(going_on)


def emit_error(f: Function, event: ir.Event) -> None:
    """Tell a mistake that shows only now; r0 is the helper's result."""
    mark = f.mark()
    offsets, fixed = event_layout(event.values)
    record = f.memory(fixed)
    base, offset = f.with_base(record, R1)
    if offsets:
        f.code.store(base, offset + offsets[0], R0, event.values[0].size)
    _header(f, record, event, fixed)
    _output(f, record, event, None, fixed)
    f.release(mark)


def emit_join(f: Function, node: ir.EmitJoin) -> None:
    """The strings that an array of pointers points to, up to NULL."""
    code = f.code
    event = node.event
    offsets, fixed = event_layout(event.values)
    record = f.memory(fixed + sum(type.size for type in event.values), scratch=True)
    scalars.scalar(f, node.address)
    address = f.keep(R0)
    _header(f, record, event, fixed)
    memory.clear(f, record.further(HEADER_SIZE), fixed - HEADER_SIZE)
    code.constant(R0, fixed)
    size = f.keep(R0, known=True)
    pointer = f.memory(8)
    ended = Label()
    for place, (type, offset) in enumerate(zip(event.values, offsets, strict=True)):
        f.restore(address, R3)
        code.alu_constant("+", R3, 8 * place)
        f.address(pointer, R1)
        code.constant(R2, 8)
        number, name = memory.READ[node.space]
        code.call(number)
        scalars.told(f, name, node)
        base, at = f.with_base(pointer, R1)
        code.load(R3, base, at, 8)
        code.branch_constant("==", R3, 0, ended)
        _destination(f, record, size)
        code.constant(R2, type.size)
        code.call(memory.READ_STRING[node.space][0])
        length_of_string(f)
        base, at = f.with_base(record.further(offset), R1)
        code.alu_constant("+", R0, 1)  # one more, for an empty string is not the end
        code.store(base, at, R0, 4)
        f.restore(size, R1)
        code.alu("+", R1, R0)
        f.change(size, R1)
    code.place(ended)
    f.restore(size, R0)
    base, at = f.with_base(record, R1)
    code.store(base, at + 4, R0, 4)
    _output(f, record, event, size, fixed)
    f.give_up(size)
    f.give_up(address)
