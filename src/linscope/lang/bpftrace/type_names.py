"""Types in messages, and two types that meet at one place."""

from __future__ import annotations

from linscope.lang import types as t

_PLAIN = {
    t.Void: "void", t.Bool: "bool", t.KernelSymbol: "ksym_t", t.UserSymbol: "usym_t", t.Timestamp: "timestamp",
    t.UserName: "username", t.CgroupPath: "cgroup_path_t", t.ErrorText: "strerror_t", t.Inet: "inet",
    t.Mac: "mac_address", t.Count: "count_t", t.Histogram: "hist_t", t.LinearHistogram: "lhist_t",
    t.TimeSeries: "tseries_t", t.ProbeName: "string", t.SyscallName: "string", t.SignalName: "string",
}  # fmt: skip
INTEGERS = (t.Int, t.Bool, t.Enum)


def type_text(type: t.Type) -> str:
    """A type as bpftrace names it: int64, string[16], (int8,string[3]), struct task_struct *."""
    if isinstance(type, t.Int):
        return f"{'' if type.signed else 'u'}int{8 * type.width}"
    if isinstance(type, t.String):
        return f"string[{type.width}]"
    if isinstance(type, t.Buffer):
        return f"buffer[{type.capacity}]"
    if isinstance(type, t.Pointer):
        return f"{type_text(type.target)} *"
    if isinstance(type, t.Array):
        return f"{type_text(type.element)}[{type.count}]"
    if isinstance(type, t.Struct | t.Enum):
        tag = type.tag if isinstance(type, t.Struct) else "enum"
        return f"{tag} {type.name}"
    if isinstance(type, t.Tuple):
        parts = [type_text(element) for element in type.elements]
        if type.names:
            return f"record {{ {', '.join(f'.{n} = {p}' for n, p in zip(type.names, parts, strict=True))} }}"
        return f"({','.join(parts)})"
    if isinstance(type, t.Stack):
        return "ustack_t" if type.kind == t.USER else "kstack_t"
    if isinstance(type, t.Sum | t.Extreme | t.Average):
        word = "sum" if isinstance(type, t.Sum) else type.word
        return f"{'' if type.signed else 'u'}{word}_t"
    for plain, name in _PLAIN.items():
        if isinstance(type, plain):
            return name
    return type.__class__.__name__.lower()


def join_types(one: t.Type, other: t.Type) -> t.Type | None:
    """The type that holds values of both; None: there is none.

    Integers widen; of different signs they become the signed one that holds both, at most 64 bits.
    """
    if isinstance(one, t.Bool) and isinstance(other, t.Bool):
        return one
    if isinstance(one, INTEGERS) and isinstance(other, INTEGERS):
        if isinstance(one, t.Enum) and one == other:
            return one
        return _join_integers(one, other)
    if isinstance(one, t.Pointer) and isinstance(other, INTEGERS):
        return one
    if isinstance(other, t.Pointer) and isinstance(one, INTEGERS):
        return other
    if isinstance(one, t.Pointer) and isinstance(other, t.Pointer):
        return other if isinstance(one.target, t.Void) else one
    if isinstance(one, t.String | t.ProbeName) and isinstance(other, t.String | t.ProbeName):
        return _join_strings(one, other)
    if isinstance(one, t.Buffer) and isinstance(other, t.Buffer):
        return one if one.capacity >= other.capacity else other
    if isinstance(one, t.Tuple) and isinstance(other, t.Tuple):
        return _join_tuples(one, other)
    if type(one) is type(other) and isinstance(one, t.Timestamp | t.CgroupPath | t.Stack):
        return one  # printed as the first one says
    return one if one == other else None


def _join_integers(one: t.Type, other: t.Type) -> t.Type:
    if one.signed == other.signed:
        wider = one if one.size >= other.size else other
        return wider if isinstance(wider, t.Int) else t.Int(wider.size, wider.signed)
    signed, unsigned = (one, other) if one.signed else (other, one)
    return t.Int(min(8, max(signed.size, 2 * unsigned.size)), True)


def _join_strings(one: t.Type, other: t.Type) -> t.Type:
    if isinstance(one, t.ProbeName) and isinstance(other, t.ProbeName):
        return one
    if isinstance(one, t.ProbeName):
        one, other = other, one
    assert isinstance(one, t.String)
    width = max((len(name) for name in other.names), default=0) + 1 if isinstance(other, t.ProbeName) else other.size
    limit = one.limit or (other.limit if isinstance(other, t.String) else 0)
    return t.String(max(one.width, width), limit) if width > one.width or limit != one.limit else one


def _join_tuples(one: t.Tuple, other: t.Tuple) -> t.Type | None:
    if len(one.elements) != len(other.elements) or sorted(one.names) != sorted(other.names):
        return None
    order = [other.names.index(name) for name in one.names] if one.names else range(len(one.elements))
    joined = [join_types(a, other.elements[place]) for a, place in zip(one.elements, order, strict=True)]
    if any(element is None for element in joined):
        return None
    made = t.Tuple(tuple(element for element in joined if element is not None), one.names)
    return one if made == one else made
