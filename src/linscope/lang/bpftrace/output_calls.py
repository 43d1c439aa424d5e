"""Functions that tell user space something: printf, print, join, time, cat, system, exit, errorf, warnf."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.bpftrace import syntax as sx
from linscope.lang.bpftrace.convert import NUMBERS, Place, coerce, is_number, load, number, to_scalar, total
from linscope.lang.bpftrace.members import default_space
from linscope.lang.bpftrace.problems import Wrong
from linscope.lang.bpftrace.type_names import INTEGERS, type_text
from linscope.lang.bpftrace.values import constant, constant_text, lower, operand
from linscope.lang.unit import MOST_STRINGS

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.lang.bpftrace.state import Body
    from linscope.lang.bpftrace.syntax import Span

_WIDTH, _WIDTH_DIGITS = "0123456789.", 4
_HINTS = {
    "string": "%d prints numbers; str() reads a string at an address", "integer": "%s prints strings",
    "buffer": "buf() reads bytes at an address",
}  # fmt: skip
_LENGTHS = ("hh", "h", "ll", "l", "j", "z", "t", "q")
_NUMERIC = (*NUMBERS, t.Pointer, t.Stack)
_TEXTUAL = (
    t.String, t.Stack, t.KernelSymbol, t.UserSymbol, t.Inet, t.Mac, t.Timestamp, t.UserName, t.CgroupPath, t.ErrorText,
    t.ProbeName, t.SyscallName, t.SignalName, t.Enum, t.Buffer, t.Tuple, t.Struct, t.Array, t.Bool, t.GfpFlags,
)  # fmt: skip


def done(*statements: ir.Statement) -> ir.Expression:
    """Statements as an expression without a value."""
    return ir.Do(t.Void(0), list(statements), number(0, t.Void(0)))


def _printable(body: Body, node: sx.Expression | sx.TypeName) -> ir.Expression:
    """A value that an event can carry.  Raises Wrong."""
    value = lower(body, node)
    if isinstance(value.type, t.Aggregation):
        return total(value)
    if isinstance(value.type, t.Void):
        raise Wrong(node.span, "a call without a value cannot be printed")
    return value


def conversions(format: bytes, span: Span) -> list[str]:
    """The letters of a format's conversions ("d", "s", "r", "rx", "gr" ...).  Raises Wrong: one that there is not."""
    return [letter for _, _, letter in iter_conversions(format.decode(errors="replace"), span) if letter != "%"]


def iter_conversions(text: str, span: Span) -> Iterator[tuple[int, int, str]]:
    """(begin, end, letters) of each conversion of a format, "%%" among them.  Raises Wrong: one that there is not."""
    at = 0
    while (begin := text.find("%", at)) >= 0:
        at = begin + 1
        if text[at : at + 1] == "%":
            at += 1
            yield begin, at, "%"
            continue
        while text[at : at + 1] in ("-", "+", " ", "#", "0", "'"):
            at += 1
        width = at
        while text[at : at + 1] in _WIDTH and at < len(text):
            at += 1
        if any(len(one) > _WIDTH_DIGITS for one in text[width:at].split(".")):
            raise Wrong(span, f"the width of {text[begin:at]} is too large", "four digits at most")
        length = next((word for word in _LENGTHS if text.startswith(word, at)), "")
        at += len(length)
        letter = text[at : at + 1]
        at += 1
        if letter == "r" and text[at : at + 1] in ("x", "h") and not length:
            letter += text[at]
            at += 1
        elif letter == "g" and text[at : at + 1] == "r":
            letter, at = "gr", at + 1
        if letter not in ("d", "i", "u", "x", "X", "o", "c", "s", "p", "r", "rx", "rh", "gr"):
            raise Wrong(span, f"Unknown format string token: %{letter}", "d i u x X o c s p, r rx rh for buffers")
        yield begin, at, letter


def formatted(body: Body, node: sx.Call) -> tuple[bytes, list[ir.Expression]]:
    """The format and its values.  Raises Wrong: they do not fit."""
    first = node.arguments[0]
    value = lower(body, first)
    if not isinstance(value, ir.Bytes):
        raise Wrong(first.span, f"{node.name}() expects a string literal as its format")
    wanted = conversions(value.data, first.span)
    values = [_printable(body, one) for one in node.arguments[1:]]
    if len(wanted) != len(values):
        few = "Not enough" if len(values) < len(wanted) else "Too many"
        raise Wrong(
            node.span, f"{node.name}: {few} arguments for format string ({len(wanted)} expected, {len(values)} found)"
        )  # fmt: skip
    for letter, one, argument in zip(wanted, values, node.arguments[1:], strict=True):
        _check_conversion(node.name, letter, one.type, argument.span)
    return value.data, values


def _check_conversion(name: str, letter: str, type: t.Type, span: Span) -> None:
    if letter in ("r", "rx", "rh"):
        fits = isinstance(type, t.Buffer | t.String)
        wanted = "buffer"
    elif letter == "s":
        fits, wanted = isinstance(type, _TEXTUAL), "string"
    else:
        fits, wanted = isinstance(type, _NUMERIC), "integer"
    if not fits:
        what = f"{name}: %{letter} specifier expects a value of type {wanted} ({type_text(type)} supplied)"
        raise Wrong(span, what, _HINTS.get(wanted, "") if isinstance(type, t.Int | t.Pointer | t.String) else "")


def _emit(body: Body, kind: str, node: sx.Call, format: bytes, values: list[ir.Expression]) -> ir.Statement:
    types = tuple(one.type for one in values)
    within = node.__dict__.get("within", ())
    return ir.Emit(body.script.event(kind, node.span, types, format=format, within=within), values)


def _formatted_event(body: Body, node: sx.Call) -> ir.Expression:
    """printf, errorf, warnf, cat."""
    format, values = formatted(body, node)
    return done(_emit(body, node.name, node, format, values))


def need_unsafe(body: Body, node: sx.Call) -> None:
    """Raises Wrong: the call changes the system, and --unsafe was not given."""
    if not body.script.options.unsafe:
        raise Wrong(
            node.span, f"{node.name}() is an unsafe function being used in safe mode"
            if node.name in ("system", "signal", "override") else
            f"{node.name}() is unsafe. To use you need the --unsafe flag",
            "give --unsafe to allow it",
        )  # fmt: skip


def _system(body: Body, node: sx.Call) -> ir.Expression:
    need_unsafe(body, node)
    return _formatted_event(body, node)


def _debugf(body: Body, node: sx.Call) -> ir.Expression:
    """To the kernel's trace_pipe: helper 6, trace_printk."""
    format, values = formatted(body, node)
    if len(values) > 3:
        raise Wrong(node.span, f"debugf() takes up to 3 values ({len(values)} provided)")
    data = ir.Bytes(t.String(len(format) + 1), format)
    return done(ir.Evaluate(ir.Helper(t.INT64, 6, [data, number(len(format) + 1), *values], "trace_printk")))


def _print(body: Body, node: sx.Call) -> ir.Expression:
    first = node.arguments[0]
    if isinstance(first, sx.MapAccess) and (first.key is None):
        return _print_map(body, node, first)
    if len(node.arguments) > 1:
        raise Wrong(node.span, "Single-value (i.e. indexed) map prints do not take additional arguments")
    value = _print_value(body, first)
    return done(_emit(body, "print", node, b"", [value]))


def _print_value(body: Body, node: sx.Expression | sx.TypeName) -> ir.Expression:
    found = operand(body, node)
    value = load(body, found) if isinstance(found, Place) else found
    if isinstance(value.type, t.Void) and value.type.size == 0:
        raise Wrong(node.span, "a call without a value cannot be printed")
    return total(value) if isinstance(value.type, t.Aggregation) else value


def _print_map(body: Body, node: sx.Call, target: sx.MapAccess) -> ir.Expression:
    script = body.script
    found = script.map_at(target.name, target.span)
    limits = [
        constant(body, one, f"print()'s {what}") for one, what in zip(node.arguments[1:], ("top", "div"), strict=False)
    ]
    if any(limit < 0 for limit in limits):
        raise Wrong(node.span, "print() takes no negative numbers")
    if len(limits) == 2 and isinstance(found.value, t.Average) and found.value.word == "stats":
        script.problems.warn(node.span, "print()'s div has no effect on stats()")
    values: list[ir.Expression] = [number(limit) for limit in (*limits, 0, 0)[:2]]
    event = script.event("print_map", node.span, (t.INT64, t.INT64), map=found)
    return done(ir.Emit(event, values))


def _whole_map(body: Body, node: sx.Call) -> ir.Expression:
    """clear, zero."""
    found = map_argument(body, node)
    return done(ir.Emit(body.script.event(node.name, node.span, map=found), []))


def map_argument(body: Body, node: sx.Call) -> ir.Map:
    """The whole map that is the first argument.  Raises Wrong."""
    target = node.arguments[0]
    if not isinstance(target, sx.MapAccess):
        raise Wrong(target.span, f"{node.name}() expects a map to be provided")
    if target.key is not None:
        raise Wrong(target.span, f"{node.name}() expects a map without a key", f"{node.name}(@{target.name})")
    return body.script.map_at(target.name, target.span)


def _time(body: Body, node: sx.Call) -> ir.Expression:
    format = constant_text(body, node.arguments[0], "time()'s format") if node.arguments else b"%H:%M:%S\n"
    return done(_emit(body, "time", node, format, []))


def _join(body: Body, node: sx.Call) -> ir.Expression:
    found = operand(body, node.arguments[0])
    space = found.space if isinstance(found, Place) else default_space(body)
    value = load(body, found) if isinstance(found, Place) else found
    if isinstance(value.type, t.Pointer) and value.type.space != t.ANY:
        space = value.type.space
    address = to_scalar(body, value, node.arguments[0].span, "a pointer")
    delimiter = constant_text(body, node.arguments[1], "join()'s delimiter") if len(node.arguments) > 1 else b" "
    types = (t.String(body.script.string_size),) * MOST_STRINGS
    event = body.script.event("join", node.span, types, format=delimiter)
    return done(ir.EmitJoin(event, address, space if space in (t.USER, t.KERNEL) else t.ANY))


def _exit(body: Body, node: sx.Call) -> ir.Expression:
    code: ir.Expression = number(0)
    if node.arguments:
        value = lower(body, node.arguments[0])
        if not isinstance(value.type, INTEGERS) and not is_number(value.type):
            raise Wrong(node.arguments[0].span, f"exit() expects an integer, found {type_text(value.type)}")
        code = coerce(body.script, value, t.INT64, node.span)
    return done(_emit(body, "exit", node, b"", [code]), ir.Return())


def _unwatch(body: Body, node: sx.Call) -> ir.Expression:
    value = to_scalar(body, lower(body, node.arguments[0]), node.span, "an address")
    event = body.script.event("unwatch", node.span, (t.UINT64,))
    return done(ir.Emit(event, [ir.Convert(t.UINT64, value)]))


OUTPUT_CALLS = {
    "printf": (1, -1, _formatted_event), "errorf": (1, -1, _formatted_event), "warnf": (1, -1, _formatted_event),
    "cat": (1, -1, _formatted_event), "system": (1, -1, _system), "print": (1, 3, _print), "clear": (1, 1, _whole_map),
    "zero": (1, 1, _whole_map), "time": (0, 1, _time), "join": (1, 2, _join), "exit": (0, 1, _exit),
    "debugf": (1, -1, _debugf), "unwatch": (1, 1, _unwatch),
}  # fmt: skip
