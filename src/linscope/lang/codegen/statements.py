"""Statements, and the program that serves many system calls."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang.codegen import events, loops, maps
from linscope.lang.codegen.aggregates import aggregate
from linscope.lang.codegen.analysis import Analysis
from linscope.lang.codegen.assembler import R0, R1, R2, R3, R6, R9, Label
from linscope.lang.codegen.capture import capture
from linscope.lang.codegen.function import RESULT, RETURNING, Function, Temporary
from linscope.lang.codegen.memory import clear, into
from linscope.lang.codegen.scalars import branch, scalar

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

_CURRENT_TASK = 35
# arch/x86/include/asm/thread_info.h since v5.11: flags, syscall_work, status, at the start of struct task_struct
_THREAD_STATUS, _TS_COMPAT = 16, 2
_ORIG_AX = 120  # of struct pt_regs, x86-64
_PROBE_READ_KERNEL, _ATTACH_COOKIE = 113, 174


def statements(f: Function, nodes: Sequence[ir.Statement]) -> None:
    """Some statements, in order."""
    for node in nodes:
        f.code.at(node.span)
        mark = f.mark()
        _STATEMENTS[type(node)](f, node)
        f.release(mark)


def _evaluate(f: Function, node: ir.Evaluate) -> None:
    if isinstance(node.expression, ir.Do):
        statements(f, node.expression.statements)
        return
    if node.expression.type.is_scalar:
        scalar(f, node.expression)
    else:
        into(f, node.expression, f.memory(node.expression.type.size))


def _set(f: Function, node: ir.Set) -> None:
    place = f.variable(node.variable)
    type = node.variable.type
    if node.value is None:
        clear(f, place, max(type.size, 8))
    elif type.is_scalar:
        scalar(f, node.value)
        f.code.store(f.base(place), place.offset, R0, type.size)
    else:
        into(f, node.value, place)


def _if(f: Function, node: ir.If) -> None:
    otherwise, done = Label(), Label()
    branch(f, node.condition, otherwise)
    statements(f, node.yes)
    if node.no:
        f.code.jump(done)
        f.code.place(otherwise)
        statements(f, node.no)
        f.code.place(done)
    else:
        f.code.place(otherwise)


def _return(f: Function, node: ir.Return) -> None:
    code = f.code
    if node.value is not None:
        scalar(f, node.value)
    if node.value is None or f.main.is_typed or f.generator.options.replay:  # of those the kernel takes 0 only
        code.constant(R0, 0)
    if f.main.passes_on:
        code.constant(R0, 1)
    if f.is_main:
        f.exit()
        return
    code.store(R9, RESULT, R0, 8)
    code.constant(R0, 1)
    code.store(R9, RETURNING, R0, 8)
    code.exit()


def decide(f: Function, body: Sequence[ir.Statement], done: Label) -> Sequence[ir.Statement]:
    """Look at the condition that a whole program depends on; gives what is to be done when it holds."""
    if len(body) != 1 or not isinstance(body[0], ir.If) or body[0].no:
        return body
    condition = body[0].condition
    if Analysis(ir.Program("", [], [ir.Evaluate(condition)])).variables:
        return body
    mark = f.mark()
    branch(f, condition, done)
    f.release(mark)
    return body[0].yes


class Dispatch:
    """Run the statements of the system call that was made; calls that are alike share them."""

    def __init__(self, f: Function, source: ir.Program) -> None:
        assert source.dispatch is not None
        self.f = f
        self.source = source
        self.number: Temporary | None = None
        self.labels: dict[int, tuple[Label, Sequence[ir.Statement]]] = {}
        self.ranges: list[tuple[int, int, Label]] = []  # (first, behind the last, where they go)
        for number in sorted(source.dispatch):
            inner = source.dispatch[number]
            _add_range(self.ranges, number, self.labels.setdefault(id(inner), (Label(), inner))[0])

    def decide(self, done: Label) -> None:
        """Jump when nothing is to be done for this system call."""
        self._load()
        if len(self.labels) > 1:
            self.number = self.f.keep(R0)
        any_of_them = Label()
        ranges: list[tuple[int, int, Label]] = []
        for first, last, _ in self.ranges:
            for number in range(first, last):
                _add_range(ranges, number, any_of_them)
        _search(self.f, ranges, done)
        self.f.code.place(any_of_them)
        if not self.f.generator.options.replay:
            self._leave_compat(done)

    def bodies(self) -> None:
        """Jump to the statements of this system call, and these."""
        code = self.f.code
        done = Label()
        if self.number is not None:
            self.f.restore(self.number, R0)
            self.f.give_up(self.number)
        if len(self.labels) > 1:
            _search(self.f, self.ranges, done)
        for label, body in self.labels.values():
            code.place(label)
            statements(self.f, body)
            code.jump(done)
        code.place(done)

    def _leave_compat(self, done: Label) -> None:
        """Jump when the call is one of a 32-bit program, whose numbers mean others: tracepoints leave them out too."""
        f = self.f
        code = f.code
        mark = f.mark()
        room = f.memory(8)
        code.call(_CURRENT_TASK)
        code.move(R3, R0)
        code.alu_constant("+", R3, _THREAD_STATUS)
        f.address(room, R1)
        code.constant(R2, 4)
        code.call(_PROBE_READ_KERNEL)
        code.load(R0, f.base(room), room.offset, 4)
        code.alu_constant("&", R0, _TS_COMPAT)
        code.branch_constant("!=", R0, 0, done)
        f.release(mark)

    def _load(self) -> None:
        """r0 = the number of the system call"""
        f, source = self.f, self.source
        code = f.code
        if f.generator.options.replay:
            code.move(R1, R6)
            code.call(_ATTACH_COOKIE)
        elif source.probes[0].target.startswith("sys_enter"):
            code.load(R0, R6, 8, 8)
        else:
            room = f.memory(8)
            f.address(room, R1)
            code.constant(R2, 8)
            code.load(R3, R6, 0, 8)
            code.alu_constant("+", R3, _ORIG_AX)
            code.call(_PROBE_READ_KERNEL)
            code.load(R0, f.base(room), room.offset, 8)


def _add_range(ranges: list[tuple[int, int, Label]], number: int, label: Label) -> None:
    if ranges and ranges[-1][1] == number and ranges[-1][2] is label:
        ranges[-1] = (ranges[-1][0], number + 1, label)
    else:
        ranges.append((number, number + 1, label))


def _search(f: Function, ranges: list[tuple[int, int, Label]], done: Label) -> None:
    """Jump to where the number in r0 belongs, by halves."""
    code = f.code
    if len(ranges) <= 3:
        for first, last, label in ranges:
            if last == first + 1:
                code.branch_constant("==", R0, first, label)
                continue
            below = Label()
            code.branch_constant("<", R0, first, below)
            code.branch_constant("<", R0, last, label)
            code.place(below)
        code.jump(done)
        return
    middle = len(ranges) // 2
    upper = Label()
    code.branch_constant(">=", R0, ranges[middle][0], upper)
    _search(f, ranges[:middle], done)
    code.place(upper)
    _search(f, ranges[middle:], done)


_STATEMENTS: dict[type, Callable[[Function, Any], None]] = {
    ir.Evaluate: _evaluate, ir.Set: _set, ir.MapSet: maps.set_value, ir.Aggregate: aggregate, ir.Emit: events.emit,
    ir.EmitJoin: events.emit_join, ir.If: _if, ir.While: loops.while_loop, ir.ForRange: loops.for_range,
    ir.Capture: capture, ir.ForMap: loops.for_map, ir.Break: loops.leave, ir.Continue: loops.leave, ir.Return: _return,
    ir.Inlined: loops.inlined, ir.Leave: loops.leave_inlined,
}  # fmt: skip
