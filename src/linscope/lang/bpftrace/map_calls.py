"""Functions on maps: delete, has_key, len, find."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.bpftrace import syntax as sx
from linscope.lang.bpftrace.convert import load
from linscope.lang.bpftrace.output_calls import done, map_argument
from linscope.lang.bpftrace.problems import Wrong
from linscope.lang.bpftrace.values import map_access, operand

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.lang.bpftrace.state import Body


def _delete(body: Body, node: sx.Call) -> ir.Expression:
    """delete(@m, key); the older delete(@m[key], ...), and delete(@scalar)."""
    first = node.arguments[0]
    if not isinstance(first, sx.MapAccess):
        raise Wrong(first.span, "delete() expects a map to be provided")
    if len(node.arguments) == 2 and first.key is None:
        key = node.arguments[1]
        found, value = map_access(body, sx.MapAccess(first.span, first.name, key))
        return ir.MapDelete(t.BOOL, found, value)
    deletions = []
    for one in node.arguments:
        if not isinstance(one, sx.MapAccess):
            raise Wrong(one.span, "delete() expects a map to be provided")
        found, value = map_access(body, one)
        deletions.append(ir.MapDelete(t.BOOL, found, value))
    return deletions[0] if len(deletions) == 1 else done(*(ir.Evaluate(one) for one in deletions))


def _keyed(body: Body, node: sx.Call, what: str = "expects a map with explicit keys (non-scalar map)") -> sx.MapAccess:
    """The whole map that is the first argument, which has keys.  Raises Wrong."""
    first = node.arguments[0]
    if not isinstance(first, sx.MapAccess) or first.key is not None:
        raise Wrong(first.span, f"{node.name}() expects a map to be provided")
    known = body.script.map_types.get(first.name)
    if known is not None and known[0] is None and known[1] is not None:
        raise Wrong(node.span, f"call to {node.name}() {what}")
    return first


def _has_key(body: Body, node: sx.Call) -> ir.Expression:
    first = _keyed(body, node)
    key = node.arguments[1]
    found, value = map_access(body, sx.MapAccess(first.span, first.name, key))
    return ir.MapHas(t.BOOL, found, value)


def _find(body: Body, node: sx.Call) -> ir.Expression:
    """find(@m, key, $v): whether there is the key, and then its value in $v."""
    first = _keyed(body, node)
    key = node.arguments[1]
    target = node.arguments[2]
    if not isinstance(target, sx.Variable):
        raise Wrong(target.span, "find() puts the value into a $variable")
    found, value = map_access(body, sx.MapAccess(first.span, first.name, key))
    if isinstance(found.value, t.Aggregation):
        raise Wrong(node.span, "find() does not work on aggregations")
    variable = body.assigned(target.name, found.value, target.span)
    return ir.MapHas(t.BOOL, found, value, variable)


def _len(body: Body, node: sx.Call) -> ir.Expression:
    """Keys of a map; frames of a stack; elements of an array."""
    first = node.arguments[0]
    if isinstance(first, sx.MapAccess) and first.key is None:
        known = body.script.map_types.get(first.name)
        scalar_stack = known is not None and known[0] is None and isinstance(known[1], t.Stack)
        if not scalar_stack:
            _keyed(body, node)
            found = map_argument(body, node)
            return ir.MapLength(t.INT64, found)
    value = operand(body, first)
    if isinstance(value.type, t.Array):
        return ir.Number(t.UINT64, value.type.count)
    if isinstance(value.type, t.Stack):
        loaded = value if isinstance(value, ir.Expression) else load(body, value)
        return ir.StackLength(t.UINT64, loaded)
    raise Wrong(first.span, "len() expects a map, a stack or an array to be provided")


MAP_CALLS = {"delete": (1, -1, _delete), "has_key": (2, 2, _has_key), "find": (3, 3, _find), "len": (1, 1, _len)}
