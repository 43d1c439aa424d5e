"""Statements of the script -> statements of the intermediate form.

What is wrong in a statement goes to the problems, and the next statement is looked at.
"""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.bpftrace import syntax as sx
from linscope.lang.bpftrace.aggregations import AGGREGATIONS, aggregate
from linscope.lang.bpftrace.convert import coerce, load, number, to_scalar, total
from linscope.lang.bpftrace.operators import binary
from linscope.lang.bpftrace.problems import TOO_DEEP, Unresolved, Wrong
from linscope.lang.bpftrace.type_names import INTEGERS, type_text
from linscope.lang.bpftrace.values import (
    add_to_map,
    condition,
    constant,
    keep_sign,
    key_value,
    lower,
    operand,
    scalar,
)
from linscope.lang.bpftrace.written_types import resolve_type

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from linscope.lang.bpftrace.state import Body
    from linscope.lang.bpftrace.syntax import Span

_MOST_UNROLLED = 100


def lower_statements(body: Body, nodes: Sequence[sx.Statement]) -> list[ir.Statement]:
    """All statements of a block; those that are wrong are left out."""
    made: list[ir.Statement] = []
    for node in nodes:
        lower_statement(body, node, made)
    return made


def lower_statement(body: Body, node: sx.Statement, into: list[ir.Statement]) -> None:
    """One statement."""
    try:
        found = _LOWERINGS[type(node)](body, node)
    except Wrong as wrong:
        body.script.problems.error(wrong.span, wrong.what, wrong.hint)
        _declare_unknown(body, node)
        return
    except Unresolved as unresolved:
        body.script.waiting.append(unresolved)
        _declare_unknown(body, node)
        return
    except RecursionError:
        body.script.problems.error(node.span, TOO_DEEP)
        return
    for statement in found:
        if statement.span == (0, 0):
            statement.__dict__["span"] = node.span
    into += found


def _declare_unknown(body: Body, node: sx.Statement) -> None:
    """A variable whose value is not known yet is there all the same."""
    name = node.name if isinstance(node, sx.Let) else ""
    if isinstance(node, sx.Assign) and isinstance(node.target, sx.Variable):
        name = node.target.name
    if name and body.find(name) is None:
        body.declare(name, t.VOID)


def block(body: Body, node: sx.Block) -> list[ir.Statement]:
    """A block as statements, with its own scope."""
    body.open_scope()
    try:
        made = lower_statements(body, node.statements)
        if node.value is not None:
            lower_statement(body, sx.ExpressionStatement(node.value.span, node.value), made)
    finally:
        body.close_scope()
    return made


def _expression(body: Body, node: sx.ExpressionStatement) -> list[ir.Statement]:
    inner = node.expression
    if isinstance(inner, sx.IfExpression):
        return _if(body, inner)
    if isinstance(inner, sx.Block):
        return block(body, inner)
    found = operand(body, inner)
    value = load(body, found) if not isinstance(found, ir.Expression) else found
    if isinstance(value, ir.Do):
        rest: list[ir.Statement] = [] if isinstance(value.value, ir.Number | ir.Get) else [ir.Evaluate(value.value)]
        return [*value.statements, *rest]
    return [] if isinstance(value, ir.Number | ir.Bytes | ir.Get) else [ir.Evaluate(value)]


def _if(body: Body, node: sx.IfExpression) -> list[ir.Statement]:
    try:
        decided = condition(body, node.condition)
    except Unresolved as unresolved:  # what is inside may tell
        body.script.waiting.append(unresolved)
        block(body, node.yes)
        if node.no is not None:
            block(body, node.no)
        return []
    if isinstance(decided, ir.Number) and node.comptime:
        taken = node.yes if decided.value else node.no
        return block(body, taken) if taken is not None else []
    if node.comptime:
        raise Wrong(node.condition.span, "the condition of comptime must be known when the script is compiled")
    yes = block(body, node.yes)
    no = block(body, node.no) if node.no is not None else []
    if isinstance(decided, ir.Number):
        return yes if decided.value else no
    return [ir.If(decided, yes, no)]


def _let(body: Body, node: sx.Let) -> list[ir.Statement]:
    if node.name in body.scopes[-1]:
        raise Wrong(node.span, f"Variable ${node.name} was already declared. Variable shadowing is not allowed.")
    type = None if node.type is None else resolve_type(body, node.type)
    if isinstance(type, t.Void | t.Aggregation):
        raise Wrong(node.span, f"Invalid variable declaration type: {type_text(type)}")
    if node.value is None:
        variable = body.declare(node.name, type or t.VOID, fixed=type is not None)
        return [] if isinstance(variable.type, t.Void) else [ir.Set(variable, None)]
    value = _assignable(body, lower(body, node.value), node.value.span)
    variable = body.declare(node.name, type or value.type, fixed=type is not None)
    if type is not None:
        body.assigned(node.name, value.type, node.span, value)
    return [ir.Set(variable, coerce(body.script, value, variable.type, node.span))]


def _assignable(body: Body, value: ir.Expression, span: Span) -> ir.Expression:
    if isinstance(value.type, t.Aggregation):
        return total(value)
    if isinstance(value.type, t.Void):
        raise Wrong(span, "Value of type 'void' cannot be assigned")
    return value


def _assign(body: Body, node: sx.Assign) -> list[ir.Statement]:
    target = node.target
    if target is None:
        return _expression(body, sx.ExpressionStatement(node.value.span, node.value))
    if isinstance(target, sx.Variable):
        return _assign_variable(body, target, node)
    if isinstance(target, sx.MapAccess):
        return _assign_map(body, target, node)
    raise Wrong(target.span, "nothing can be assigned to this", "$variables and @maps take values")


def _assign_variable(body: Body, target: sx.Variable, node: sx.Assign) -> list[ir.Statement]:
    value = lower(body, node.value)
    if node.sign != "=":
        before = lower(body, target)
        value = keep_sign(before.type, binary(body, node.sign[:-1], before, value, node.span))
        value = body.cut(target.name, value)
    value = _assignable(body, value, node.value.span)
    variable = body.assigned(target.name, value.type, node.span, value)
    if isinstance(variable.type, t.Void):
        return []  # known in the next pass
    return [ir.Set(variable, coerce(body.script, value, variable.type, node.span))]


def _assign_map(body: Body, target: sx.MapAccess, node: sx.Assign) -> list[ir.Statement]:
    value_node = node.value
    if isinstance(value_node, sx.Block) and value_node.value is not None:
        body.open_scope()
        try:
            made = lower_statements(body, value_node.statements)
            return made + _assign_map(body, target, sx.Assign(node.span, target, node.sign, value_node.value))
        finally:
            body.close_scope()
    if isinstance(value_node, sx.Call) and value_node.name in AGGREGATIONS and node.sign == "=":
        return aggregate(body, target, value_node)
    if node.sign in ("+=", "-="):
        return _add(body, target, node)
    value = lower(body, value_node)
    if node.sign != "=":
        before = lower(body, target)
        value = keep_sign(before.type, binary(body, node.sign[:-1], before, value, node.span))
    value = _assignable(body, value, value_node.span)
    script = body.script
    key = None if target.key is None else key_value(body, target.key)
    key_type = script.map_key(target.name, None if key is None else key.type, target.span)
    value_type = script.map_value(target.name, value.type, node.span)
    found = script.map_at(target.name, target.span)
    value = coerce(script, value, value_type, node.span)
    return [ir.MapSet(found, coerce(script, key, key_type, target.span) if key and key_type else None, value)]


def _add(body: Body, target: sx.MapAccess, node: sx.Assign) -> list[ir.Statement]:
    delta = to_scalar(body, lower(body, node.value), node.value.span)
    if not isinstance(delta.type, INTEGERS):
        raise Wrong(
            node.span, f"The {node.sign} operator can not be used on expressions of type '{type_text(delta.type)}'"
        )  # fmt: skip
    if node.sign == "-=":
        delta = number(-delta.value) if isinstance(delta, ir.Number) else ir.Unary(t.INT64, "-", delta)
    return [ir.Evaluate(add_to_map(body, target, delta, node.span, old=False))]


def _while(body: Body, node: sx.While) -> list[ir.Statement]:
    try:
        decided = condition(body, node.condition)
    except Unresolved as unresolved:
        body.script.waiting.append(unresolved)
        _loop(body, node.body)
        return []
    inner = _loop(body, node.body)
    endless = body.script.runtime_error(node.span, "the loop was ended after 8,388,608 rounds")
    return [ir.While(decided, inner, endless)]


def _loop(body: Body, node: sx.Block) -> list[ir.Statement]:
    body.loops += 1
    try:
        return block(body, node)
    finally:
        body.loops -= 1


def _unroll(body: Body, node: sx.Unroll) -> list[ir.Statement]:
    count = constant(body, node.count, "unroll's count")
    if not 1 <= count <= _MOST_UNROLLED:
        raise Wrong(
            node.count.span, f"unroll maximum value is {_MOST_UNROLLED}" if count > 0 else "unroll minimum is 1"
        )
    made: list[ir.Statement] = []
    for _ in range(count):
        made += block(body, node.body)
    return made


def _for_range(body: Body, node: sx.ForRange) -> list[ir.Statement]:
    first, last = scalar(body, node.first), scalar(body, node.last)
    script = body.script
    first, last = coerce(script, first, t.INT64, node.first.span), coerce(script, last, t.INT64, node.last.span)
    body.open_scope()
    try:
        variable = body.declare(node.variable, t.INT64, fixed=True)
        return [ir.ForRange(variable, first, last, _loop(body, node.body), ir.Variable("", t.INT64))]
    finally:
        body.close_scope()


def _for_map(body: Body, node: sx.ForMap) -> list[ir.Statement]:
    found = body.script.map_at(node.map.name, node.map.span)
    if found.key is None:
        raise Wrong(
            node.map.span, f"@{node.map.name} has no explicit keys (scalar map), and cannot be used for iteration"
        )
    if isinstance(found.value, t.Histogram | t.LinearHistogram | t.TimeSeries):
        raise Wrong(node.map.span, f"Loop expression does not support type: {type_text(found.value)}")
    pair = t.Tuple((found.key, found.value))
    body.open_scope()
    try:
        variable = body.declare(node.variable, pair, fixed=True)
        return [ir.ForMap(variable, found, _loop(body, node.body))]
    finally:
        body.close_scope()


def _jump(body: Body, node: sx.Jump) -> list[ir.Statement]:
    if node.word == "return" and body.inside is not None:
        from linscope.lang.bpftrace.functions import leave

        return leave(body, node)
    if node.word == "return":
        value = None if node.value is None else coerce(body.script, scalar(body, node.value), t.INT64, node.span)
        return [ir.Return(value)]
    if not body.loops:
        raise Wrong(node.span, f"'{node.word}' statement can only be used inside a loop")
    return [ir.Break() if node.word == "break" else ir.Continue()]


def predicate(body: Body, node: sx.Expression, inner: list[ir.Statement]) -> list[ir.Statement]:
    """A body that runs when its predicate holds."""
    try:
        decided = condition(body, node)
    except Wrong as wrong:
        body.script.problems.error(wrong.span, wrong.what, wrong.hint)
        return inner
    except Unresolved as unresolved:
        body.script.waiting.append(unresolved)
        return inner
    if isinstance(decided, ir.Number):
        return inner if decided.value else []
    made = ir.If(decided, inner, [])
    made.__dict__["span"] = node.span
    return [made]


_LOWERINGS: dict[type, Callable[[Body, Any], list[ir.Statement]]] = {
    sx.ExpressionStatement: _expression,
    sx.Let: _let,
    sx.Assign: _assign,
    sx.While: _while,
    sx.Unroll: _unroll,
    sx.ForMap: _for_map,
    sx.ForRange: _for_range,
    sx.Jump: _jump,
}
