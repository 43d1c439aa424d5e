"""Macros: each call is replaced by the macro's body before anything else is looked at.

``macro inc($x) { $x += 1; $x }`` with ``inc($a)`` becomes ``{ $a += 1; $a }``.  A macro's own variables get names that
nobody can write.  Source: bpftrace docs/language.md, Macros.
"""

from __future__ import annotations

from linscope.lang.bpftrace import syntax as sx
from linscope.lang.bpftrace.problems import TOO_DEEP, Problems, Wrong
from linscope.lang.nodes import Node

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from linscope.lang.bpftrace.syntax import Span

_DEEPEST = 100
_TYPES = (sx.NamedType, sx.TaggedType, sx.PointerType, sx.ArrayType, sx.TupleType, sx.TypeOf)


class _Expander:
    """Replaces the calls of one program's macros."""

    def __init__(self, macros: Sequence[sx.Macro], problems: Problems) -> None:
        self.macros: dict[tuple[str, int], sx.Macro] = {}
        self.problems = problems
        self.instances = 0
        for macro in macros:
            key = macro.name, len(macro.parameters)
            if key in self.macros:
                problems.error(macro.span, f'Redefinition of macro: "{macro.name}"')
            self.macros[key] = macro
        self.names = {macro.name for macro in macros}

    def expand(self, node: object, frame: _Frame) -> object:
        """A copy of a node with all calls replaced."""
        if isinstance(node, list):
            return [self.expand(one, frame) for one in node]
        if not isinstance(node, Node):
            return node
        if isinstance(node, sx.Call):
            return self._call(node, frame)
        if isinstance(node, sx.Identifier):
            return self._identifier(node, frame)
        if isinstance(node, sx.Variable | sx.MapAccess | sx.NamedType | sx.ArrayType):
            return self._name(node, frame)
        made = self._copy(node, frame)
        if isinstance(made, sx.Let):
            made.name = frame.variable(made.name, made.span)
        elif isinstance(made, sx.ForMap | sx.ForRange):
            made.variable = frame.variable(made.variable, made.span)
        return made

    def _copy(self, node: Node, frame: _Frame) -> Node:
        made = type(node).__new__(type(node))
        for name, value in node.__dict__.items():
            made.__dict__[name] = self.expand(value, frame) if isinstance(value, Node | list) else value
        if frame.within and isinstance(node, sx.Call):
            made.__dict__["within"] = frame.within
        return made

    def _name(self, node: Node, frame: _Frame) -> object:
        """A name that may be a parameter of the macro."""
        if isinstance(node, sx.Variable):
            found = frame.arguments.get("$" + node.name)
            if found is not None:
                return self.expand(found, frame.outer)
            return sx.Variable(node.span, frame.variable(node.name, node.span))
        if isinstance(node, sx.MapAccess):
            key: Any = self.expand(node.key, frame) if node.key is not None else None
            found = frame.arguments.get("@" + node.name)
            name = found.name if isinstance(found, sx.MapAccess) else node.name
            if isinstance(found, sx.MapAccess):
                outer = self.expand(sx.MapAccess(found.span, found.name), frame.outer)
                name = outer.name if isinstance(outer, sx.MapAccess) else name
            return sx.MapAccess(node.span, name, key)
        if isinstance(node, sx.ArrayType) and isinstance(node.element, sx.NamedType):
            found = frame.arguments.get(node.element.name)
            if found is not None and not isinstance(found, _TYPES):
                inner: Any = self.expand(found, frame.outer)
                return sx.Index(node.span, inner, sx.Integer(node.span, node.length))
        if isinstance(node, sx.NamedType):
            found = frame.arguments.get(node.name)
            if found is not None:
                return self.expand(found, frame.outer)
        return self._copy(node, frame)

    def _identifier(self, node: sx.Identifier, frame: _Frame) -> object:
        found = frame.arguments.get(node.name)
        if found is not None:
            return self.expand(found, frame.outer)
        macro = self.macros.get((node.name, 0))
        if macro is not None and macro.name not in frame.open:
            return self._expansion(macro, node.span, [], frame)
        return node

    def _call(self, node: sx.Call, frame: _Frame) -> object:
        found = frame.arguments.get(node.name)
        if found is not None and not node.arguments:
            return self.expand(found, frame.outer)
        macro = self.macros.get((node.name, len(node.arguments)))
        if macro is None:
            self._check_count(node)
            return self._copy(node, frame)
        if macro.name in frame.open and frame.is_open(macro):
            self.problems.error(node.span, f"Recursive macro call detected. Call chain: {' > '.join(frame.open)}")
            return node
        return self._expansion(macro, node.span, node.arguments, frame)

    def _check_count(self, node: sx.Call) -> None:
        """A macro of that name, but with other parameters, was meant, unless there is a function of the name too."""
        if node.name not in self.names:
            return
        from linscope.lang.bpftrace.aggregations import AGGREGATIONS
        from linscope.lang.bpftrace.builtins import find_builtin
        from linscope.lang.bpftrace.calls import CALLS

        if node.name not in CALLS and node.name not in AGGREGATIONS and find_builtin(node.name) is None:
            counts = " or ".join(str(count) for name, count in self.macros if name == node.name)
            self.problems.error(
                node.span, f"Call to macro {node.name} has wrong number arguments. Expected: {counts} but got "
                f"{len(node.arguments)}",
            )  # fmt: skip

    def _expansion(
        self, macro: sx.Macro, span: Span, arguments: Sequence[sx.Expression | sx.TypeName], frame: _Frame
    ) -> object:
        given: dict[str, Node] = {}
        for parameter, argument in zip(macro.parameters, arguments, strict=True):
            self._check(macro, parameter, argument)
            given[parameter] = argument
        self.instances += 1
        if len(frame.open) > _DEEPEST:
            raise Wrong(span, f"macros nested more than {_DEEPEST} deep")
        inner = _Frame(given, f"{macro.name}#{self.instances}", (span, *frame.within), (*frame.open, macro.name), frame)
        body = self._copy(macro.body, inner)
        assert isinstance(body, sx.Block)
        if not body.statements and body.value is not None:
            return body.value
        return body

    def _check(self, macro: sx.Macro, parameter: str, argument: sx.Expression | sx.TypeName) -> None:
        """A $ parameter takes a variable, an @ parameter a map."""
        if parameter[0] == "$" and not isinstance(argument, sx.Variable | sx.Identifier):
            self.problems.error(
                argument.span, f"Mismatched arg to macro call. Macro '{macro.name}' expects a variable for arg "
                f"{parameter} but got an expression.",
            )  # fmt: skip
        if parameter[0] == "@" and not isinstance(argument, sx.MapAccess | sx.Identifier):
            self.problems.error(
                argument.span, f"Mismatched arg to macro call. Macro '{macro.name}' expects a map for arg {parameter} "
                "but got an expression.",
            )  # fmt: skip


class _Frame:
    """One expansion: what its parameters stand for, and how its own variables are named."""

    def __init__(
        self,
        arguments: dict[str, Node],
        mark: str,
        within: tuple[Span, ...],
        open: tuple[str, ...],
        outer: _Frame | None,
    ) -> None:
        """mark: makes names unique, "" outside of macros; within: the calls around, innermost first; outer: where the
        arguments were written.
        """
        self.arguments = arguments
        self.mark = mark
        self.within = within
        self.open = open
        self.outer: _Frame = outer if outer is not None else self

    def is_open(self, macro: sx.Macro) -> bool:
        """Whether a call stands in the macro's own body, not in what was given to it."""
        return macro.name in self.open

    def variable(self, name: str, span: Span) -> str:
        """The name of a variable here."""
        found = self.arguments.get("$" + name)
        if isinstance(found, sx.Variable):
            return self.outer.variable(found.name, span)
        return f"{name}#{self.mark}" if self.mark else name


def expand_macros(program: sx.Program, problems: Problems) -> tuple[list[sx.Probe], list[sx.Subprogram]]:
    """The program's probes and functions with all macro calls replaced; what is wrong goes to problems."""
    if not program.macros:
        return program.probes, program.functions
    expander = _Expander(program.macros, problems)
    top = _Frame({}, "", (), (), None)
    probes: list[sx.Probe] = []
    functions: list[sx.Subprogram] = []
    parts: list[sx.Subprogram | sx.Probe] = [*program.functions, *program.probes]
    for one in parts:
        try:
            found = expander.expand(one, top)
        except Wrong as wrong:
            problems.error(wrong.span, wrong.what, wrong.hint)
            continue
        except RecursionError:
            problems.error(one.span, TOO_DEEP)
            continue
        if isinstance(found, sx.Subprogram):
            if found.name in expander.names:
                problems.error(one.span, f"{found.name} is a macro and a function")
            functions.append(found)
        elif isinstance(found, sx.Probe):
            probes.append(found)
    return probes, functions
