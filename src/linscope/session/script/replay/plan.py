"""A script for a recording: what it is compiled against, and one program that runs for all of its probes."""

from __future__ import annotations

import os

from linscope.lang import ir
from linscope.lang.bpftrace.compiler import compile
from linscope.lang.probe import Probe
from linscope.lang.probes.recorded import RecordedEvents, sampled_by
from linscope.session.script.replay.unrecorded import Known, Marked, mark

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.lang.bpftrace.options import Options
    from linscope.session.script.replay.contents import Contents, Origin

_COMM, STACKS = 16, "stacks"
_SAMPLED = ("profile", "software", "hardware")


class Plan:
    """The compiled script.

    unit: with one program, which is told by the attach cookie what to run; runs: of each recorded event, the numbers of
    what its records run, in the script's order; begin, end: the numbers of those; intervals: (period in ns, number).
    """

    def __init__(self, marked: Marked, contents: Contents, recorded: RecordedEvents) -> None:
        """marked: a unit as the compiler makes it, with flags; its programs are put together here."""
        unit = marked.unit
        self.marked = marked
        self.begin: list[int] = []
        self.end: list[int] = []
        self.intervals: list[tuple[int, int]] = []
        self.runs: list[list[int]] = [[] for _ in contents.events]
        self.programs = unit.programs
        self.probe_count = sum(len(program.probes) for program in unit.programs)
        self.calls: dict[int, dict[int, list[int]]] = {}  # recorded event -> number of a system call -> what runs
        self.needs_samples = self.needs_families = False
        dispatch: dict[int, list[ir.Statement]] = {}
        for number, program in enumerate(unit.programs, 1):
            dispatch[number] = program.body
            for probe in program.probes:
                self._place(probe, number, contents, recorded)
        probes = [Probe("tracepoint", "replay", target="replay")]
        merged = ir.Program("replay", probes, [], dispatch)
        self.unit = ir.Unit(unit.text, unit.where, unit.maps, unit.events, [merged], unit.settings, unit.warnings)
        self.needs_comm = _calls(merged, _COMM)
        self.needs_stacks = any(isinstance(node, ir.StackTrace | ir.StackLength) for node in _walk(dispatch))

    def _place(self, probe: Probe, number: int, contents: Contents, recorded: RecordedEvents) -> None:
        if probe.kind == "begin":
            self.begin.append(number)
        elif probe.kind == "end":
            self.end.append(number)
        elif contents.session and probe.kind in ("interval", *_SAMPLED):
            self.needs_samples = self.needs_samples or probe.kind != "interval"
            for place, name in enumerate(contents.events):
                if name == f"{probe.name}#{number}":  # it was recorded for this program
                    self.runs[place].append(number)
        elif probe.kind == "interval":
            self.intervals.append((probe.count, number))
        elif probe.kind in _SAMPLED:
            self.needs_samples = True
            for place, name in enumerate(contents.events):
                if not contents.is_tracepoint[place] and sampled_by(probe, name):
                    self.runs[place].append(number)
        elif probe.kind == "tracepoint":
            self._place_tracepoint(probe, number, contents, recorded)

    def _place_tracepoint(self, probe: Probe, number: int, contents: Contents, recorded: RecordedEvents) -> None:
        name = f"{probe.module}:{probe.target}"
        raw = recorded.raw_syscalls(probe.target) if probe.module == "syscalls" else ""
        for place, event in enumerate(contents.events):
            if not contents.is_tracepoint[place]:
                continue
            if event == name:
                self.runs[place].append(number)
            elif raw and event == raw:
                from linscope.lang.definitions import Definitions

                call = Definitions([]).syscall_number(probe.target)
                if call is not None:
                    self.calls.setdefault(place, {}).setdefault(call, []).append(number)

    @property
    def wanted(self) -> list[bool]:
        """Of each recorded event, whether its records are looked at."""
        return [bool(runs) or place in self.calls for place, runs in enumerate(self.runs)]


def recorded_events(contents: Contents) -> RecordedEvents:
    """What a recording gives to the compiler."""
    pairs = list(zip(contents.events, contents.is_tracepoint, strict=True))
    return RecordedEvents(
        [name for name, is_tracepoint in pairs if is_tracepoint],
        [name for name, is_tracepoint in pairs if not is_tracepoint],
        contents.read_format, same_kernel=contents.same_kernel,
        captures=bool(contents.session), same_calls=_same_calls(contents.origin),
    )  # fmt: skip


def _same_calls(origin: Origin) -> bool:
    return origin.machine in ("", os.uname().machine) and origin.long_size == 8 and not origin.big_endian


def compile_for(contents: Contents, text: str, where: str, options: Options) -> Plan:
    """Compile a script for a recording; options: of the command line.  Raises SourceError."""
    recorded = recorded_events(contents)
    options.recorded, options.replay = recorded, True
    unit = compile(text, where=where, options=options)
    known = Known(
        process=contents.has_process, kernel_stacks=contents.kernel_stacks, user_stacks=contents.user_stacks,
        captures=bool(contents.session), cpu=contents.has_cpu,
    )  # fmt: skip
    needs_families = uses(unit, (ir.Family,))
    plan = Plan(mark(unit, known), contents, recorded)
    plan.needs_families = needs_families
    return plan


def _walk(node: object) -> Iterator[object]:
    """All nodes of programs."""
    if isinstance(node, ir.Expression | ir.Statement):
        yield node
        for value in node.__dict__.values():
            if isinstance(value, ir.Expression | ir.Statement | list | tuple):
                yield from _walk(value)
    elif isinstance(node, list | tuple):
        for one in node:
            yield from _walk(one)
    elif isinstance(node, dict):
        for one in node.values():
            yield from _walk(one)


def uses(unit: ir.Unit, kinds: tuple[type, ...]) -> bool:
    """Whether the programs of a unit have such nodes."""
    return any(isinstance(node, kinds) for program in unit.programs for node in _walk(program.body))


def _calls(program: ir.Program, helper: int) -> bool:
    return any(isinstance(n, ir.Helper | ir.Fill) and n.number == helper for n in _walk(program.dispatch))
