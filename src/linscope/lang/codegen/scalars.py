"""Scalar expressions: code that leaves a value in r0."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.codegen import memory
from linscope.lang.codegen.assembler import OPPOSITES, R0, R1, R2, R3, R4, R5, R6, Label
from linscope.lang.codegen.function import Function, Place

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PER_CPU_PTR, _THIS_CPU_PTR = 153, 154
_ARGUMENTS = (R1, R2, R3, R4, R5)


def scalar(f: Function, node: ir.Expression) -> None:
    """r0 = the value of a scalar expression"""
    f.code.at(node.span)
    _SCALARS[type(node)](f, node)


def is_leaf(node: ir.Expression) -> bool:
    """Whether ``leaf`` can load it without touching any other register."""
    if isinstance(node, ir.Convert):
        return is_leaf(node.operand) and _is_free(node)
    if isinstance(node, ir.Context) and _is_plain_context(node):
        return False
    return isinstance(node, ir.Number | ir.Get | ir.FromContext | ir.Context) and node.type.is_scalar


def _is_plain_context(node: ir.Context) -> bool:
    """Whether the context is a value, ``ctx`` of a script, and not what a helper is given."""
    return isinstance(node.type, t.Pointer) and isinstance(node.type.target, t.Void)


def _is_free(node: ir.Convert) -> bool:
    """Whether a conversion changes no bit of the register."""
    have, want = node.operand.type, node.type
    if isinstance(want, t.Bool):
        return isinstance(have, t.Bool)
    return want.size == 8 or (want.size == have.size and want.signed == have.signed)


def leaf(f: Function, node: ir.Expression, register: int) -> None:
    """register = the value of a leaf"""
    if isinstance(node, ir.Convert):
        leaf(f, node.operand, register)
    elif isinstance(node, ir.Number):
        f.code.constant(register, _signed(node.value))
    elif isinstance(node, ir.Context):
        f.code.move(register, R6)
    elif isinstance(node, ir.FromContext):
        load(f, register, R6, node.offset, node.type)
    elif isinstance(node, ir.Get):
        place = f.variable(node.variable)
        load(f, register, f.base(place), place.offset, node.type)


def _signed(value: int) -> int:
    """A 64-bit value as the assembler takes it."""
    return value - (1 << 64) if value >= 1 << 63 else value


def load(f: Function, register: int, base: int, offset: int, type: t.Type) -> None:
    """register = a scalar in memory, extended by its sign"""
    size = type.size
    f.code.load(register, base, offset, size)
    if type.signed and size < 8:
        extend(f, register, type)


def extend(f: Function, register: int, type: t.Type) -> None:
    """Bring a register into the canonical form of a type that is narrower than 64 bits."""
    bits = 64 - 8 * type.size
    if not bits:
        return
    if not type.signed and bits == 32:
        f.code.zero_extend(register)
    elif not type.signed:
        f.code.alu_constant("&", register, (1 << 64 - bits) - 1)
    else:
        f.code.alu_constant("<<", register, bits)
        f.code.alu_constant("s>>", register, bits)


def _untyped(f: Function, node: ir.Expression, register: int, *, moves: bool = False) -> None:
    """Let the verifier take a pointer to one of the kernel's structs for a number, with which all may be done.

    moves: a constant is added to it only, which it allows when the pointer cannot be NULL.
    """
    if f.main.is_typed and _may_be_typed(node) and (f.main.is_iterator or not moves):
        _forget(f, register)


def _forget(f: Function, register: int) -> None:
    """Make a plain number of a register, for the verifier."""
    mark = f.mark()
    room = f.memory(8)
    base, code = f.base(room), f.code
    code.store_constant(base, room.offset, 0, 8)
    code.atomic_add(base, room.offset, register, 8, fetch=False)  # what a plain store leaves it would know again
    code.load(register, base, room.offset, 8)
    f.release(mark)


def _context(f: Function, node: ir.Context) -> None:
    f.code.move(R0, R6)
    if _is_plain_context(node):
        _forget(f, R0)


def _may_be_typed(node: ir.Expression) -> bool:
    """Whether a value can be a pointer of the context's."""
    if isinstance(node, ir.Convert | ir.Reinterpret):
        return node.type.size == 8 and _may_be_typed(node.operand)
    if isinstance(node, ir.Choice):
        return _may_be_typed(node.yes) or _may_be_typed(node.no)
    if isinstance(node, ir.Do):
        return _may_be_typed(node.value)
    if isinstance(node, ir.Get):
        return isinstance(node.type, t.Pointer)
    if isinstance(node, ir.Binary):
        return isinstance(node.right, ir.Number) and isinstance(node.type, t.Pointer) and _may_be_typed(node.left)
    return isinstance(node, ir.FromContext) and node.type.size == 8


def pair(f: Function, left: ir.Expression, right: ir.Expression) -> None:
    """r0 = left, r1 = right; left is evaluated first."""
    scalar(f, left)
    _untyped(f, left, R0)
    if is_leaf(right):
        leaf(f, right, R1)
        _untyped(f, right, R1)
        return
    kept = f.keep(R0)
    scalar(f, right)
    f.code.move(R1, R0)
    _untyped(f, right, R1)
    f.restore(kept, R0)
    f.give_up(kept)


def _leaf(f: Function, node: ir.Expression) -> None:
    leaf(f, node, R0)


def _get(f: Function, node: ir.Get) -> None:
    leaf(f, node, R0)


def _load(f: Function, node: ir.Load) -> None:
    mark = f.mark()
    scalar(f, node.address)
    room = f.memory(8)
    number, name = memory.READ[node.space]
    code = f.code
    code.move(R3, R0)
    f.address(room, R1)
    code.constant(R2, node.type.size)
    code.call(number)
    memory.keep_failure(f, node)
    told(f, name, node)
    load(f, R0, f.base(room), room.offset, node.type)
    f.release(mark)


def told(f: Function, name: str, node: ir.Expression | ir.Statement, *, always: bool = False) -> None:
    """Tell user space when r0, a helper's result, is negative."""
    if not always and not f.generator.options.helper_errors:
        return
    from linscope.lang.codegen.events import emit_error

    fine = Label()
    f.code.branch_constant("s>=", R0, 0, fine)
    emit_error(f, f.generator.helper_error(name, node.span))
    f.code.place(fine)


def _unary(f: Function, node: ir.Unary) -> None:
    scalar(f, node.operand)
    code = f.code
    if node.sign != "!":
        _untyped(f, node.operand, R0)
    if node.sign == "-":
        code.negate(R0)
        extend(f, R0, node.type)
    elif node.sign == "~":
        code.alu_constant("^", R0, -1)
        extend(f, R0, node.type)
    elif node.sign == "bswap":
        code.swap(R0, 8 * node.type.size)
    else:
        _set_from(f, "==", 0)


def _set_from(f: Function, sign: str, value: int) -> None:
    """r0 = whether r0 compares so with a number"""
    code = f.code
    done, yes = Label(), Label()
    code.branch_constant(sign, R0, value, yes)
    code.constant(R0, 0)
    code.jump(done)
    code.place(yes)
    code.constant(R0, 1)
    code.place(done)


def _binary(f: Function, node: ir.Binary) -> None:
    code = f.code
    sign = node.sign
    right = node.right
    if isinstance(right, ir.Number) and -(1 << 31) <= _signed(right.value) < 1 << 31 and sign not in ("/", "%"):
        scalar(f, node.left)
        _untyped(f, node.left, R0, moves=sign in ("+", "-"))
        value = _signed(right.value)
        if sign in ("<<", ">>"):
            value &= 63
        code.alu_constant("s>>" if sign == ">>" and node.type.signed else sign, R0, value)
    else:
        pair(f, node.left, right)
        if sign in ("/", "%") and node.type.signed:
            _signed_division(f, sign)
        elif sign in ("<<", ">>"):
            code.alu_constant("&", R1, 63)
            code.alu("s>>" if sign == ">>" and node.type.signed else sign, R0, R1)
        else:
            code.alu(sign, R0, R1)
    extend(f, R0, node.type)


def _signed_division(f: Function, sign: str) -> None:
    """r0 = r0 / r1 or its remainder, as C has it; by unsigned division, for kernels before v6.6 have no other."""
    code = f.code
    code.move(R3, R0)  # the sign of the result: of both for a quotient, of the dividend for a remainder
    if sign == "/":
        code.alu("^", R3, R1)
    for register in (R0, R1):
        positive = Label()
        code.branch_constant("s>=", register, 0, positive)
        code.negate(register)
        code.place(positive)
    code.alu(sign, R0, R1)
    done = Label()
    code.branch_constant("s>=", R3, 0, done)
    code.negate(R0)
    code.place(done)


def branch(f: Function, node: ir.Expression, otherwise: Label) -> None:
    """Go on when a condition holds, else jump."""
    code = f.code
    code.at(node.span)
    if isinstance(node, ir.Unary) and node.sign == "!":
        yes = Label()
        branch(f, node.operand, yes)
        code.jump(otherwise)
        code.place(yes)
    elif isinstance(node, ir.Logical):
        if node.sign == "&&":
            branch(f, node.left, otherwise)
            branch(f, node.right, otherwise)
        else:
            no, yes = Label(), Label()
            branch(f, node.left, no)
            code.jump(yes)
            code.place(no)
            branch(f, node.right, otherwise)
            code.place(yes)
    elif isinstance(node, ir.Compare) and node.left.type.is_scalar:
        _compare(f, node, otherwise)
    elif isinstance(node, ir.Convert) and isinstance(node.type, t.Bool):
        branch(f, node.operand, otherwise)
    else:
        scalar(f, node)
        code.branch_constant("==", R0, 0, otherwise)


def _compare(f: Function, node: ir.Compare, otherwise: Label) -> None:
    """Jump when a comparison of scalars does not hold."""
    signed = node.left.type.signed and node.sign not in ("==", "!=")
    sign = ("s" if signed else "") + OPPOSITES[node.sign]
    right = node.right
    if isinstance(right, ir.Number) and -(1 << 31) <= _signed(right.value) < 1 << 31:
        scalar(f, node.left)
        f.code.branch_constant(sign, R0, _signed(right.value), otherwise)
    else:
        pair(f, node.left, right)
        f.code.branch(sign, R0, R1, otherwise)


def _condition(f: Function, node: ir.Expression) -> None:
    """r0 = whether a condition holds"""
    if isinstance(node, ir.Compare) and not node.left.type.is_scalar:
        memory.compare(f, node)
        return
    no, done = Label(), Label()
    branch(f, node, no)
    f.code.constant(R0, 1)
    f.code.jump(done)
    f.code.place(no)
    f.code.constant(R0, 0)
    f.code.place(done)


def _choice(f: Function, node: ir.Choice) -> None:
    no, done = Label(), Label()
    branch(f, node.condition, no)
    scalar(f, node.yes)
    f.code.jump(done)
    f.code.place(no)
    scalar(f, node.no)
    f.code.place(done)


def _convert(f: Function, node: ir.Convert) -> None:
    scalar(f, node.operand)
    if isinstance(node.type, t.Bool) and not isinstance(node.operand.type, t.Bool):
        _set_from(f, "!=", 0)
    elif not _is_free(node) and not isinstance(node.type, t.Bool):
        _untyped(f, node.operand, R0)
        extend(f, R0, node.type)


def _from_memory(f: Function, node: ir.Part | ir.Reinterpret | ir.Element) -> None:
    """A scalar in memory that an expression makes."""
    mark = f.mark()
    if isinstance(node, ir.Part):
        place = memory.memory(f, node.of).further(node.offset)
        base, offset = f.with_base(place, R1)
        _load_unaligned(f, base, offset, place.align, node.type)
    elif isinstance(node, ir.Reinterpret):
        size = min(node.type.size, node.operand.type.size)
        if node.operand.type.is_scalar:
            scalar(f, node.operand)
            extend(f, R0, node.type)
        else:
            place = memory.memory(f, node.operand)
            if size < node.type.size:
                room = f.memory(8)
                memory.clear(f, room, 8)
                memory.copy(f, room, place, size)
                place = room
            base, offset = f.with_base(place, R1)
            _load_unaligned(f, base, offset, place.align, node.type)
    else:
        memory.element(f, node)
    f.release(mark)


def _load_unaligned(f: Function, base: int, offset: int, align: int, type: t.Type) -> None:
    """r0 = a scalar that may lie across words: the verifier wants aligned loads of the stack."""
    size = type.size
    if size <= align or size == 1:
        load(f, R0, base, offset, type)
        return
    step = align
    code = f.code
    if base == R0:
        code.move(R1, base)
        base = R1
    code.load(R0, base, offset, step)
    for at in range(step, size, step):
        code.load(R2, base, offset + at, step)
        code.alu_constant("<<", R2, 8 * at)
        code.alu("|", R0, R2)
    extend(f, R0, type)


def arguments(f: Function, nodes: list[ir.Expression], destination: Place | None = None) -> None:
    """r1, r2 ... = values, and the addresses of what lies in memory."""
    kept: list[tuple[object, ir.Expression]] = []
    for node in nodes:
        if isinstance(node, ir.Destination):
            kept.append((destination, node))
        elif is_leaf(node):
            kept.append((None, node))
        elif node.type.is_scalar:
            scalar(f, node)
            kept.append((f.keep(R0, known=True), node))
        else:
            kept.append((memory.memory(f, node), node))
    for register, (held, node) in zip(_ARGUMENTS, kept, strict=False):
        if held is None:
            leaf(f, node, register)
        elif isinstance(held, Place):
            f.address(held, register)
        else:
            f.restore(held, register)  # type: ignore[arg-type]  # a Temporary
    for held, _ in kept:
        if held is not None and not isinstance(held, Place):
            f.give_up(held)  # type: ignore[arg-type]


def _helper(f: Function, node: ir.Helper) -> None:
    mark = f.mark()
    arguments(f, node.arguments)
    f.code.call(node.number)
    if node.fails:
        kept = f.keep(R0)
        told(f, node.name, node, always=True)
        f.restore(kept, R0)
        f.give_up(kept)
    f.release(mark)
    extend(f, R0, node.type)


def _kernel_function(f: Function, node: ir.KernelFunction) -> None:
    mark = f.mark()
    arguments(f, node.arguments)
    f.code.call_kernel(node.btf_id)
    f.release(mark)
    extend(f, R0, node.type)


def _packet(f: Function, node: ir.PacketOutput) -> None:
    from linscope.lang.codegen import packets

    packets.output(f, node)


def _per_cpu(f: Function, node: ir.PerCpuAddress) -> None:
    if node.cpu is not None:
        scalar(f, node.cpu)
        f.code.move(R2, R0)
    f.code.btf_variable(R1, node.btf_id)
    f.code.call(_THIS_CPU_PTR if node.cpu is None else _PER_CPU_PTR)


def _do(f: Function, node: ir.Do) -> None:
    from linscope.lang.codegen.statements import statements

    statements(f, node.statements)
    scalar(f, node.value)


def _total(f: Function, node: ir.Total) -> None:
    """The number of an aggregation in memory."""
    mark = f.mark()
    place = memory.memory(f, node.of)
    base, offset = f.with_base(place, R1)
    f.code.load(R0, base, offset, 8)
    if isinstance(node.of.type, t.Average):
        f.code.load(R1, base, offset + 8, 8)
        average(f, node.of.type)
    f.release(mark)


def average(f: Function, kind: t.Average) -> None:
    """r0 = r0 / r1, the total by the count"""
    if kind.signed:
        _signed_division(f, "/")
    else:
        f.code.alu("/", R0, R1)


def _not_recorded(f: Function, node: ir.NotRecorded) -> None:
    f.code.constant(R0, 0)


def _map(name: str) -> Callable[[Function, Any], None]:
    """What is written in maps.py, which is read when a map is used first."""

    def lowered(f: Function, node: Any) -> None:
        from linscope.lang.codegen import maps

        getattr(maps, name)(f, node)

    return lowered


def _string(name: str) -> Callable[[Function, Any], None]:
    def lowered(f: Function, node: Any) -> None:
        from linscope.lang.codegen import strings

        getattr(strings, name)(f, node)

    return lowered


def _stack(name: str) -> Callable[[Function, Any], None]:
    def lowered(f: Function, node: Any) -> None:
        from linscope.lang.codegen import stacks

        getattr(stacks, name)(f, node)

    return lowered


_SCALARS: dict[type, Callable[[Function, Any], None]] = {
    ir.Number: _leaf, ir.Context: _context, ir.FromContext: _leaf, ir.Get: _get, ir.Load: _load, ir.Unary: _unary,
    ir.Binary: _binary, ir.Compare: _condition, ir.Logical: _condition, ir.Choice: _choice, ir.Convert: _convert,
    ir.Part: _from_memory, ir.Reinterpret: _from_memory, ir.Element: _from_memory, ir.Helper: _helper,
    ir.KernelFunction: _kernel_function, ir.PacketOutput: _packet, ir.PerCpuAddress: _per_cpu, ir.Do: _do,
    ir.Total: _total, ir.NotRecorded: _not_recorded,
    ir.MapGet: _map("get"), ir.MapHas: _map("has"), ir.MapDelete: _map("delete"),
    ir.MapAdd: _map("add"), ir.MapLength: _map("length"), ir.Aggregated: _map("aggregated"),
    ir.CompareStrings: _string("compare"), ir.FindString: _string("find"), ir.StringLength: _string("length"),
    ir.StackTrace: _stack("trace"), ir.StackLength: _stack("length"),
}  # fmt: skip
