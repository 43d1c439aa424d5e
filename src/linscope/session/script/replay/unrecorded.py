"""What a recording cannot know, in the intermediate form: each value that may not have been recorded carries a flag.

Strings and buffers need none to be shown: where a read of them fails they read as ``<not recorded>``.  For all others,
with u a variable that the read sets when it fails:

    printf("%d", *p)      ->  tmp = load p (u); if (u) emit unrecorded(1); emit printf(tmp)
    if (*p > 1) { ... }   ->  tmp = load p (u) > 1; if (u) count; else if (tmp) { ... }
    @a[*p] = 1            ->  the key is of type Recorded: the number and u, and the number 0 where u is set
    @a = *p               ->  the value is of type Recorded
    @s = sum(*p)          ->  tmp = load p (u); if (u) count; else @s <- sum(tmp)
    $a = *p               ->  $a = load p (u); $a's own flag = u

See docs/decisions/0018-what-a-recording-cannot-know.md.
"""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.unit import FAMILY_ADDRESS

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    Flags = frozenset[object]  # ir.Variables; True: never recorded

NONE: Flags = frozenset()
ALWAYS: Flags = frozenset((True,))
_TEXTS = (t.String, t.Buffer)
# helpers of include/uapi/linux/bpf.h, enum bpf_func_id, whose answers recordings do not have
_TASK, _PID_TGID, _COMM, _CPU = 35, 14, 16, 8
_NEVER = {15: "user and group", 42: "memory node", 118: "jiffies", 125: "boot time", 208: "TAI", 46: "socket's cookie"}
_NEVER[_TASK] = "memory of the kernel"
_CGROUP = 80
_CAPTURED = (15, 35, 80)  # what programs that capture tell
_CURRENT = (_PID_TGID, _COMM, _CPU)  # nobody knows on which task an interval falls
_REGISTERS = (128, 136)  # offsets of ip and cs, which samples have
_SAMPLED = ("profile", "software", "hardware")
COUNTS = "@<not recorded>"  # the map of how often what was missing: reason -> count
_KEYED = (ir.MapGet, ir.MapHas, ir.MapDelete, ir.MapAdd, ir.Aggregated)


class Known:
    """What a recording has."""

    def __init__(
        self, *, process: bool, kernel_stacks: bool, user_stacks: bool, captures: bool = False,
        cpu: tuple[bool, bool] = (True, True),
    ) -> None:  # fmt: skip
        """process: the process beside the thread; captures: all that the script read live.

        cpu: whether tracepoints have it, and whether samples do.
        """
        self.process = process
        self.cpu = cpu
        self.kernel_stacks = kernel_stacks
        self.user_stacks = user_stacks
        self.captures = captures


class Marked:
    """The result.

    unit: with flags; reasons: what counts in the map COUNTS stand for; masks: for an event "unrecorded", the event that
    follows it and the places that its bits stand for: (value, element or None).
    """

    def __init__(self, unit: ir.Unit, marker: Marker) -> None:
        self.unit = unit
        self.counts = marker.counts
        self.reasons = marker.reasons
        self.masks = marker.masks


def mark(unit: ir.Unit, known: Known) -> Marked:
    """A unit whose programs tell what was not recorded."""
    marker = Marker(unit, known)
    while True:
        before = marker.learned()
        marker.begin()
        programs = [_with(program, body=marker.program(program)) for program in unit.programs]
        if marker.learned() == before:
            break
    for one in unit.maps:
        if one in marker.masked_keys and one not in marker.plain and one.key is not None:
            one.key = t.Recorded(one.key)
        if one in marker.masked_values and not marker.is_plain(one):
            one.value = t.Recorded(one.value)
    maps = [*unit.maps, marker.counts] if marker.reasons else unit.maps
    events = [*unit.events, *marker.masks]
    return Marked(ir.Unit(unit.text, unit.where, maps, events, programs, unit.settings, unit.warnings), marker)


def _with(node: Any, **fields: object) -> Any:
    """A copy with other fields."""
    made: Any = object.__new__(type(node))
    made.__dict__.update(node.__dict__, **fields)
    return made


def _number(value: int, type: t.Type = t.UINT64) -> ir.Number:
    return ir.Number(type, value)


def any_of(flags: Flags) -> ir.Expression:
    """A u64 that is not 0 when one of the flags is set."""
    if True in flags:
        return _number(1)
    found: ir.Expression | None = None
    for flag in sorted(flags, key=id):
        assert isinstance(flag, ir.Variable)
        get = ir.Get(t.UINT64, flag)
        found = get if found is None else ir.Binary(t.UINT64, "|", found, get)
    return found or _number(0)


def _bit(flags: Flags, place: int) -> ir.Expression:
    """1 << place when one of the flags is set."""
    value = any_of(flags)
    if not place:
        return value
    return ir.Binary(t.UINT64, "<<", value, _number(place))


def _joined(bits: Sequence[ir.Expression]) -> ir.Expression:
    found = bits[0]
    for one in bits[1:]:
        found = ir.Binary(t.UINT64, "|", found, one)
    return found


def _contains(node: object, kind: type, but: type | None = None) -> bool:
    """Whether there is a node of a kind, but for what is in one of another kind."""
    if isinstance(node, kind):
        return True
    if but is not None and isinstance(node, but):
        return False
    if isinstance(node, ir.Expression | ir.Statement):
        return any(_contains(value, kind, but) for value in node.__dict__.values())
    return isinstance(node, list | tuple) and any(_contains(one, kind, but) for one in node)


def _leaves(node: object) -> bool:
    """Whether statements end the function that they stand in."""
    return _contains(node, ir.Leave, ir.Inlined)


class Marker:
    """Rewrites programs; what it learns of variables and maps holds for the next pass."""

    def __init__(self, unit: ir.Unit, known: Known) -> None:
        self.unit = unit
        self.known = known
        self.counts = ir.Map(COUNTS, t.UINT32, t.INT64)
        self.flags_of: dict[ir.Variable, ir.Variable] = {}
        self.masked_keys: set[ir.Map] = set()
        self.masked_values: set[ir.Map] = set()
        self.plain: set[ir.Map] = set()  # maps whose keys and values must stay what they are
        self.plain_values: set[ir.Map] = set()  # maps whose values must
        self.reasons: list[str] = []
        self.masks: dict[ir.Event, tuple[ir.Event, list[tuple[int, int | None]]]] = {}
        self.kind = ""
        self.reset: list[ir.Variable] = []
        self.why = "memory"  # of what is never recorded
        self.why_of: dict[object, str] = {}  # of flags
        self.flags: dict[int, Flags] = {}  # of the parts of memory, by the identity of their expressions

    def learned(self) -> object:
        """What passes tell each other."""
        return tuple(map(len, (self.flags_of, self.masked_keys, self.masked_values, self.plain, self.plain_values)))

    def is_plain(self, map: ir.Map) -> bool:
        """Whether a map's values must stay what they are."""
        return map in self.plain or map in self.plain_values or map.kind.startswith("percpu")

    def begin(self) -> None:
        """A new pass."""
        self.reasons, self.masks = [], {}

    def program(self, program: ir.Program) -> list[ir.Statement]:
        """The statements of a program."""
        self.kind = program.probes[0].kind
        return self.statements(program.body)

    # -- statements

    def statements(self, nodes: Iterable[ir.Statement]) -> list[ir.Statement]:
        """Some statements, each with what its flags need in front."""
        found: list[ir.Statement] = []
        for node in nodes:
            outer, self.reset = self.reset, []
            made = self._statement(node)
            found += [ir.Set(flag, _number(0)) for flag in self.reset]
            found += made
            self.reset = outer
        return found

    def _statement(self, node: ir.Statement) -> list[ir.Statement]:
        writer = _STATEMENTS.get(type(node))
        if writer is not None:
            return writer(self, node)
        return [self._children(node)[0]]

    def _count(self, flags: Flags) -> ir.Statement:
        """Count a value that is missing."""
        why = next((self.why_of[flag] for flag in flags if flag in self.why_of), self.why)
        if why not in self.reasons:
            self.reasons.append(why)
        key = _number(self.reasons.index(why), t.UINT32)
        return ir.Evaluate(ir.MapAdd(t.INT64, self.counts, key, _number(1, t.INT64)))

    def _unless(self, flags: Flags, statements: list[ir.Statement]) -> list[ir.Statement]:
        """Statements that are for what was recorded; else it is counted, and a function that they may end is ended."""
        if not flags:
            return statements
        told = [self._count(flags), ir.Leave()] if _leaves(statements) else [self._count(flags)]
        return [ir.If(any_of(flags), told, statements)]

    def _kept(self, value: ir.Expression) -> tuple[ir.Statement, ir.Expression]:
        """(statement that evaluates a value, what it was)"""
        variable = ir.Variable("", value.type)
        return ir.Set(variable, value), ir.Get(value.type, variable)

    def _flag_of(self, variable: ir.Variable) -> ir.Variable:
        if variable not in self.flags_of:
            self.flags_of[variable] = ir.Variable(f"{variable.name} unrecorded", t.UINT64)
        return self.flags_of[variable]

    def set(self, node: ir.Set) -> list[ir.Statement]:
        """A variable gets the flags of its value."""
        value, flags = self.expression(node.value) if node.value is not None else (None, NONE)
        found: list[ir.Statement] = [_with(node, value=value)]
        if flags or node.variable in self.flags_of:
            flag = self._flag_of(node.variable)
            found.append(ir.Set(flag, any_of(flags)))
            if flags:
                self.why_of[flag] = next((self.why_of[one] for one in flags if one in self.why_of), self.why)
        return found

    def evaluate(self, node: ir.Evaluate) -> list[ir.Statement]:
        """An expression for what it does: a change of a map that is not known is not made."""
        change = node.expression
        if not isinstance(change, ir.MapAdd):
            return [_with(node, expression=self.expression(change)[0])]
        key, lost = self.key(change.map, change.key)
        self.plain_values.add(change.map)
        delta, flags = self.expression(change.delta)
        if not lost | flags:
            return [_with(node, expression=_with(change, key=key, delta=delta))]
        found: list[ir.Statement] = []
        if key is not None:
            first, key = self._kept(key)
            found.append(first)
        first, delta = self._kept(delta)
        changed = _with(node, expression=_with(change, key=key, delta=delta))
        return [*found, first, *self._unless(lost | flags, [changed])]

    def decide(self, node: ir.If) -> list[ir.Statement]:
        """When it is not known neither branch is run."""
        condition, flags = self.expression(node.condition)
        yes, no = self.statements(node.yes), self.statements(node.no)
        if not flags:
            return [_with(node, condition=condition, yes=yes, no=no)]
        first, got = self._kept(condition)
        return [first, *self._unless(flags, [_with(node, condition=got, yes=yes, no=no)])]

    def repeat(self, node: ir.While) -> list[ir.Statement]:
        """A loop ends where its condition is not known."""
        outer, self.reset = self.reset, []
        condition, flags = self.expression(node.condition)
        if flags:
            first, got = self._kept(condition)
            before: list[ir.Statement] = [ir.Set(flag, _number(0)) for flag in self.reset]
            goes_on = ir.Compare(t.BOOL, "==", any_of(flags), _number(0))
            condition = ir.Do(t.BOOL, [*before, first], ir.Logical(t.BOOL, "&&", got, goes_on))
        self.reset = outer
        ends: list[ir.Statement] = [ir.If(any_of(flags), [ir.Leave()], [])] if flags and _leaves(node.body) else []
        return [_with(node, condition=condition, body=self.statements(node.body)), *ends]

    def visit(self, node: ir.ForMap) -> list[ir.Statement]:
        """The loop has the bytes of the map, so they stay as they are."""
        self.plain.add(node.map)
        return [_with(node, body=self.statements(node.body))]

    def count_up(self, node: ir.ForRange) -> list[ir.Statement]:
        """A range that is not known is empty."""
        first, one = self.expression(node.first)
        last, other = self.expression(node.last)
        made = _with(node, first=first, last=last, body=self.statements(node.body))
        if not one | other:
            return [made]
        keep_first, made.__dict__["first"] = self._kept(first)
        keep_last, made.__dict__["last"] = self._kept(last)
        return [keep_first, keep_last, *self._unless(one | other, [made])]

    def assign(self, node: ir.MapSet) -> list[ir.Statement]:
        """A map's value is marked when it was not recorded."""
        key, lost = self.key(node.map, node.key)
        value, flags = self.expression(node.value)
        if isinstance(value.type, _TEXTS):
            flags = NONE
        maskable = not self.is_plain(node.map)
        if flags and maskable:
            self.masked_values.add(node.map)
        if node.map in self.masked_values and maskable:
            type = t.Recorded(node.map.value)
            first, got = self._kept(value)
            parts: list[tuple[int, ir.Expression]] = [(0, got), (type.mask_offset, any_of(flags))]
            keep_key: list[ir.Statement] = []
            if key is not None:
                kept, key = self._kept(key)
                keep_key = [kept]
            made: list[ir.Statement] = [_with(node, key=key, value=ir.Build(type, parts))]
            counted = [ir.If(any_of(flags), [self._count(flags)], [])] if flags else []
            return [*keep_key, first, *counted, *self._unless(lost, made)]
        return self._with_kept(node, key, value, flags | lost)

    def _with_kept(
        self, node: Any, key: ir.Expression | None, value: ir.Expression | None, flags: Flags
    ) -> list[ir.Statement]:
        """A statement with key and value, when they were recorded."""
        if not flags:
            return [_with(node, key=key, value=value)]
        found: list[ir.Statement] = []
        if key is not None:
            first, key = self._kept(key)
            found.append(first)
        if value is not None:
            first, value = self._kept(value)
            found.append(first)
        return [*found, *self._unless(flags, [_with(node, key=key, value=value)])]

    def aggregate(self, node: ir.Aggregate) -> list[ir.Statement]:
        """What is not known is not added."""
        key, lost = self.key(node.map, node.key)
        value, flags = self.expression(node.value) if node.value is not None else (None, NONE)
        times, others = self.expression(node.times) if node.times is not None else (None, NONE)
        return self._with_kept(_with(node, times=times), key, value, lost | flags | others)

    def emit(self, node: ir.Emit) -> list[ir.Statement]:
        """In front of an event goes one that tells which of its values are not known."""
        found: list[ir.Statement] = []
        values: list[ir.Expression] = []
        bits: list[ir.Expression] = []
        places: list[tuple[int, int | None]] = []
        texts, missed = NONE, NONE
        for place, value in enumerate(node.values):
            made, flags = self.expression(value)
            parts = self._parts(value, flags)
            if isinstance(value.type, _TEXTS):
                texts |= flags
            elif flags:
                first, made = self._kept(made)
                found.append(first)
                for element, missing in parts:
                    missed |= missing
                    bits.append(_bit(missing, len(places)))
                    places.append((place, element))
            values.append(made)
        emitted = _with(node, values=values)
        if bits:
            unrecorded = ir.Event("unrecorded", (t.UINT64,), b"", None, node.event.span)
            self.masks[unrecorded] = (node.event, places)
            mask = ir.Variable("", t.UINT64)
            told: list[ir.Statement] = [self._count(missed), ir.Emit(unrecorded, [ir.Get(t.UINT64, mask)])]
            found += [ir.Set(mask, _joined(bits)), ir.If(ir.Get(t.UINT64, mask), told, [])]
        found.append(emitted)
        if texts:
            found.append(ir.If(any_of(texts), [self._count(texts)], []))
        return found

    def join(self, node: ir.EmitJoin) -> list[ir.Statement]:
        """An array that was not recorded is one word that says so."""
        address, flags = self.expression(node.address)
        first, got = self._kept(address)
        failed = self._new_flag("memory of the process")
        look, _ = self._kept(ir.Load(t.UINT64, got, node.space, failed))
        missing = ir.Event("printf", (), b"<not recorded>\n", None, node.event.span)
        self.masks[missing] = (missing, [])
        otherwise: list[ir.Statement] = [self._count(flags | {failed}), ir.Emit(missing, [])]
        return [first, look, ir.If(any_of(flags | {failed}), otherwise, [_with(node, address=got)])]

    # -- expressions

    def expression(self, node: ir.Expression) -> tuple[ir.Expression, Flags]:
        """(expression, its flags, which hold once it was evaluated)"""
        reader = _EXPRESSIONS.get(type(node))
        if reader is not None:
            return reader(self, node)
        if isinstance(node, _KEYED):
            return self._keyed(node)
        return self._children(node)

    def _children(self, node: Any) -> tuple[Any, Flags]:
        """A node whose parts are rewritten; the flags of all of them."""
        flags: Flags = NONE
        changed: dict[str, object] = {}
        for name, value in node.__dict__.items():
            if isinstance(value, ir.Expression):
                changed[name], some = self.expression(value)
                flags |= some
            elif isinstance(value, list):
                made: list[object] = []
                for one in value:
                    if isinstance(one, ir.Expression):
                        inner, some = self.expression(one)
                        flags |= some
                        made.append(inner)
                    elif isinstance(one, ir.Statement):
                        made += self.statements([one])
                    elif isinstance(one, tuple):  # of Build
                        inner, some = self.expression(one[1])
                        flags |= some
                        made.append((one[0], inner))
                    else:
                        made.append(one)
                changed[name] = made
        return (_with(node, **changed) if changed else node), flags

    def _parts(self, value: ir.Expression, flags: Flags) -> list[tuple[int | None, Flags]]:
        """The flags of a tuple's elements, where they can be told apart; strings have none."""
        if isinstance(value, ir.Build) and isinstance(value.type, t.Tuple) and len(value.type.elements) < 32:
            offsets = value.type.offsets
            found: list[tuple[int | None, Flags]] = []
            if [at for at, _ in value.parts] == offsets:
                for number, (_, part) in enumerate(value.parts):
                    missing = NONE if isinstance(part.type, _TEXTS) else self.flags.get(id(part), NONE)
                    if missing:
                        found.append((number, missing))
                return found
        return [(None, flags)] if flags else []

    def build(self, node: ir.Build) -> tuple[ir.Expression, Flags]:
        """Memory made of parts; what flags each has is kept."""
        flags: Flags = NONE
        parts = []
        for offset, part in node.parts:
            made, some = self.expression(part)
            self.flags[id(part)] = some
            flags |= some
            parts.append((offset, made))
        return _with(node, parts=parts), flags

    def _new_flag(self, why: str) -> ir.Variable:
        flag = ir.Variable("", t.UINT64)
        self.why_of[flag] = why
        self.reset.append(flag)
        return flag

    def read(self, node: Any) -> tuple[ir.Expression, Flags]:
        """Memory at an address: a flag of its own, but of the record itself, which is there."""
        made, flags = self._children(node)
        if _contains(node.address, ir.Context):
            return made, flags
        of_family = "parents" if _contains(node.address, ir.Family) else "memory of the kernel"
        failed = self._new_flag("memory of the process" if node.space == t.USER else of_family)
        return _with(made, failed=failed), (flags - ALWAYS) | {failed}

    def get(self, node: ir.Get) -> tuple[ir.Expression, Flags]:
        """A variable."""
        flag = self.flags_of.get(node.variable)
        return node, NONE if flag is None else frozenset((flag,))

    def _missing(self, node: ir.Expression, why: str) -> tuple[ir.Expression, Flags]:
        self.why = why
        if node.type.is_scalar:
            return _with_span(_number(0, node.type), node), ALWAYS
        if isinstance(node.type, t.String):
            return ir.Bytes(node.type, b"<not recorded>"[: node.type.size - 1]), ALWAYS
        return ir.NotRecorded(node.type, why), ALWAYS

    def helper(self, node: Any) -> tuple[ir.Expression, Flags]:
        """What the kernel is asked for."""
        number = node.number
        if self.known.captures and number in (*_CAPTURED, *_CURRENT):
            return self._children(node)
        if number in _NEVER:
            return self._missing(node, _NEVER[number])
        if number == _CGROUP:
            return self._missing(node, "cgroup")
        if number == _CPU and not self.known.cpu[self.kind in _SAMPLED]:
            return self._missing(node, "CPU")
        if number in _CURRENT and self.kind == "interval":
            return self._missing(node, "what ran when an interval was over")
        return self._children(node)

    def binary(self, node: ir.Binary) -> tuple[ir.Expression, Flags]:
        """The process is the upper half of what a helper gives; not all recordings have it."""
        left = node.left
        if not self.known.process and node.sign == ">>" and isinstance(left, ir.Helper) and left.number == _PID_TGID:
            return self._missing(node, "process")
        return self._children(node)

    def never(self, node: ir.Expression) -> tuple[ir.Expression, Flags]:
        """What only the kernel knows."""
        return self._missing(node, "memory of the kernel")

    def context(self, node: ir.FromContext) -> tuple[ir.Expression, Flags]:
        """Registers of samples."""
        if self.kind in (*_SAMPLED, "interval") and (node.offset not in _REGISTERS or self.kind == "interval"):
            return self._missing(node, "registers")
        return node, NONE

    def stack(self, node: Any) -> tuple[ir.Expression, Flags]:
        """Stacks, which not all recordings have."""
        type: Any = node.type if isinstance(node, ir.StackTrace) else node.stack.type
        kind = type.kind
        there = self.known.user_stacks if kind == t.USER else self.known.kernel_stacks
        return (node, NONE) if there else self._missing(node, "stacks")

    def do(self, node: ir.Do) -> tuple[ir.Expression, Flags]:
        """Statements, then a value."""
        statements = self.statements(node.statements)
        value, flags = self.expression(node.value)
        return _with(node, statements=statements, value=value), flags

    # -- maps

    def key(self, map: ir.Map, key: ir.Expression | None) -> tuple[ir.Expression | None, Flags]:
        """(key, flags of what cannot be told in it)"""
        if key is None or map.key is None:
            return key, NONE
        made, flags = self.expression(key)
        if isinstance(key.type, _TEXTS):
            return made, NONE
        parts = self._parts(key, flags)
        if parts and map not in self.plain:
            self.masked_keys.add(map)
        if map in self.plain:
            return made, flags if parts else NONE
        if map not in self.masked_keys:
            return made, NONE
        return self._masked(map.key, key, made, parts), NONE

    def _masked(
        self, type: t.Type, key: ir.Expression, made: ir.Expression, parts: list[tuple[int | None, Flags]]
    ) -> ir.Expression:
        """A key with the bits of what is missing, which is 0 in it."""
        whole = t.Recorded(type)
        if not parts:
            return ir.Build(whole, [(0, made), (whole.mask_offset, _number(0))])
        missing = dict(parts)
        bits = [_bit(flags, number or 0) for number, flags in parts]
        if None in missing:
            first, got = self._kept(made)
            if made.type.is_scalar:
                got = ir.Choice(made.type, any_of(missing[None]), _number(0, made.type), got)
            return ir.Do(whole, [first], ir.Build(whole, [(0, got), (whole.mask_offset, bits[0])]))
        assert isinstance(made, ir.Build)
        before: list[ir.Statement] = []
        elements: list[tuple[int, ir.Expression]] = []
        for number, (offset, part) in enumerate(made.parts):
            first, got = self._kept(part)
            before.append(first)
            if number in missing and part.type.is_scalar:
                got = ir.Choice(part.type, any_of(missing[number]), _number(0, part.type), got)
            elements.append((offset, got))
        inner = _with(made, parts=elements)
        return ir.Do(whole, before, ir.Build(whole, [(0, inner), (whole.mask_offset, _joined(bits))]))

    def _keyed(self, node: Any) -> tuple[ir.Expression, Flags]:
        """What is asked of a map by a key."""
        key, flags = self.key(node.map, node.key)
        if isinstance(node, ir.MapAdd):
            self.plain_values.add(node.map)
            delta, some = self.expression(node.delta)
            return _with(node, key=key, delta=delta), flags | some
        if isinstance(node, ir.MapHas) and node.into is not None:
            self.plain_values.add(node.map)
        if isinstance(node, ir.MapGet) and node.map in self.masked_values and not self.is_plain(node.map):
            type = t.Recorded(node.map.value)
            whole = ir.Variable("", type)
            flag = self._new_flag("a value of a map")
            read = ir.Set(whole, ir.MapGet(type, node.map, key))
            is_missing = ir.Set(flag, ir.Part(t.UINT64, ir.Get(type, whole), type.mask_offset))
            value = ir.Part(node.type, ir.Get(type, whole), 0)
            return ir.Do(node.type, [read, is_missing], value), flags | {flag}
        return _with(node, key=key), flags


def _with_span(made: Any, node: ir.Expression) -> Any:
    made.__dict__["span"] = node.span
    return made


_STATEMENTS: dict[type, Callable[[Marker, Any], list[ir.Statement]]] = {
    ir.Set: Marker.set, ir.Evaluate: Marker.evaluate, ir.If: Marker.decide, ir.While: Marker.repeat,
    ir.ForMap: Marker.visit, ir.ForRange: Marker.count_up, ir.MapSet: Marker.assign, ir.Aggregate: Marker.aggregate,
    ir.Emit: Marker.emit, ir.EmitJoin: Marker.join,
}  # fmt: skip
_EXPRESSIONS: dict[type, Callable[[Marker, Any], tuple[ir.Expression, Flags]]] = {
    ir.Load: Marker.read, ir.LoadString: Marker.read, ir.LoadBuffer: Marker.read, ir.Get: Marker.get,
    ir.Helper: Marker.helper, ir.Fill: Marker.helper, ir.Binary: Marker.binary, ir.KernelFunction: Marker.never,
    ir.PerCpuAddress: Marker.never, ir.NotRecorded: Marker.never, ir.FromContext: Marker.context,
    ir.Family: lambda _, node: (_number(FAMILY_ADDRESS), NONE),
    ir.StackTrace: Marker.stack, ir.StackLength: Marker.stack, ir.Do: Marker.do, ir.Build: Marker.build,
}  # fmt: skip
