"""Functions that are answered while the script is compiled: sizeof, offsetof, is_str, getopt, assert ..."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.bpftrace import syntax as sx
from linscope.lang.bpftrace.convert import NUMBERS, add, literal, number, text, to_scalar
from linscope.lang.bpftrace.output_calls import done
from linscope.lang.bpftrace.problems import Wrong
from linscope.lang.bpftrace.type_names import INTEGERS, type_text
from linscope.lang.bpftrace.values import condition, constant_text, lower, parse_integer, scalar
from linscope.lang.bpftrace.written_types import type_of

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

    from linscope.lang.bpftrace.state import Body


def _sizeof(body: Body, node: sx.Call) -> ir.Expression:
    return ir.Number(t.UINT64, type_of(body, node.arguments[0]).size)


def _fields_of(node: sx.Expression | sx.TypeName) -> list[str]:
    """``a.b.c`` as names."""
    if isinstance(node, sx.Member):
        return [*_fields_of(node.of), node.name]
    if isinstance(node, sx.Identifier | sx.NamedType):
        return [node.name]
    raise Wrong(node.span, "offsetof() takes the name of a field, or field.field")


def offset_of(body: Body, type: t.Type, node: sx.Expression | sx.TypeName) -> int:
    """Bytes from a struct's start to a field of it.  Raises Wrong."""
    offset = 0
    for name in _fields_of(node):
        if not isinstance(type, t.Struct):
            raise Wrong(node.span, f"offsetof() expects a struct ({type_text(type)} provided)")
        field = type.find(name)
        if field is None:
            from linscope.lang.bpftrace.members import near_field

            raise Wrong(node.span, f"{type.tag} {type.name} has no member named '{name}'", near_field(type, name))
        offset, type = offset + field.offset, field.type
    return offset


def _offsetof(body: Body, node: sx.Call) -> ir.Expression:
    type = type_of(body, node.arguments[0])
    if isinstance(type, t.Pointer):
        type = type.target
    return ir.Number(t.UINT64, offset_of(body, type, node.arguments[1]))


def _container_of(body: Body, node: sx.Call) -> ir.Expression:
    value = scalar(body, node.arguments[0], "a pointer")
    type = type_of(body, node.arguments[1])
    space = value.type.space if isinstance(value.type, t.Pointer) else t.ANY
    return ir.Convert(t.Pointer(type, space), add(value, -offset_of(body, type, node.arguments[2])))


def _is(test: Callable[[t.Type], bool]) -> Callable[[Body, sx.Call], ir.Expression]:
    """Whether an argument's type is of a kind."""

    def lowered(body: Body, node: sx.Call) -> ir.Expression:
        return ir.Number(t.BOOL, int(test(type_of(body, node.arguments[0]))))

    return lowered


def _is_literal(body: Body, node: sx.Call) -> ir.Expression:
    found = lower(body, node.arguments[0])
    return ir.Number(t.BOOL, int(isinstance(found, ir.Number | ir.Bytes)))


def _is_err(body: Body, node: sx.Call) -> ir.Expression:
    """Whether a pointer is an errno: include/linux/err.h, IS_ERR_VALUE."""
    value = to_scalar(body, lower(body, node.arguments[0]), node.span)
    return ir.Compare(t.BOOL, ">=", ir.Convert(t.UINT64, value), number(-4095, t.UINT64))


def _kfunc(body: Body, node: sx.Call) -> ir.Expression:
    name = constant_text(body, node.arguments[0], f"{node.name}()'s name").decode(errors="replace")
    return ir.Number(t.BOOL, int(body.script.definitions.find_function(name) is not None))


def _default_str_length(body: Body, node: sx.Call) -> ir.Expression:
    return ir.Number(t.UINT64, body.script.string_size - 1)


def _fail(body: Body, node: sx.Call) -> ir.Expression:
    """A branch that is compiled must not be: the message says why."""
    from linscope.lang.bpftrace.output_calls import formatted, iter_conversions

    format, values = formatted(body, node)
    text, shown, at = format.decode(errors="replace"), "", 0
    rest = iter(values)
    for begin, end, letter in iter_conversions(text, node.span):
        shown += text[at:begin] + ("%" if letter == "%" else _shown(next(rest)))
        at = end
    raise Wrong(node.span, shown + text[at:] or "fail()")


def _shown(value: ir.Expression) -> str:
    """A value in a message of the compiler; "?" for what only the running script knows."""
    if isinstance(value, ir.Number):
        return str(value.value)
    return value.data.decode(errors="replace") if isinstance(value, ir.Bytes) else "?"


def _static_assert(body: Body, node: sx.Call) -> ir.Expression:
    decided = condition(body, node.arguments[0])
    if not isinstance(decided, ir.Number):
        raise Wrong(
            node.span, "static_assert() needs what is known when the script is compiled", "assert() checks later"
        )
    if not decided.value:
        message = constant_text(body, node.arguments[1], "static_assert()'s message").decode(errors="replace")
        raise Wrong(node.span, message or "static_assert()")
    return done()


def _assert_str(body: Body, node: sx.Call) -> ir.Expression:
    """Whether functions on strings take a value; the script is wrong when they do not."""
    type = type_of(body, node.arguments[0])
    if isinstance(type, t.String | t.ProbeName):
        return done()
    if not isinstance(type, t.Array | t.Pointer):
        raise Wrong(node.span, "string-like values must be either strings, arrays or pointers")
    inner = type.element if isinstance(type, t.Array) else type.target
    if not (isinstance(inner, t.Int) and inner.width == 1 and inner.signed):
        verb, what = ("contain", "arrays") if isinstance(type, t.Array) else ("point to", "pointers")
        raise Wrong(node.span, f"string-like {what} must {verb} a char-like type")
    return done()


# what typeinfo calls the kinds of types
_BASES = (
    (t.Bool, "bool"), (t.Enum, "enum"), (t.Int, "int"), (t.Pointer, "pointer"), (t.Array, "array"),
    (t.String | t.ProbeName, "string"), (t.Buffer, "buffer"), (t.Struct, "struct"),
)  # fmt: skip


def _typeinfo(body: Body, node: sx.Call) -> ir.Expression:
    """What is known of a type: (btf_id=0 when the kernel has none of it, base_ty="int", full_ty="uint64")."""
    body.script.check_unstable(node.span, "typeinfo")
    if body.script.settings["unstable_typeinfo"] == "warn":
        body.script.problems.warn(node.span, "Script is using an unstable feature: typeinfo")
    type = type_of(body, node.arguments[0])
    base = next((word for kind, word in _BASES if isinstance(type, kind)), "")
    if isinstance(type, t.Tuple):
        base = "record" if type.names else "tuple"
    full = type_text(type)
    btf_id = 0
    if isinstance(type, t.Struct | t.Enum):
        btf_id = body.script.definitions.btf_id(type.tag if isinstance(type, t.Struct) else "enum", type.name)
    values = [number(btf_id), text((base or full).encode()), text(full.encode())]
    record = t.Tuple(tuple(value.type for value in values), ("btf_id", "base_ty", "full_ty"))
    return ir.Build(record, list(zip(record.offsets, values, strict=True)))


def _assert(body: Body, node: sx.Call) -> ir.Expression:
    """errorf and exit when a condition does not hold."""
    decided = condition(body, node.arguments[0])
    message = b"assert failed"
    if len(node.arguments) > 1:
        message = constant_text(body, node.arguments[1], "assert()'s message")
    script = body.script
    within = node.__dict__.get("within", ())
    told = ir.Emit(script.event("errorf", node.span, format=message.replace(b"%", b"%%"), within=within), [])
    ended = ir.Emit(script.event("exit", node.span, (t.INT64,)), [number(1)])
    return done(ir.If(decided, [], [told, ended, ir.Return()]))


def _getopt(body: Body, node: sx.Call) -> ir.Expression:
    """A named parameter: --name=value, or --name for true."""
    name = constant_text(body, node.arguments[0], "getopt()'s name").decode(errors="replace")
    default = lower(body, node.arguments[1]) if len(node.arguments) > 1 else ir.Number(t.BOOL, 0)
    options = body.script.options
    options.known.add(name.replace("-", "_"))
    given = options.named.get(name.replace("-", "_"), "")
    if name.replace("-", "_") not in options.named:
        return default
    if isinstance(default.type, t.Bool):
        if given not in (None, "true", "false", "1", "0"):
            raise Wrong(node.span, f"Invalid value for named parameter '{name}': '{given}' is no boolean")
        return ir.Number(t.BOOL, int(given in (None, "true", "1")))
    if isinstance(default.type, t.String):
        return text((given or "").encode())
    value = parse_integer(given or "")
    if value is None:
        raise Wrong(node.span, f"Invalid value for named parameter '{name}': '{given}' is no number")
    return literal(value)


META_CALLS = {
    "sizeof": (1, 1, _sizeof), "offsetof": (2, 2, _offsetof), "container_of": (3, 3, _container_of),
    "is_array": (1, 1, _is(lambda type: isinstance(type, t.Array))),
    "is_integer": (1, 1, _is(lambda type: isinstance(type, INTEGERS) and not isinstance(type, t.Bool))),
    "is_ptr": (1, 1, _is(lambda type: isinstance(type, t.Pointer))),
    "is_str": (1, 1, _is(lambda type: isinstance(type, t.String | t.ProbeName))),
    "is_unsigned_integer": (1, 1, _is(lambda type: isinstance(type, NUMBERS) and not type.signed)),
    "is_literal": (1, 1, _is_literal), "is_err": (1, 1, _is_err), "kfunc_exist": (1, 1, _kfunc),
    "kfunc_allowed": (1, 1, _kfunc), "default_str_length": (0, 0, _default_str_length), "fail": (1, -1, _fail),
    "assert_str": (1, 1, _assert_str), "typeinfo": (1, 1, _typeinfo),
    "static_assert": (2, 2, _static_assert), "assert": (1, 2, _assert), "getopt": (1, 3, _getopt),
}  # fmt: skip
