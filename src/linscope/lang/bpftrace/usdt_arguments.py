"""Arguments of USDT probes: where a note says that they are."""

from __future__ import annotations

from linscope.bpf.kernel.usdt import CONSTANT, MEMORY, parse_operand
from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.bpftrace.convert import add, number
from linscope.lang.bpftrace.problems import Wrong

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.lang.bpftrace.state import Body
    from linscope.lang.bpftrace.syntax import Span


def usdt_argument(body: Body, place: int, span: Span) -> ir.Expression:
    """arg0, arg1 ... of a USDT probe.  Raises Wrong."""
    probe = body.probes[0]
    words = probe.arguments.split()
    if place >= len(words):
        raise Wrong(span, f"{probe.name} has {len(words)} arguments")
    found = parse_operand(words[place])
    if found is None:
        raise Wrong(span, f"the argument {words[place]!r} of {probe.name} cannot be read")
    kind, value, register, size = found
    type = t.Int(abs(size), size < 0)
    if kind == CONSTANT:
        return number(value, t.Int(8, size < 0))
    if kind == MEMORY:
        found_value: ir.Expression = ir.Load(type, add(ir.FromContext(t.UINT64, register), value), t.USER)
    else:
        found_value = ir.FromContext(type, register)
    return ir.Convert(t.Int(8, size < 0), found_value)
