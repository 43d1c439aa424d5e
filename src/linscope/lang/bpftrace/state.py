"""What is known while a script is lowered: of the whole script, and of the program that is being made.

A script is lowered in passes: what a pass learns about maps and variables (their types, which may widen) the next one
knows from its start.  The pass that learns nothing new gives the result.
"""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.bpftrace.problems import Unresolved, Wrong
from linscope.lang.bpftrace.type_names import INTEGERS, join_types, type_text

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.lang.bpftrace import syntax as sx
    from linscope.lang.bpftrace.options import Options
    from linscope.lang.bpftrace.problems import Problems
    from linscope.lang.bpftrace.syntax import Span
    from linscope.lang.definitions import Definitions
    from linscope.lang.probe import Probe


class Script:
    """The whole script: what all its programs share."""

    def __init__(
        self, problems: Problems, definitions: Definitions, settings: dict[str, str | int], options: Options
    ) -> None:
        """definitions: the types and constants that there are; options: of the command line."""
        self.problems = problems
        self.definitions = definitions
        self.settings = settings
        self.options = options
        self.maps: dict[str, ir.Map] = {}
        self.declared: dict[str, sx.MapDeclaration] = {}
        self.functions: dict[str, sx.Subprogram] = {}
        self.events: list[ir.Event] = []
        self.probe_names: list[str] = []
        self.probe_name = t.ProbeName(())
        self.variable_types: dict[tuple[str, int], t.Type] = {}
        self.map_types: dict[str, tuple[t.Type | None, t.Type | None]] = {}  # (key, value); value None: not known yet
        self.fixed: set[str] = set()  # maps whose value's type is final
        self.hoisted: set[tuple[str, str]] = set()  # (program, variable) that live beyond their block
        self.changed = False  # whether this pass learned something that it had needed before
        self.waiting: list[Unresolved] = []  # what this pass could not know
        self.used_maps: set[str] = set()
        self.depth = 0  # of macros of C that stand in one another
        self.runtime_events: dict[tuple[str, Span], ir.Event] = {}

    @property
    def string_size(self) -> int:
        """Bytes of a string that str() reads, with its NUL."""
        return int(self.settings["max_strlen"]) + 1

    def begin_pass(self) -> None:
        """Forget what the last pass made; keep what it learned."""
        self.problems.clear()
        self.maps.clear()
        self.events.clear()
        self.runtime_events.clear()
        self.waiting.clear()
        self.used_maps.clear()
        self.changed = False

    def event(
        self, kind: str, span: Span, values: tuple[t.Type, ...] = (), *, format: bytes = b"",
        map: ir.Map | None = None, within: tuple[Span, ...] = (),
    ) -> ir.Event:  # fmt: skip
        """A new event.  within: the macro calls around it, innermost first."""
        made = ir.Event(kind, values, format, map, span, within)
        self.events.append(made)
        return made

    def runtime_error(self, span: Span, message: str) -> ir.Event:
        """The event that tells a mistake which shows only when the script runs."""
        key = (message, span)
        if key not in self.runtime_events:
            self.runtime_events[key] = self.event("runtime_error", span, format=message.encode())
        return self.runtime_events[key]

    def name_number(self, name: str) -> int:
        """The number of a probe's name."""
        if name not in self.probe_names:
            self.probe_names.append(name)
            self.probe_name.__dict__["names"] = tuple(self.probe_names)
        return self.probe_names.index(name)

    def check_unstable(self, span: Span, feature: str) -> None:
        """Raises Wrong when the settings forbid what is unstable in bpftrace."""
        option = f"unstable_{feature}"
        if self.settings[option] == "error":
            raise Wrong(
                span, f"{feature} is not enabled by default. To enable this unstable feature, set this config flag to "
                f"enable: {option}=enable",
            )  # fmt: skip

    # -- maps

    def map_key(self, name: str, key: t.Type | None, span: Span) -> t.Type | None:
        """The key's type of a map that is accessed with a key of a type.  Raises Wrong when they do not fit."""
        if name not in self.map_types:
            self.map_types[name] = (key, None)
            return key
        known, value = self.map_types[name]
        if (known is None) != (key is None):
            one, other = ("without an explicit key (scalar map)", "with an explicit key (non-scalar map)")
            used, before = (one, other) if key is None else (other, one)
            raise Wrong(span, f"@{name} used as a map {used}, previously used {before}")
        if known is None or key is None:
            return None
        joined = join_types(known, key)
        if joined is None or (isinstance(known, t.Pointer) != isinstance(joined, t.Pointer)):
            given, expected = (text if text[:1] == "(" else f"({text})" for text in (type_text(key), type_text(known)))
            raise Wrong(
                span,
                f"Argument mismatch for @{name}: trying to access with arguments: '{given}' when map expects "
                f"arguments: '{expected}'",
            )
        if joined is not known and joined != known:
            self.map_types[name] = (joined, value)
            self.changed = True
        return joined

    def map_value(self, name: str, value: t.Type, span: Span) -> t.Type:
        """The value's type of a map that a value of a type is put into.  Raises Wrong when they do not fit."""
        key, known = self.map_types[name]
        if known is None:
            self.map_types[name] = (key, value)
            self.changed = self.changed or name in self.used_maps
            return value
        joined = join_types(known, value)
        if joined is None or isinstance(known, t.Aggregation) != isinstance(value, t.Aggregation):
            raise Wrong(
                span,
                f"Type mismatch for @{name}: trying to assign value of type '{type_text(value)}' when map already "
                f"contains a value of type '{type_text(known)}'",
            )
        if joined is not known and joined != known:
            self.map_types[name] = (key, joined)
            self.changed = True
        return joined

    def map_at(self, name: str, span: Span) -> ir.Map:
        """The map of a name, whose types are known.  Raises Unresolved."""
        self.used_maps.add(name)
        key, value = self.map_types.get(name, (None, None))
        if value is None:
            raise Unresolved(span, f"Undefined map: @{name}")
        made = self.maps.get(name)
        if made is None:
            declared = self.declared.get(name)
            kind = declared.kind if declared else "hash"
            entries = declared.entries if declared else int(self.settings["max_map_keys"])
            made = self.maps[name] = ir.Map("@" + name, key, value, kind, entries)
        made.key, made.value = key, value
        return made


class NeedsOneProbe(Exception):
    """Several probes share a program that asks for what they do not share: each gets its own."""


class Inside:
    """The function of the script that is lowered now."""

    __slots__ = ("chain", "name", "open", "returns")

    def __init__(self, name: str, returns: t.Type | None, chain: tuple[str, ...], *, open: bool) -> None:
        """returns: None for void; chain: this function and those that call it, outermost first.

        open: the returned values tell more of the type: a string's length, a pointer's address space.
        """
        self.name = name
        self.returns = returns
        self.chain = chain
        self.open = open


class Body:
    """One program while it is lowered."""

    def __init__(self, script: Script, probes: list[Probe], name: str) -> None:
        """probes: all that run it, of one kind; name: tells its variables from those of others."""
        self.script = script
        self.probes = probes
        self.kind = probes[0].kind
        self.name = name
        self.scopes: list[dict[str, tuple[ir.Variable, tuple[str, int], bool]]] = [{}]
        self.closed: set[str] = set()  # names of variables whose block has ended
        self.declarations = 0
        self.loops = 0
        self.calls = 0  # of the script's functions
        self.inside: Inside | None = None
        self.statements: list[ir.Statement] = []  # where those go that an expression needs before it
        self.all_probes = probes  # of the program, when probes are those that one of its parts is for
        self.syscalls = ""  # of a program for many system calls: sys_enter or sys_exit
        self.arguments: t.Struct | None = None  # what ``args`` is, when the lowering has looked for it

        for hoisted in sorted(script.hoisted):
            if hoisted[0] == name:
                self.declare(hoisted[1], t.VOID, hoisted=True)

    def open_scope(self) -> None:
        """What is declared from here on is gone with ``close_scope``."""
        self.scopes.append({})

    def close_scope(self) -> None:
        """End the innermost scope."""
        self.closed.update(self.scopes.pop())

    def hoist(self, name: str) -> bool:
        """Whether a variable was declared in a block that has ended.

        Before v0.22 variables lived to the end of the probe, and scripts still rely on it: in the next pass it is one
        of the whole probe.
        """
        if name not in self.closed or self.inside is not None:
            return False
        self.script.hoisted.add((self.name, name))
        self.script.changed = True
        return True

    @property
    def is_begin(self) -> bool:
        """Whether no event of the system runs it, but linscope itself."""
        return self.kind in ("begin", "end", "self", "test", "bench")

    def declare(self, name: str, type: t.Type, *, fixed: bool = False, hoisted: bool = False) -> ir.Variable:
        """A new variable in the innermost scope.  fixed: its type was written, and does not widen."""
        key = (f"{self.name} ${name}", 0) if hoisted else (self.name, self.declarations)
        self.declarations += not hoisted
        known = self.script.variable_types.get(key)
        if known is None or fixed:
            known = type
        elif not isinstance(type, t.Void):
            known = join_types(known, type) or type
        self.script.variable_types[key] = known
        made = ir.Variable("$" + name, known)
        self.scopes[-1][name] = (made, key, fixed)
        return made

    def find(self, name: str) -> ir.Variable | None:
        """The variable of a name that is in scope."""
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name][0]
        return None

    def assigned(self, name: str, type: t.Type, span: Span, value: ir.Expression | None = None) -> ir.Variable:
        """The variable that a value of a type is assigned to; declared when there is none.  Raises Wrong.

        value: when it is a constant, a declared type takes what it can hold.
        """
        for scope in reversed(self.scopes):
            if name in scope:
                variable, key, fixed = scope[name]
                break
        else:
            return self.declare(name, type)
        if isinstance(variable.type, t.Void):  # let $x; takes the type of what comes first
            self.script.variable_types[key] = type
            self.script.changed = True
            return variable
        if fixed and isinstance(value, ir.Number) and isinstance(variable.type, t.Int) and isinstance(type, t.Int):
            _check_range(name, variable.type, value.value, span)
            return variable
        joined = join_types(variable.type, type)
        if joined is None or (fixed and not fits_declared(variable.type, joined)):
            raise Wrong(span, _mismatch(name, variable.type, type, fixed=fixed))
        if joined is not variable.type and joined != variable.type and not fixed:
            self.script.variable_types[key] = joined
            self.script.changed = True
        return variable

    def cut(self, name: str, value: ir.Expression) -> ir.Expression:
        """What ``+=`` or ``++`` makes of a variable, in the variable's type when that was written: as in C."""
        for scope in reversed(self.scopes):
            if name in scope:
                variable, _, fixed = scope[name]
                cut = fixed and isinstance(variable.type, t.Int) and isinstance(value.type, t.Int)
                return ir.Convert(variable.type, value) if cut and variable.type != value.type else value
        return value

    def temporary(self, type: t.Type) -> ir.Variable:
        """A variable without a name."""
        return ir.Variable("", type)


def _check_range(name: str, type: t.Int, value: int, span: Span) -> None:
    bits = 8 * type.size
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if type.signed else (0, (1 << bits) - 1)
    if not low <= value <= high:
        raise Wrong(
            span, f"Type mismatch for ${name}: trying to assign value '{value}' which does not fit into the variable "
            f"of type '{type_text(type)}'", f"a cast cuts it: ({type_text(type)}){value}",
        )  # fmt: skip


def _mismatch(name: str, have: t.Type, given: t.Type, *, fixed: bool) -> str:
    if fixed and isinstance(have, t.Int) and isinstance(given, t.Int) and have.signed == given.signed:
        return (
            f"Integer size mismatch. Assignment type '{type_text(given)}' is larger than the variable type "
            f"'{type_text(have)}'."
        )
    already = "when variable already has a type" if fixed else "when variable already contains a value of type"
    return (
        f"Type mismatch for ${name}: trying to assign value of type '{type_text(given)}' {already} '{type_text(have)}'"
    )


def fits_declared(declared: t.Type, joined: t.Type) -> bool:
    """Whether a place of a declared type holds values of the type that this and another one have in common."""
    if isinstance(declared, INTEGERS) and isinstance(joined, INTEGERS):
        return joined.size <= declared.size
    return declared == joined
