"""Types as they are written in a script -> types."""

from __future__ import annotations

from linscope.lang import types as t
from linscope.lang.bpftrace import syntax as sx
from linscope.lang.bpftrace.problems import Wrong
from linscope.lang.bpftrace.type_names import type_text

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.lang.bpftrace.state import Body

# of C and of the language; all others come from the definitions
_PLAIN: dict[str, t.Type] = {
    "bool": t.BOOL, "void": t.VOID, "int8": t.INT8, "int16": t.INT16, "int32": t.INT32, "int64": t.INT64,
    "uint8": t.UINT8, "uint16": t.UINT16, "uint32": t.UINT32, "uint64": t.UINT64, "inet": t.Inet(),
    "mac_address": t.Mac(), "ksym_t": t.KernelSymbol(), "usym_t": t.UserSymbol(), "char": t.Int(1, True, "char"),
    "username": t.UserName(), "count_t": t.Count(), "sum_t": t.Sum(True), "usum_t": t.Sum(False),
    "min_t": t.Extreme("min", True), "max_t": t.Extreme("max", True), "umin_t": t.Extreme("min", False),
    "umax_t": t.Extreme("max", False), "avg_t": t.Average("avg", True), "uavg_t": t.Average("avg", False),
    "stats_t": t.Average("stats", True), "ustats_t": t.Average("stats", False),
}  # fmt: skip
# words of C's integers: (bytes, signed)
_C_INTEGERS = {
    "short": (2, True), "int": (4, True), "long": (8, True), "long long": (8, True), "unsigned": (4, False),
    "signed": (4, True), "unsigned char": (1, False), "signed char": (1, True), "unsigned short": (2, False),
    "unsigned int": (4, False), "unsigned long": (8, False), "unsigned long long": (8, False), "long int": (8, True),
    "unsigned long int": (8, False), "short int": (2, True), "unsigned short int": (2, False),
    "u8": (1, False), "u16": (2, False), "u32": (4, False), "u64": (8, False), "s8": (1, True), "s16": (2, True),
    "s32": (4, True), "s64": (8, True), "__u8": (1, False), "__u16": (2, False), "__u32": (4, False),
    "__u64": (8, False), "__s8": (1, True), "__s16": (2, True), "__s32": (4, True), "__s64": (8, True),
    "uint8_t": (1, False), "uint16_t": (2, False), "uint32_t": (4, False), "uint64_t": (8, False),
    "int8_t": (1, True), "int16_t": (2, True), "int32_t": (4, True), "int64_t": (8, True), "size_t": (8, False),
    "ssize_t": (8, True), "uintptr_t": (8, False), "intptr_t": (8, True),
}  # fmt: skip


def resolve_type(body: Body, node: sx.TypeName) -> t.Type:
    """The type that is written.  Raises Wrong: there is none of that name."""
    if isinstance(node, sx.PointerType):
        return t.Pointer(resolve_type(body, node.target))
    if isinstance(node, sx.ArrayType):
        element = resolve_type(body, node.element)
        if isinstance(element, t.Aggregation):
            raise Wrong(node.span, f"there are no arrays of {type_text(element)}")
        return t.Array(element, node.length)
    if isinstance(node, sx.TupleType):
        return t.Tuple(tuple(resolve_type(body, element) for element in node.elements))
    if isinstance(node, sx.TypeOf):
        return type_of(body, node.of)
    if isinstance(node, sx.TaggedType):
        found = body.script.definitions.find_type(node.tag, node.name)
        if found is None:
            raise Wrong(node.span, f'Cannot resolve unknown type "{node.tag} {node.name}"', _hint(body, node.name))
        return found
    return _named(body, node)


def _named(body: Body, node: sx.NamedType) -> t.Type:
    name = node.name
    if name == "string":
        return t.String(node.length or body.script.string_size)
    if name == "buffer":
        return t.Buffer(node.length or body.script.string_size - 1)
    plain = _PLAIN.get(name)
    if plain is not None:
        return plain
    found = body.script.definitions.find_type(None, name)
    if found is not None:
        return found
    if name in _C_INTEGERS:
        return t.Int(*_C_INTEGERS[name], name)
    raise Wrong(node.span, f'Cannot resolve unknown type "{name}"', _hint(body, name))


def _hint(body: Body, name: str) -> str:
    for tag in ("struct", "union", "enum"):
        if body.script.definitions.find_type(tag, name) is not None:
            return f"did you mean {tag} {name}?"
    return ""


def type_of(body: Body, node: sx.Expression | sx.TypeName) -> t.Type:
    """The type of an expression, which is not evaluated, or of a type.  Raises Wrong, Unresolved."""
    if isinstance(node, sx.NamedType | sx.TaggedType | sx.PointerType | sx.ArrayType | sx.TupleType | sx.TypeOf):
        return resolve_type(body, node)
    from linscope.lang.bpftrace.values import operand

    if isinstance(node, sx.Identifier):
        named = _PLAIN.get(node.name) or body.script.definitions.find_type(None, node.name)
        if named is not None or node.name in _C_INTEGERS:
            return named or t.Int(*_C_INTEGERS[node.name], node.name)
    if isinstance(node, sx.Variable):
        variable = body.find(node.name)
        if variable is not None:
            return variable.type
    events = len(body.script.events)
    found = operand(body, node)
    del body.script.events[events:]
    return found.type
