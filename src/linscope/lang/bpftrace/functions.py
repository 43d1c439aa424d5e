"""Functions of the script: each call is replaced by what the function does.

    fn half($a: int64): int64 { return $a / 2; }      half(6)  ->  { $a: int64 = 6; function { r = $a / 2; leave }; r }

Parameters and variables are the function's own; maps are everybody's; builtins are those of the probe that calls.
Where one ``return`` ends the function there is no r: its value is the call's.  Source of the syntax: bpftrace
docs/language_parsing.md, Subprog.
"""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.bpftrace import syntax as sx
from linscope.lang.bpftrace.convert import coerce, number, total
from linscope.lang.bpftrace.problems import Problems, Unresolved, Wrong
from linscope.lang.bpftrace.state import Body, Inside, Script, fits_declared
from linscope.lang.bpftrace.type_names import join_types, type_text
from linscope.lang.bpftrace.written_types import resolve_type
from linscope.lang.nodes import Node
from linscope.lang.probe import Probe

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from linscope.lang.bpftrace.syntax import Span

_RESULT = " result"  # nobody can write this name
_MOST_CALLS = 2000  # that one program may become
_OF_PROBES = ("args", "ctx", "retval", "func", "reg", "cpid", "usermode", "sarg", "arg")  # not to be had everywhere


def declare_functions(script: Script, functions: Sequence[sx.Subprogram]) -> None:
    """Make functions known to the script; what is wrong goes to the problems."""
    problems = script.problems
    for one in functions:
        names = [name for name, _ in one.parameters]
        if one.name in script.functions:
            problems.error(one.span, f"Redefinition of function: {one.name}")
        elif len(set(names)) < len(names):
            again = next(name for place, name in enumerate(names) if name in names[:place])
            problems.error(one.span, f"fn {one.name}: two parameters are called ${again}")
        else:
            script.functions[one.name] = one
        _warn_of_builtin(problems, one)


def _warn_of_builtin(problems: Problems, one: sx.Subprogram) -> None:
    from linscope.lang.bpftrace.aggregations import AGGREGATIONS
    from linscope.lang.bpftrace.builtins import find_builtin
    from linscope.lang.bpftrace.calls import CALLS

    if one.name in CALLS or one.name in AGGREGATIONS or find_builtin(one.name) is not None:
        problems.warn(one.span, f"fn {one.name} is called wherever the script says {one.name}(), not the builtin")


def call_function(body: Body, node: sx.Call, function: sx.Subprogram) -> ir.Expression:
    """What a function does, with what it is given; its value.  Raises Wrong, Unresolved."""
    inside = body.inside
    chain = inside.chain if inside is not None else ()
    if function.name in chain:
        through = " > ".join((*chain[chain.index(function.name) :], function.name))
        raise Wrong(node.span, f"fn {function.name} calls itself: {through}", "loops are written for $i : 0..10 { }")
    body.calls += 1
    if body.calls > _MOST_CALLS:
        raise Wrong(node.span, f"functions call each other more than {_MOST_CALLS} times in this probe")
    wanted, given = len(function.parameters), len(node.arguments)
    if wanted != given:
        plural = "" if wanted == 1 else "s"
        expects = f"{wanted} argument{plural}" if wanted else "no arguments"
        raise Wrong(node.span, f"{function.name}() takes {expects} ({given} provided)", _signature(body, function))
    values = [_argument(body, one) for one in node.arguments]
    outer = body.scopes, body.loops, body.inside
    body.scopes, body.loops = [{}], 0
    try:
        returns = None if function.returns is None else resolve_type(body, function.returns)
        if isinstance(returns, t.Void):
            returns = None
        body.inside = Inside(function.name, returns, (*chain, function.name), open=_is_open(function.returns))
        return _inline(body, function, values)
    finally:
        body.scopes, body.loops, body.inside = outer


def _signature(body: Body, function: sx.Subprogram) -> str:
    """The function as it was written, up to its body."""
    start = function.span[0]
    return body.script.problems.text[start : function.body.span[0]].strip()


def _argument(body: Body, node: sx.Expression | sx.TypeName) -> ir.Expression:
    from linscope.lang.bpftrace.values import lower

    value = lower(body, node)
    if isinstance(value.type, t.Void):
        raise Wrong(node.span, "a call without a value cannot be an argument")
    return total(value) if isinstance(value.type, t.Aggregation) else value


def _is_open(node: sx.TypeName | None) -> bool:
    """Whether a written type leaves something open: a string's length, what is known of a pointer."""
    plain = isinstance(node, sx.NamedType) and node.name in ("string", "buffer") and node.length is None
    return plain or isinstance(node, sx.PointerType)


def _kept_type(value: ir.Expression, declared: t.Type, *, open: bool) -> t.Type | None:
    """The type in which a value is kept where one of a declared type is wanted; None: it is none."""
    have = value.type
    if isinstance(value, ir.Number) and isinstance(declared, t.Int) and isinstance(have, t.Int):
        return declared if number(value.value, declared).value == value.value else None
    joined = join_types(declared, have)
    if joined is None or not (open or fits_declared(declared, joined)):
        return None
    if open and isinstance(declared, t.Pointer):
        if not isinstance(joined, t.Pointer):
            return None
        return t.Pointer(declared.target, have.space) if isinstance(have, t.Pointer) else declared
    return have if open else declared


def _shown(value: ir.Expression) -> str:
    """A value that does not fit, in a message."""
    return str(value.value) if isinstance(value, ir.Number) else type_text(value.type)


def _written(type: t.Type, *, open: bool) -> str:
    """A declared type in a message."""
    return type_text(type).partition("[")[0] if open and isinstance(type, t.String | t.Buffer) else type_text(type)


def _inline(body: Body, function: sx.Subprogram, values: list[ir.Expression]) -> ir.Expression:
    inside = body.inside
    assert inside is not None
    made: list[ir.Statement] = []
    for (name, written), value in zip(function.parameters, values, strict=True):
        declared, open = resolve_type(body, written), _is_open(written)
        kept = _kept_type(value, declared, open=open)
        if kept is None:
            takes = f"{function.name}() takes a value of type '{_written(declared, open=open)}' as ${name}"
            raise Wrong(value.span, f"{takes} ('{_shown(value)}' provided)", _signature(body, function))
        variable = body.declare(name, kept, fixed=not open)
        made.append(ir.Set(variable, coerce(body.script, value, variable.type, value.span)))
    nodes, last = _statements(function, void=inside.returns is None)
    if inside.returns is None:
        return _without_value(body, nodes, made)
    if last is not None and not any(_returns(one) for one in nodes):
        return _with_one_return(body, nodes, last, made)
    if last is None and not _always_returns(nodes):
        raise Wrong(_head(body, function), "Not all code paths returned a value", f"fn {function.name} has to")
    return _with_result(body, nodes if last is None else [*nodes, sx.Jump(last.span, "return", last)], made)


def _statements(function: sx.Subprogram, *, void: bool) -> tuple[list[sx.Statement], sx.Expression | None]:
    """A function's statements, and the value of the return that ends it, or of what stands there like one."""
    nodes, last = list(function.body.statements), function.body.value
    if last is not None and (void or _returns(last)):
        nodes, last = [*nodes, sx.ExpressionStatement(last.span, last)], None
    if void or last is not None:
        return nodes, last
    end = nodes[-1] if nodes else None
    if isinstance(end, sx.Jump) and end.word == "return" and end.value is not None:
        return nodes[:-1], end.value
    return nodes, None


def _head(body: Body, function: sx.Subprogram) -> Span:
    return function.span[0], function.span[0] + len(_signature(body, function))


def _without_value(body: Body, nodes: list[sx.Statement], made: list[ir.Statement]) -> ir.Expression:
    from linscope.lang.bpftrace.statements import lower_statements

    lowered = lower_statements(body, nodes)
    leaves = any(_returns(one) for one in nodes)
    return ir.Do(t.VOID, [*made, ir.Inlined(lowered)] if leaves else [*made, *lowered], number(0, t.VOID))


def _with_one_return(
    body: Body, nodes: list[sx.Statement], last: sx.Expression, made: list[ir.Statement]
) -> ir.Expression:
    """Nothing but the last statement ends the function."""
    from linscope.lang.bpftrace.statements import lower_statements

    lowered = lower_statements(body, nodes)
    value = returned(body, last)
    return ir.Do(value.type, [*made, *lowered], value)


def _with_result(body: Body, nodes: list[sx.Statement], made: list[ir.Statement]) -> ir.Expression:
    """The value goes into a variable wherever the function ends."""
    from linscope.lang.bpftrace.statements import lower_statements

    inside = body.inside
    assert inside is not None and inside.returns is not None
    result = body.declare(_RESULT, t.VOID if inside.open else inside.returns, fixed=not inside.open)
    lowered = lower_statements(body, nodes)
    if isinstance(result.type, t.Void):
        raise Unresolved(nodes[-1].span, f"fn {inside.name} returns nothing that is known")
    if body.script.options.replay:  # where a condition was not recorded no return is reached
        made.append(ir.Set(result, ir.NotRecorded(result.type, "a condition in a function")))
    return ir.Do(result.type, [*made, ir.Inlined(lowered)], ir.Get(result.type, result))


def returned(body: Body, node: sx.Expression) -> ir.Expression:
    """A value that a function returns, in the type in which it does.  Raises Wrong."""
    from linscope.lang.bpftrace.values import lower

    inside = body.inside
    assert inside is not None
    value = lower(body, node)
    if inside.returns is None:
        raise Wrong(node.span, _cannot_return(inside, type_text(value.type)), f"fn {inside.name}(...): type")
    if isinstance(value.type, t.Aggregation):
        value = total(value)
    kept = _kept_type(value, inside.returns, open=inside.open)
    if kept is None:
        raise Wrong(node.span, _cannot_return(inside, _shown(value)))
    return coerce(body.script, value, kept, node.span)


def _cannot_return(inside: Inside, what: str) -> str:
    declared = "void" if inside.returns is None else _written(inside.returns, open=inside.open)
    return f"Function {inside.name} is of type {declared}, cannot return {what}"


def leave(body: Body, node: sx.Jump) -> list[ir.Statement]:
    """``return`` in a function.  Raises Wrong."""
    inside = body.inside
    assert inside is not None
    if node.value is None:
        if inside.returns is not None:
            raise Wrong(node.span, _cannot_return(inside, "void"))
        return [ir.Leave()]
    value = returned(body, node.value)
    variable = body.assigned(_RESULT, value.type, node.span, value)
    if isinstance(variable.type, t.Void):
        return [ir.Leave()]  # known in the next pass
    return [ir.Set(variable, coerce(body.script, value, variable.type, node.span)), ir.Leave()]


# -- what is in a function


def _parts(node: object) -> Iterator[Node]:
    for value in node.__dict__.values():
        for one in value if isinstance(value, list | tuple) else (value,):
            if isinstance(one, Node):
                yield one


def _returns(node: Node) -> bool:
    """Whether there is a return in a node."""
    return (isinstance(node, sx.Jump) and node.word == "return") or any(_returns(one) for one in _parts(node))


def _always_returns(nodes: Sequence[Node]) -> bool:
    """Whether statements never reach their end."""
    if not nodes:
        return False
    last = nodes[-1]
    if isinstance(last, sx.ExpressionStatement):
        last = last.expression
    if isinstance(last, sx.Call):
        return last.name == "exit"
    if isinstance(last, sx.Block):
        return _always_returns(last.statements if last.value is None else [*last.statements, last.value])
    if isinstance(last, sx.IfExpression):
        return last.no is not None and _always_returns([last.yes]) and _always_returns([last.no])
    return isinstance(last, sx.Jump) and last.word == "return"


def called_names(node: object) -> Iterator[str]:
    """The names that a node calls or takes for builtins."""
    if isinstance(node, sx.Call | sx.Identifier):
        yield node.name.removeprefix("__builtin_")
    if isinstance(node, Node):
        for one in _parts(node):
            yield from called_names(one)


def with_functions(script: Script, node: Node) -> list[Node]:
    """A node, and the functions that it calls, and those that they call."""
    found: list[Node] = [node]
    if script.functions:
        seen: set[str] = set()
        for one in found:
            for name in called_names(one):
                if name in script.functions and name not in seen:
                    seen.add(name)
                    found.append(script.functions[name].body)
    return found


def check_uncalled(script: Script, nodes: Sequence[sx.Probe]) -> None:
    """Look at functions that nothing calls as well, but for those that ask for what only some probes have."""
    called = {name for node in nodes for one in with_functions(script, node) for name in called_names(one)}
    for function in script.functions.values():
        if function.name in called or any(_is_of_probes(script, one) for one in with_functions(script, function)):
            continue
        events, maps = len(script.events), set(script.maps)
        body = Body(script, [Probe("begin", "begin")], f"fn {function.name}")
        _check(body, function)
        del script.events[events:]
        for name in set(script.maps) - maps:
            del script.maps[name]


def _is_of_probes(script: Script, node: Node) -> bool:
    return any(name in _OF_PROBES or name.startswith("arg") for name in called_names(node))


def _check(body: Body, function: sx.Subprogram) -> None:
    values: list[ir.Expression] = []
    try:
        for _, written in function.parameters:
            type = resolve_type(body, written)
            values.append(ir.Get(type, ir.Variable("", type)))
        returns = None if function.returns is None else resolve_type(body, function.returns)
        returns = None if isinstance(returns, t.Void) else returns
        body.inside = Inside(function.name, returns, (function.name,), open=_is_open(function.returns))
        _inline(body, function, values)
    except Wrong as wrong:
        body.script.problems.error(wrong.span, wrong.what, wrong.hint)
    except Unresolved:  # a map that nothing that runs assigns to
        return
