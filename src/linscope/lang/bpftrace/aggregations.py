"""count(), sum(), avg(), min(), max(), stats(), hist(), lhist(), tseries(): what maps add up.

Source: bpftrace docs/stdlib.md, Map Value Functions.
"""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.bpftrace import syntax as sx
from linscope.lang.bpftrace.convert import coerce
from linscope.lang.bpftrace.problems import Wrong
from linscope.lang.bpftrace.type_names import INTEGERS, type_text
from linscope.lang.bpftrace.values import constant, constant_text, key_value, lower, scalar

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.lang.bpftrace.state import Body

AGGREGATIONS = {
    "count": (0, 0), "sum": (1, 1), "avg": (1, 1), "min": (1, 1), "max": (1, 1), "stats": (1, 1), "hist": (1, 3),
    "lhist": (4, 5), "tseries": (3, 4),
}  # fmt: skip
_MOST_BITS = 5
_MOST_BUCKETS = 1000
_MOST_INTERVALS = 1000000
_SERIES = ("", "avg", "max", "min", "sum")
_CLOCK = "BPFTRACE_DUMMY_TS_MAP"  # a map whose value is the time of tseries, for tests


def aggregate(body: Body, target: sx.MapAccess, node: sx.Call) -> list[ir.Statement]:
    """``@map[key] = count()`` and the like.  Raises Wrong."""
    least, most = AGGREGATIONS[node.name]
    if not least <= len(node.arguments) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        plural = "argument" if wanted == "1" else "arguments"
        raise Wrong(node.span, f"{node.name}() requires {wanted} {plural} ({len(node.arguments)} provided)")
    if node.name == "tseries":
        body.script.check_unstable(node.span, "tseries")
    arguments = node.arguments
    value = scalar(body, arguments[0]) if arguments else None
    if value is not None and not isinstance(value.type, (*INTEGERS, t.Pointer, t.Timestamp)):
        raise Wrong(node.span, f"{node.name}() only supports integer arguments ({type_text(value.type)} provided)")
    signed = value is None or value.type.signed or (isinstance(value, ir.Number) and value.value < 1 << 63)
    kind: t.Type
    kind, times = _kind(body, node, arguments, signed)
    script = body.script
    key = None if target.key is None else key_value(body, target.key)
    key_type = script.map_key(target.name, None if key is None else key.type, target.span)
    known = script.map_types[target.name][1]
    if known is not None and type(known) is type(kind) and _same_but_sign(known, kind):
        kind = _signed_of(known, kind)
    script.map_types[target.name] = (key_type, _remember(body, target, known, kind, node))
    found = script.map_at(target.name, target.span)
    if value is not None:
        wide = t.UINT64 if getattr(kind, "signed", True) is False else t.INT64
        value = coerce(script, value, wide, node.span)
    made = ir.Aggregate(found, coerce(script, key, key_type, target.span) if key and key_type else None, value, times)
    clock = script.options.environment.get(_CLOCK, "")
    if node.name == "tseries" and clock:
        made.__dict__["now"] = lower(body, sx.MapAccess(node.span, clock.removeprefix("@")))
    return [made]


def _remember(body: Body, target: sx.MapAccess, known: t.Type | None, kind: t.Type, node: sx.Call) -> t.Type:
    if known is None:
        body.script.changed = body.script.changed or target.name in body.script.used_maps
        return kind
    if known != kind:
        if type(known) is type(kind) and _same_but_sign(known, kind):
            body.script.changed = True
            return kind
        raise Wrong(
            node.span, f"Type mismatch for @{target.name}: trying to assign value of type '{type_text(kind)}' when map "
            f"already contains a value of type '{type_text(known)}'",
        )  # fmt: skip
    return known


def _same_but_sign(known: t.Type, kind: t.Type) -> bool:
    return all(getattr(known, name) == getattr(kind, name) for name in known._fields if name != "signed")


def _signed_of(known: t.Type, kind: t.Type) -> t.Type:
    """The signed one of two kinds."""
    return known if getattr(known, "signed", True) else kind


def _kind(
    body: Body, node: sx.Call, arguments: list[sx.Expression | sx.TypeName], signed: bool
) -> tuple[t.Aggregation, ir.Expression | None]:
    """What the map adds up, and how often a value counts."""
    name = node.name
    if name == "count":
        return t.Count(), None
    if name == "sum":
        return t.Sum(signed), None
    if name in ("min", "max"):
        return t.Extreme(name, signed), None
    if name in ("avg", "stats"):
        return t.Average(name, signed), None
    if name == "hist":
        bits = constant(body, arguments[1], "hist()'s bits") if len(arguments) > 1 else 0
        if not 0 <= bits <= _MOST_BITS:
            raise Wrong(node.span, f"hist: bits {bits} must be 0..{_MOST_BITS}")
        return t.Histogram(bits), scalar(body, arguments[2]) if len(arguments) > 2 else None
    if name == "lhist":
        return _linear(body, node, arguments)
    interval = constant(body, arguments[1], "tseries()'s interval")
    count = constant(body, arguments[2], "tseries()'s number of intervals")
    given = constant_text(body, arguments[3], "tseries()'s aggregation") if len(arguments) > 3 else b""
    word = given.decode(errors="replace")
    if interval <= 0 or not 1 <= count <= _MOST_INTERVALS:
        raise Wrong(node.span, "tseries() interval_ns and num_intervals must be >= 1, num_intervals <= 1000000")
    if word not in _SERIES:
        raise Wrong(
            arguments[3].span,
            f'tseries() expects one of the following aggregation functions: avg, max, min, sum ("{word}" provided)',
        )
    return t.TimeSeries(interval, count, word, signed), None


def _linear(
    body: Body, node: sx.Call, arguments: list[sx.Expression | sx.TypeName]
) -> tuple[t.Aggregation, ir.Expression | None]:  # fmt: skip
    least, most, step = (constant(body, one, "lhist()'s bounds") for one in arguments[1:4])
    if step <= 0:
        raise Wrong(node.span, f"lhist() step must be >= 1 ({step} provided)")
    if least >= most:
        raise Wrong(node.span, f"lhist() min must be less than max (provided min {least} and max {most})")
    if (most - least) // step > _MOST_BUCKETS:
        raise Wrong(
            node.span, f"lhist() too many buckets, must be <= {_MOST_BUCKETS} (would need {(most - least) // step})"
        )
    if (most - least) % step:
        raise Wrong(node.span, f"lhist() max - min must be a multiple of step ({most} - {least}, {step})")
    return t.LinearHistogram(least, most, step), scalar(body, arguments[4]) if len(arguments) > 4 else None
