"""Functions that a script can call: one table, from the name to what lowers the call.

Source: bpftrace docs/stdlib.md.
"""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang.bpftrace import syntax as sx
from linscope.lang.bpftrace.aggregations import AGGREGATIONS
from linscope.lang.bpftrace.builtins import find_builtin
from linscope.lang.bpftrace.convert import Place, at
from linscope.lang.bpftrace.map_calls import MAP_CALLS
from linscope.lang.bpftrace.meta_calls import META_CALLS
from linscope.lang.bpftrace.output_calls import OUTPUT_CALLS
from linscope.lang.bpftrace.problems import Wrong
from linscope.lang.bpftrace.system_calls import SYSTEM_CALLS
from linscope.lang.bpftrace.text_calls import TEXT_CALLS

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

    from linscope.lang.bpftrace.state import Body

    # fewest and most arguments (-1: any number), and the function
    Row = tuple[int, int, Callable[[Body, sx.Call], ir.Expression | Place]]

CALLS: dict[str, Row] = {**OUTPUT_CALLS, **MAP_CALLS, **TEXT_CALLS, **SYSTEM_CALLS, **META_CALLS}


def call(body: Body, node: sx.Call) -> ir.Expression | Place:
    """The value of a call.  Raises Wrong, Unresolved."""
    if node.name in body.script.functions:
        from linscope.lang.bpftrace.functions import call_function

        return at(call_function(body, node, body.script.functions[node.name]), node.span)
    name = node.name.removeprefix("__builtin_")
    row = CALLS.get(name)
    if row is None:
        return _builtin(body, node, name)
    least, most, function = row
    given = len(node.arguments)
    if given < least or (most >= 0 and given > most):
        raise Wrong(node.span, _wrong_count(name, least, most, given))
    found = function(body, node)
    return found if isinstance(found, Place) or found.span != (0, 0) else at(found, node.span)


def _wrong_count(name: str, least: int, most: int, given: int) -> str:
    plural = "argument" if (least if given < least else most) == 1 else "arguments"
    if least == most:
        return f"{name}() requires {least} {plural} ({given} provided)" if least else f"{name}() takes no arguments"
    if given < least:
        return f"{name}() requires at least {least} {plural} ({given} provided)"
    return f"{name}() takes up to {most} {plural} ({given} provided)"


def _builtin(body: Body, node: sx.Call, name: str) -> ir.Expression | Place:
    found = find_builtin(name)
    if found is not None:
        if node.arguments:
            raise Wrong(node.span, f"{name}() takes no arguments ({len(node.arguments)} provided)")
        return found(body, node.span)
    if name in AGGREGATIONS:
        raise Wrong(node.span, f"{name}() must be assigned directly to a map", f"@ = {name}(...)")
    from linscope.lang.bpftrace.values import near_name

    raise Wrong(node.span, f"Unknown function: '{name}'", near_name(name, body.script.functions))
