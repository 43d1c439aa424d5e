"""Loops: callbacks of bpf_loop and bpf_for_each_map_elem, which share the variables of the main function.

A callback returns 1 to end its loop, 0 to go on.  ``return`` inside of one leaves a mark in the main function's frame,
which every loop around looks at when it is over.
"""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.codegen.assembler import R0, R1, R2, R3, R4, R9, R10, Label
from linscope.lang.codegen.function import POINTER, RESULT, RETURNING, Function, Place
from linscope.lang.codegen.generator import enter_callback
from linscope.lang.codegen.memory import copy
from linscope.lang.codegen.scalars import branch, scalar

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LOOP, _FOR_EACH = 181, 164
LEAVING = 2  # in RETURNING: not the program ends, but the function that a loop stands in
_MOST_ROUNDS = 1 << 23  # kernel/bpf/bpf_iter.c, BPF_MAX_LOOPS


def _body(inner: Function, nodes: Sequence[ir.Statement]) -> None:
    """The statements of a loop, and its next round."""
    from linscope.lang.codegen.statements import statements

    statements(inner, nodes)
    inner.code.constant(R0, 0)
    inner.code.exit()


def _over(f: Function, *nodes: object) -> None:
    """Behind a loop: leave too when it was left by return, or by the end of a function that it stands in."""
    returns, leaves = _returns(nodes), _leaves(nodes)
    if not returns and not leaves:
        return
    code = f.code
    frame = R10 if f.is_main else R9
    on = Label()
    code.load(R1, frame, RETURNING, 8)
    code.branch_constant("==", R1, 0, on)
    if leaves and f.inlined:
        other = Label()
        if returns:
            code.branch_constant("!=", R1, LEAVING, other)
        code.store_constant(frame, RETURNING, 0, 8)
        code.jump(f.inlined[-1])
        code.place(other)
    if returns or not f.inlined:
        _propagate(f, frame)
    code.place(on)


def _propagate(f: Function, frame: int) -> None:
    """End this function as the loop's was ended."""
    code = f.code
    if f.is_main and f.is_typed:
        code.constant(R0, 0)
    elif f.is_main:
        code.load(R0, frame, RESULT, 8)
    else:
        code.constant(R0, 1)
    if f.is_main:
        f.exit()
    else:
        code.exit()


def leave(f: Function, node: ir.Break | ir.Continue) -> None:
    """break, continue"""
    f.code.constant(R0, int(isinstance(node, ir.Break)))
    f.code.exit()


def inlined(f: Function, node: ir.Inlined) -> None:
    """The statements of a function."""
    from linscope.lang.codegen.statements import statements

    f.inlined.append(Label())
    statements(f, node.body)
    f.code.place(f.inlined.pop())


def leave_inlined(f: Function, node: ir.Leave) -> None:
    """Go to the end of the function; out of a loop's callback by way of the loop."""
    code = f.code
    if f.inlined:
        code.jump(f.inlined[-1])
        return
    code.store_constant(R9, RETURNING, LEAVING, 8)
    code.constant(R0, 1)
    code.exit()


def _returns(node: object) -> bool:
    """Whether there is a return in some statements."""
    return isinstance(node, ir.Return) or any(map(_returns, _parts(node)))


def _leaves(node: object) -> bool:
    """Whether some statements leave the function around them."""
    if isinstance(node, ir.Inlined):
        return False
    return isinstance(node, ir.Leave) or any(map(_leaves, _parts(node)))


def _parts(node: object) -> Iterable[object]:
    """What lies in a node, or in a list."""
    if isinstance(node, list | tuple):
        return node
    if isinstance(node, ir.Statement | ir.Expression):
        return [value for value in node.__dict__.values() if isinstance(value, list | ir.Statement | ir.Expression)]
    return ()


def while_loop(f: Function, node: ir.While) -> None:
    """As long as a condition holds."""
    inner = f.callback("while")
    done = Label()
    branch(inner, node.condition, done)
    _body(inner, node.body)
    inner.code.place(done)
    inner.code.constant(R0, 1)
    inner.code.exit()
    enter_callback(inner, R2)
    code = f.code
    code.constant(R1, _MOST_ROUNDS)
    code.callback(R2, inner.code)
    f.frame(R3)
    code.constant(R4, 0)
    code.call(_LOOP)
    if node.endless is not None:
        from linscope.lang.codegen.events import emit_error

        fine = Label()
        code.branch_constant("s<", R0, _MOST_ROUNDS, fine)
        emit_error(f, node.endless)
        code.place(fine)
    _over(f, node.condition, node.body)


def for_range(f: Function, node: ir.ForRange) -> None:
    """From first to below last; what the body does to the variable has no effect on the rounds."""
    code = f.code
    start = f.variable(node.start)
    scalar(f, node.first)
    code.store(f.base(start), start.offset, R0, 8)
    scalar(f, node.last)
    code.load(R1, f.base(start), start.offset, 8)
    done, fits = Label(), Label()
    code.branch("s<=", R0, R1, done)
    code.alu("-", R0, R1)
    code.move(R1, R0)
    code.branch_constant("<=", R1, _MOST_ROUNDS, fits)
    code.constant(R1, _MOST_ROUNDS)
    code.place(fits)
    inner = f.callback("for")
    variable, first = inner.variable(node.variable), inner.variable(node.start)
    inner.code.load(R0, inner.base(first), first.offset, 8)
    inner.code.alu("+", R0, R1)
    inner.code.store(inner.base(variable), variable.offset, R0, 8)
    _body(inner, node.body)
    enter_callback(inner, R2)
    code.callback(R2, inner.code)
    f.frame(R3)
    code.constant(R4, 0)
    code.call(_LOOP)
    _over(f, node.body)
    code.place(done)


def for_map(f: Function, node: ir.ForMap) -> None:
    """All keys and values of a map."""
    inner = f.callback("each")
    pair = node.variable.type
    assert isinstance(pair, t.Tuple) and node.map.key is not None
    place = inner.variable(node.variable)
    key_offset, value_offset = pair.offsets
    value = inner.keep(R3, known=True)
    key = inner.keep(R2, known=True)
    copy(inner, place.further(key_offset), Place(POINTER, 0, key), node.map.key.size)
    if isinstance(node.map.value, t.Aggregation):
        from linscope.lang.codegen.aggregates import sum_over_cpus

        sum_over_cpus(inner, node.map, Place(POINTER, 0, key), place.further(value_offset))
    else:
        copy(inner, place.further(value_offset), Place(POINTER, 0, value), node.map.value.size)
    inner.give_up(key)
    inner.give_up(value)
    _body(inner, node.body)
    enter_callback(inner, R4)
    outer = f.code
    outer.map(R1, f.generator.map_place(node.map))
    outer.callback(R2, inner.code)
    f.frame(R3)
    outer.constant(R4, 0)
    outer.call(_FOR_EACH)
    _over(f, node.body)
