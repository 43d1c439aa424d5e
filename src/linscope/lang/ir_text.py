"""The typed intermediate form as text, for those who want to see what became of a script.

map @reads: hash int32 -> count, 4096 entries
event 0: printf "%d\\n" (int32)
program vfs_read: kprobe:vfs_read
  $tid: int32 = int32(helper get_current_pid_tgid())
  if ($tid > 0)
    @reads[$tid] <- count()
    emit 0($tid)
"""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

_MOST_BYTES = 40  # of a constant that are shown


def format_unit(unit: ir.Unit) -> str:
    """All maps, events and programs; a line each for what is declared and for each statement."""
    lines = [_map(one) for one in unit.maps]
    numbers = {event: number for number, event in enumerate(unit.events)}
    lines += [_event(number, event) for number, event in enumerate(unit.events)]
    for program in unit.programs:
        lines.append(f"program {program.name}: {', '.join(probe.name for probe in program.probes)}")
        writer = _Writer(numbers)
        writer.statements(program.body, 1)
        shown: dict[int, list[int]] = {}
        for number, body in (program.dispatch or {}).items():
            shown.setdefault(id(body), []).append(number)
        for number, body in (program.dispatch or {}).items():
            if shown[id(body)][0] == number:
                writer.line(1, f"system call {', '.join(map(str, shown[id(body)]))}")
                writer.statements(body, 2)
        lines += writer.lines
    return "\n".join(lines) + "\n" if lines else ""


def format_type(type: t.Type) -> str:
    """A type, in a word or two."""
    if isinstance(type, t.Int):
        return f"{'' if type.signed else 'u'}int{8 * type.width}"
    if isinstance(type, t.Pointer):
        space = "" if type.space == t.ANY else f" {type.space}"
        return f"{format_type(type.target)}*{space}"
    if isinstance(type, t.Array):
        return f"{format_type(type.element)}[{type.count}]"
    if isinstance(type, t.String | t.Buffer):
        return f"{type.__class__.__name__.lower()}[{type.size}]"
    if isinstance(type, t.Struct):
        return f"{type.tag} {type.name or '{...}'}"
    if isinstance(type, t.Enum):
        return f"enum {type.name}"
    if isinstance(type, t.Tuple):
        names = [f"{name}=" for name in type.names] or [""] * len(type.elements)
        return f"({', '.join(name + format_type(one) for name, one in zip(names, type.elements, strict=True))})"
    if isinstance(type, t.Extreme | t.Average):
        return type.word
    if isinstance(type, t.Histogram):
        return f"hist({type.bits})"
    if isinstance(type, t.LinearHistogram):
        return f"lhist({type.least}, {type.most}, {type.step})"
    if isinstance(type, t.TimeSeries):
        return f"tseries({type.interval_ns}, {type.intervals}{', ' if type.word else ''}{type.word})"
    if isinstance(type, t.Stack):
        return f"{'k' if type.kind == t.KERNEL else 'u'}stack({type.mode}, {type.depth})"
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in type.__class__.__name__)[1:]


def _map(one: ir.Map) -> str:
    key = "" if one.key is None else f" {one.kind} {format_type(one.key)} ->"
    entries = "" if one.key is None else f", {one.entries} entries"
    return f"map {one.name}:{key} {format_type(one.value)}{entries}"


def _event(number: int, event: ir.Event) -> str:
    words = [f"event {number}: {event.kind}"]
    if event.format:
        words.append(_quoted(event.format))
    if event.map is not None:
        words.append(event.map.name)
    if event.values:
        words.append(f"({', '.join(map(format_type, event.values))})")
    return " ".join(words)


def _quoted(data: bytes) -> str:
    """Bytes as a string of the language, cut when they are many."""
    text = ascii(data[:_MOST_BYTES].decode("latin-1"))[1:-1].replace('"', '\\"').replace("\\'", "'")
    return f'"{text}"{"..." if len(data) > _MOST_BYTES else ""}'


def _key(map: ir.Map, key: ir.Expression | None) -> str:
    return map.name if key is None else f"{map.name}[{expression(key)}]"


def _list(nodes: Sequence[ir.Expression]) -> str:
    return ", ".join(map(expression, nodes))


def _space(node: ir.Load | ir.LoadString | ir.LoadBuffer) -> str:
    return "" if node.space == t.ANY else f"{node.space}, "


def expression(node: ir.Expression) -> str:
    """An expression in one line."""
    writer = _EXPRESSIONS.get(type(node))
    return writer(node) if writer is not None else f"{type(node).__name__}()"


def _number(node: ir.Number) -> str:
    if isinstance(node.type, t.Bool):
        return "true" if node.value else "false"
    return f"{node.value:#x}" if isinstance(node.type, t.Pointer) else str(node.value)


def _load_string(node: ir.LoadString) -> str:
    limit = "" if node.limit is None else f", {expression(node.limit)}"
    return f"{format_type(node.type)}({_space(node)}{expression(node.address)}{limit})"


def _load_buffer(node: ir.LoadBuffer) -> str:
    return f"{format_type(node.type)}({_space(node)}{expression(node.address)}, {expression(node.length)})"


def _compare_strings(node: ir.CompareStrings) -> str:
    count = "" if node.count is None else f", {node.count}"
    return f"strcmp({expression(node.left)}, {expression(node.right)}{count})"


def _build(node: ir.Build) -> str:
    return f"{format_type(node.type)} {{{', '.join(f'+{offset}: {expression(part)}' for offset, part in node.parts)}}}"


def _map_has(node: ir.MapHas) -> str:
    into = "" if node.into is None else f" into {node.into.name}"
    return f"has({_key(node.map, node.key)}{into})"


def _do(node: ir.Do) -> str:
    inner = _Writer({})
    inner.statements(node.statements, 0)
    return f"{{ {'; '.join(line.strip() for line in inner.lines)}; {expression(node.value)} }}"


def _per_cpu(node: ir.PerCpuAddress) -> str:
    return f"percpu {node.btf_id}{'' if node.cpu is None else f' on {expression(node.cpu)}'}"


_EXPRESSIONS: dict[type, Callable[[Any], str]] = {
    ir.Number: _number,
    ir.Bytes: lambda n: _quoted(n.data),
    ir.Get: lambda n: n.variable.name,
    ir.Context: lambda n: "ctx",
    ir.FromContext: lambda n: f"ctx+{n.offset}:{format_type(n.type)}",
    ir.Load: lambda n: f"load {format_type(n.type)}({_space(n)}{expression(n.address)})",
    ir.LoadString: _load_string,
    ir.LoadBuffer: _load_buffer,
    ir.Unary: lambda n: f"{n.sign}{' ' if n.sign.isalpha() else ''}{expression(n.operand)}",
    ir.Binary: lambda n: f"({expression(n.left)} {n.sign} {expression(n.right)})",
    ir.Compare: lambda n: f"({expression(n.left)} {n.sign} {expression(n.right)})",
    ir.CompareStrings: _compare_strings,
    ir.ConcatStrings: lambda n: f"concat({expression(n.left)}, {expression(n.right)})",
    ir.FindString: lambda n: f"find({expression(n.haystack)}, {expression(n.needle)})",
    ir.StringLength: lambda n: f"strlen({expression(n.text)})",
    ir.Logical: lambda n: f"({expression(n.left)} {n.sign} {expression(n.right)})",
    ir.Choice: lambda n: f"({expression(n.condition)} ? {expression(n.yes)} : {expression(n.no)})",
    ir.Convert: lambda n: f"{format_type(n.type)}({expression(n.operand)})",
    ir.Reinterpret: lambda n: f"{expression(n.operand)} as {format_type(n.type)}",
    ir.Build: _build,
    ir.Part: lambda n: f"{expression(n.of)}+{n.offset}:{format_type(n.type)}",
    ir.Element: lambda n: f"{expression(n.of)}[{expression(n.index)} of {n.count}]",
    ir.MapGet: lambda n: _key(n.map, n.key),
    ir.MapHas: _map_has,
    ir.MapDelete: lambda n: f"delete({_key(n.map, n.key)})",
    ir.MapAdd: lambda n: f"{'old' if n.old else 'new'}({_key(n.map, n.key)} += {expression(n.delta)})",
    ir.MapLength: lambda n: f"len({n.map.name})",
    ir.Aggregated: lambda n: f"total({_key(n.map, n.key)})",
    ir.Total: lambda n: f"total({expression(n.of)})",
    ir.Helper: lambda n: f"helper {n.name or n.number}({_list(n.arguments)})",
    ir.Fill: lambda n: f"helper {n.name or n.number}({_list(n.arguments)})",
    ir.Destination: lambda n: "here",
    ir.KernelFunction: lambda n: f"kfunc {n.btf_id}({_list(n.arguments)})",
    ir.PacketOutput: lambda n: f"packet({expression(n.packet)}, {expression(n.length)}, {n.offset})",
    ir.PerCpuAddress: _per_cpu,
    ir.StackTrace: lambda n: format_type(n.type),
    ir.StackLength: lambda n: f"frames({expression(n.stack)})",
    ir.Do: _do,
    ir.Family: lambda n: "family",
    ir.NotRecorded: lambda n: f"not recorded ({n.why})",
}


class _Writer:
    """Statements, as lines."""

    def __init__(self, numbers: dict[ir.Event, int]) -> None:
        self.lines: list[str] = []
        self._numbers = numbers
        self._declared: set[ir.Variable] = set()

    def line(self, depth: int, text: str) -> None:
        """One line."""
        self.lines.append("  " * depth + text)

    def statements(self, nodes: Sequence[ir.Statement], depth: int) -> None:
        """Some statements, and those in them further in."""
        for node in nodes:
            if isinstance(node, ir.Evaluate) and isinstance(node.expression, ir.Do):
                self.statements(node.expression.statements, depth)
            elif isinstance(node, ir.If):
                self.line(depth, f"if {_bare(node.condition)}")
                self.statements(node.yes, depth + 1)
                if node.no:
                    self.line(depth, "else")
                    self.statements(node.no, depth + 1)
            elif isinstance(node, ir.Inlined):
                self.line(depth, "function")
                self.statements(node.body, depth + 1)
            elif isinstance(node, ir.While | ir.ForRange | ir.ForMap):
                self.line(depth, self._loop(node))
                self.statements(node.body, depth + 1)
            else:
                self.line(depth, self._simple(node))

    def _loop(self, node: ir.While | ir.ForRange | ir.ForMap) -> str:
        if isinstance(node, ir.While):
            return f"while {_bare(node.condition)}"
        what = node.map.name if isinstance(node, ir.ForMap) else f"{expression(node.first)}..{expression(node.last)}"
        return f"for {self._variable(node.variable)} in {what}"

    def _variable(self, variable: ir.Variable) -> str:
        """Its name, with its type where it is met first."""
        if variable in self._declared:
            return variable.name
        self._declared.add(variable)
        return f"{variable.name}: {format_type(variable.type)}"

    def _event(self, event: ir.Event) -> str:
        number = self._numbers.get(event)
        return event.kind if number is None else str(number)

    def _simple(self, node: ir.Statement) -> str:
        if isinstance(node, ir.Evaluate):
            return expression(node.expression)
        if isinstance(node, ir.Set):
            return f"{self._variable(node.variable)} = {'0' if node.value is None else expression(node.value)}"
        if isinstance(node, ir.MapSet):
            return f"{_key(node.map, node.key)} = {expression(node.value)}"
        if isinstance(node, ir.Aggregate):
            given = [expression(one) for one in (node.value, node.times) if one is not None]
            return f"{_key(node.map, node.key)} <- {format_type(node.map.value).partition('(')[0]}({', '.join(given)})"
        if isinstance(node, ir.Emit):
            return f"emit {self._event(node.event)}({_list(node.values)})"
        if isinstance(node, ir.EmitJoin):
            return f"emit {self._event(node.event)}(strings at {expression(node.address)})"
        if isinstance(node, ir.Return):
            return "return" if node.value is None else f"return {expression(node.value)}"
        return type(node).__name__.lower()


def _bare(condition: ir.Expression) -> str:
    """A condition, in one pair of parentheses."""
    text = expression(condition)
    return text if isinstance(condition, ir.Compare | ir.Logical | ir.Binary | ir.Choice) else f"({text})"
