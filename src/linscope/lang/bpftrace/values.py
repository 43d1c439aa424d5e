"""Expressions of the script -> expressions of the intermediate form."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.bpftrace import syntax as sx
from linscope.lang.bpftrace.builtins import builtin
from linscope.lang.bpftrace.convert import Place, at, coerce, literal, load, number, text, to_scalar, total, truth
from linscope.lang.bpftrace.members import cast, default_space, dereference, index, member
from linscope.lang.bpftrace.operators import binary, choose, logical, scaled, unary
from linscope.lang.bpftrace.problems import Unresolved, Wrong
from linscope.lang.bpftrace.type_names import INTEGERS, join_types, type_text
from linscope.lang.bpftrace.written_types import resolve_type
from linscope.lang.nodes import Node

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from linscope.lang.bpftrace.state import Body
    from linscope.lang.bpftrace.syntax import Span

_WITHOUT_NUMBER = (t.Histogram, t.LinearHistogram, t.TimeSeries)


def lower(body: Body, node: sx.Expression | sx.TypeName) -> ir.Expression:
    """The value of an expression.  Raises Wrong, Unresolved."""
    found = operand(body, node)
    return load(body, found) if isinstance(found, Place) else found


def operand(body: Body, node: sx.Expression | sx.TypeName) -> ir.Expression | Place:
    """The value of an expression, or the place in foreign memory where it lies."""
    lowering = _LOWERINGS.get(type(node))
    if lowering is None:
        raise Wrong(node.span, "a type stands where a value is expected")
    found = lowering(body, node)
    if not isinstance(found, Place) and found.span == (0, 0):
        at(found, node.span)
    return found


def condition(body: Body, node: sx.Expression | sx.TypeName) -> ir.Expression:
    """An expression as a condition: a bool."""
    return truth(body, lower(body, node), node.span)


def scalar(body: Body, node: sx.Expression | sx.TypeName, what: str = "an integer") -> ir.Expression:
    """An expression as a scalar.  Raises Wrong."""
    return to_scalar(body, lower(body, node), node.span, what)


def constant(body: Body, node: sx.Expression | sx.TypeName, what: str) -> int:
    """A number that is known now.  Raises Wrong."""
    value = lower(body, node)
    if not isinstance(value, ir.Number):
        raise Wrong(node.span, f"{what} must be a literal number")
    return value.value


def constant_text(body: Body, node: sx.Expression | sx.TypeName, what: str) -> bytes:
    """A string that is known now.  Raises Wrong."""
    value = lower(body, node)
    if isinstance(value, ir.Bytes) and isinstance(value.type, t.String):
        return value.data
    raise Wrong(node.span, f"{what} must be a string literal")


def _integer(body: Body, node: sx.Integer) -> ir.Expression:
    return literal(node.value, "" if node.suffix in _DURATIONS else node.suffix)


_DURATIONS = ("ns", "us", "ms", "s", "m", "h", "d")


def _string(body: Body, node: sx.String) -> ir.Expression:
    return text(node.value)


def _parameter(body: Body, node: sx.Parameter) -> ir.Expression:
    """$1: a number, or what str() takes."""
    given = body.script.options.parameters
    if node.number < 0:
        return literal(len(given))
    word = given[node.number - 1] if node.number <= len(given) else "0"
    value = parse_integer(word)
    if value is None:
        raise Wrong(
            node.span, f"${node.number} used numerically but given \"{word}\". Try using str(${node.number})."
        )  # fmt: skip
    return literal(value)


def parse_integer(word: str) -> int | None:
    """A number as a person writes it on the command line."""
    try:
        return int(word, 0)
    except ValueError:
        return int(word, 8) if word.isdigit() and word.startswith("0") and not set(word) & {"8", "9"} else None


def _variable(body: Body, node: sx.Variable) -> ir.Expression:
    variable = body.find(node.name)
    if variable is None and body.hoist(node.name):
        raise Unresolved(node.span, f"Undefined or undeclared variable: ${node.name}")
    if variable is None:
        name = node.name.partition("#")[0]  # without the mark of a macro
        hint = _near(name, [one for scope in body.scopes for one in scope], "$")
        raise Wrong(node.span, f"Undefined or undeclared variable: ${name}", hint)
    if isinstance(variable.type, t.Void):
        raise Unresolved(node.span, f"Variable used before it was assigned: ${node.name}")
    return ir.Get(variable.type, variable)


def map_access(body: Body, node: sx.MapAccess) -> tuple[ir.Map, ir.Expression | None]:
    """The map, and the key in the map's type.  Raises Wrong, Unresolved."""
    script = body.script
    key = None if node.key is None else key_value(body, node.key)
    key_type = script.map_key(node.name, None if key is None else key.type, node.span)
    found = script.map_at(node.name, node.span)
    return found, None if key is None or key_type is None else coerce(script, key, key_type, node.span)


def key_value(body: Body, node: sx.Expression | sx.TypeName) -> ir.Expression:
    """A key.  Raises Wrong: of a type that cannot be one."""
    key = lower(body, node)
    if isinstance(key.type, t.Aggregation):
        key = total(key)
    if isinstance(key.type, t.Void):
        raise Wrong(node.span, "a call without a value cannot be a key")
    return key


def _map(body: Body, node: sx.MapAccess) -> ir.Expression:
    script = body.script
    known = script.map_types.get(node.name)
    if node.key is None and known is not None and known[0] is not None:
        raise Wrong(
            node.span, f"@{node.name} used as a map without an explicit key (scalar map), previously used with an "
            "explicit key (non-scalar map)",
        )  # fmt: skip
    found, key = map_access(body, node)
    return read_map(found, key, node.span)


def read_map(found: ir.Map, key: ir.Expression | None, span: Span) -> ir.Expression:
    """A map's value; of an aggregation its number.  Raises Wrong."""
    value = found.value
    if not isinstance(value, t.Aggregation):
        return at(ir.MapGet(value, found, key), span)
    if isinstance(value, _WITHOUT_NUMBER):
        raise Wrong(span, f"Map value '{type_text(value)}' cannot be used as a number: {found.name} is printed only")
    unsigned = not isinstance(value, t.Count) and not value.signed
    return at(ir.Aggregated(t.UINT64 if unsigned else t.INT64, found, key), span)


def _identifier(body: Body, node: sx.Identifier) -> ir.Expression | Place:
    found = builtin(body, node.name, node.span)
    if found is not None:
        return found
    if node.name in ("true", "false"):
        return ir.Number(t.BOOL, int(node.name == "true"))
    constant_ = body.script.definitions.find_constant(node.name)
    if constant_ is not None:
        return constant_value(body, constant_, node)
    raise Wrong(node.span, f"Unknown identifier: '{node.name}'", near_name(node.name, body.script.functions))


def constant_value(body: Body, found: object, node: sx.Identifier) -> ir.Expression:
    """A value of C: an enum's, or what a macro stands for."""
    if isinstance(found, tuple):
        value, type = found
        if isinstance(value, bytes):
            return text(value)
        if isinstance(type, t.Enum):
            return ir.Number(type, value)
        return literal(value)
    from linscope.lang.bpftrace.parser import parse_expression

    name = getattr(found, "text", "")
    inner = parse_expression(name)
    if inner is None or body.script.depth > 20:
        raise Wrong(node.span, f"the macro {node.name} stands for nothing that can be used here: {name}")
    body.script.depth += 1
    try:
        _move(inner, node.span)
        return lower(body, inner)
    finally:
        body.script.depth -= 1


def _move(node: Node, span: Span) -> None:
    """Give an expression of another text a place in the script."""
    for value in node.__dict__.values():
        for one in value if isinstance(value, list) else (value,):
            if isinstance(one, Node):
                _move(one, span)
    node.__dict__["span"] = span


def near_name(name: str, functions: Iterable[str] = ()) -> str:
    """A hint: the builtin or function that may have been meant.  functions: those of the script."""
    from difflib import get_close_matches

    from linscope.lang.bpftrace.aggregations import AGGREGATIONS
    from linscope.lang.bpftrace.builtins import BUILTINS
    from linscope.lang.bpftrace.calls import CALLS

    if name in CALLS or name in AGGREGATIONS or name in functions:
        return f"it is a function: {name}(...)"
    found = get_close_matches(name, [*BUILTINS, *CALLS, *AGGREGATIONS, *functions], 2)
    return f"did you mean {' or '.join(found)}?" if found else ""


def _near(name: str, known: Iterable[str], mark: str) -> str:
    """A hint: the variable or map that may have been meant."""
    from difflib import get_close_matches

    found = get_close_matches(name, [one for one in known if "#" not in one], 1)
    return f"did you mean {mark}{found[0]}?" if found else ""


def _call(body: Body, node: sx.Call) -> ir.Expression | Place:
    from linscope.lang.bpftrace.calls import call

    return call(body, node)


def _unary(body: Body, node: sx.Unary) -> ir.Expression | Place:
    if node.sign in ("++", "--"):
        return _step(body, node.operand, node.sign, node.span, old=False)
    if node.sign == "*":
        found = operand(body, node.operand)
        space = found.space if isinstance(found, Place) else default_space(body)
        return dereference(load(body, found) if isinstance(found, Place) else found, node.span, space)
    if node.sign == "&":
        found = operand(body, node.operand)
        if not isinstance(found, Place):
            raise Wrong(node.span, "only what lies in the memory of the kernel or of a process has an address")
        return at(ir.Convert(t.Pointer(found.type, found.space), found.address), node.span)
    return unary(body, node.sign, lower(body, node.operand), node.span)


def _postfix(body: Body, node: sx.Postfix) -> ir.Expression:
    return _step(body, node.operand, node.sign, node.span, old=True)


def _step(body: Body, target: sx.Expression, sign: str, span: Span, *, old: bool) -> ir.Expression:
    """``++`` and ``--``."""
    one = literal(1 if sign == "++" else -1)
    if isinstance(target, sx.MapAccess):
        return add_to_map(body, target, one, span, old=old)
    if not isinstance(target, sx.Variable):
        raise Wrong(span, f"{sign} changes a $variable or a @map")
    value = _variable(body, target)
    if not isinstance(value.type, (*INTEGERS, t.Pointer)):
        raise Wrong(span, f"The {sign} operator can not be used on expressions of type '{type_text(value.type)}'")
    changed = binary(body, "+", value, one, span)
    changed = body.cut(target.name, keep_sign(value.type, changed))
    variable = body.assigned(target.name, changed.type, span)
    changed = coerce(body.script, changed, variable.type, span)
    if old:
        kept = ir.Variable("", variable.type)
        keep = ir.Set(kept, ir.Get(variable.type, variable))
        return ir.Do(variable.type, [keep, ir.Set(variable, changed)], ir.Get(variable.type, kept))
    return ir.Do(variable.type, [ir.Set(variable, changed)], ir.Get(variable.type, variable))


def keep_sign(before: t.Type, changed: ir.Expression) -> ir.Expression:
    """The result of ``x += ...`` stays unsigned when x is."""
    if isinstance(before, t.Int) and not before.signed and changed.type.signed and isinstance(changed.type, t.Int):
        return ir.Convert(t.Int(changed.type.width, False), changed)
    return changed


def add_to_map(body: Body, target: sx.MapAccess, delta: ir.Expression, span: Span, *, old: bool) -> ir.Expression:
    """``@x += delta`` in one step.  Raises Wrong."""
    script = body.script
    key = None if target.key is None else key_value(body, target.key)
    key_type = script.map_key(target.name, None if key is None else key.type, target.span)
    known = script.map_types[target.name][1]
    wide = t.INT64 if known is None or known.signed or not isinstance(known, INTEGERS) else t.UINT64
    if known is not None and not isinstance(known, (*INTEGERS, t.Pointer)):
        raise Wrong(span, f"@{target.name} holds values of type '{type_text(known)}', which nothing can be added to")
    value_type = script.map_value(target.name, known if isinstance(known, t.Pointer) else wide, span)
    found = script.map_at(target.name, span)
    delta = scaled(delta, value_type) if isinstance(value_type, t.Pointer) else coerce(script, delta, value_type, span)
    key = None if key is None or key_type is None else coerce(script, key, key_type, span)
    return at(ir.MapAdd(value_type, found, key, delta, old), span)


def _binary(body: Body, node: sx.Binary) -> ir.Expression:
    joined = [node]
    while isinstance(left := joined[-1].left, sx.Binary):  # a + b + c: one after the other, not in one another
        joined.append(left)
    value = lower(body, joined[-1].left)
    for one in reversed(joined):
        right = lower(body, one.right)
        combine = logical if one.sign in ("&&", "||") else binary
        value = combine(body, one.sign, value, right, one.span)
    return value


def _conditional(body: Body, node: sx.Conditional) -> ir.Expression:
    if node.yes is None:
        value = lower(body, node.condition)
        kept = ir.Variable("", value.type)
        chosen = choose(body, ir.Get(value.type, kept), ir.Get(value.type, kept), lower(body, node.no), node.span)
        return ir.Do(chosen.type, [ir.Set(kept, value)], chosen)
    decided = condition(body, node.condition)
    return choose(body, decided, lower(body, node.yes), lower(body, node.no), node.span)


def _member(body: Body, node: sx.Member) -> ir.Expression | Place:
    if isinstance(node.of, sx.Call | sx.Identifier) and node.of.name.removeprefix("__builtin_") == "config":
        value = body.script.settings.get(node.name)
        if value is None:
            raise Wrong(node.span, f"{node.name}: not a known configuration option")
        return literal(value) if isinstance(value, int) else text(value.encode())
    return member(body, operand(body, node.of), node.name, node.span)


def _index(body: Body, node: sx.Index) -> ir.Expression | Place:
    return index(body, operand(body, node.of), scalar(body, node.index, "an index"), node.span)


def _cast(body: Body, node: sx.Cast) -> ir.Expression:
    return cast(body, operand(body, node.operand), resolve_type(body, node.type), node.span)


def _tuple(body: Body, node: sx.Tuple) -> ir.Expression:
    elements = [lower(body, element) for element in node.elements]
    elements = [total(element) if isinstance(element.type, t.Aggregation) else element for element in elements]
    for element in elements:
        if isinstance(element.type, t.Void):
            raise Wrong(element.span, "Tuple cannot contain an expression of type 'void'")
    return build_tuple(elements, tuple(node.names))


def build_tuple(elements: list[ir.Expression], names: tuple[str, ...] = ()) -> ir.Expression:
    """Values side by side."""
    type = t.Tuple(tuple(element.type for element in elements), names)
    return ir.Build(type, list(zip(type.offsets, elements, strict=True)))


def _block(body: Body, node: sx.Block) -> ir.Expression:
    from linscope.lang.bpftrace.statements import lower_statements

    body.open_scope()
    try:
        statements = lower_statements(body, node.statements)
        value: ir.Expression = number(0, t.Void(0)) if node.value is None else lower(body, node.value)
    finally:
        body.close_scope()
    return ir.Do(value.type, statements, value) if statements else value


def _if(body: Body, node: sx.IfExpression) -> ir.Expression:
    decided = condition(body, node.condition)
    if node.comptime and not isinstance(decided, ir.Number):
        raise Wrong(node.condition.span, "the condition of comptime must be known when the script is compiled")
    if node.comptime and isinstance(decided, ir.Number):
        taken = node.yes if decided.value else node.no
        return _block(body, taken) if taken else number(0, t.Void(0))
    yes = _block(body, node.yes)
    no = _block(body, node.no) if node.no else number(0, t.Void(0))
    if join_types(yes.type, no.type) is None or isinstance(yes.type, t.Void):
        decision = ir.If(decided, [ir.Evaluate(yes)], [ir.Evaluate(no)])
        return ir.Do(t.Void(0), [decision], number(0, t.Void(0)))
    return choose(body, decided, yes, no, node.span)


def _comptime(body: Body, node: sx.Comptime) -> ir.Expression:
    value = lower(body, node.expression)
    if not isinstance(value, ir.Number | ir.Bytes):
        raise Wrong(node.span, "Unable to evaluate at compile time.")
    return value


_LOWERINGS: dict[type, Callable[[Body, Any], ir.Expression | Place]] = {
    sx.Integer: _integer,
    sx.String: _string,
    sx.Parameter: _parameter,
    sx.Variable: _variable,
    sx.MapAccess: _map,
    sx.Identifier: _identifier,
    sx.Call: _call,
    sx.Unary: _unary,
    sx.Postfix: _postfix,
    sx.Binary: _binary,
    sx.Conditional: _conditional,
    sx.Member: _member,
    sx.Index: _index,
    sx.Cast: _cast,
    sx.Tuple: _tuple,
    sx.Block: _block,
    sx.IfExpression: _if,
    sx.Comptime: _comptime,
}
