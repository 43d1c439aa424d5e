"""The intermediate form -> eBPF programs and their maps.

``generate(unit)`` gives maps that all programs share and one program for each of the unit's.  Programs are for the
kernel and for the user-space machine alike.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.program import Map, Program
from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.built import ENDED, EVENTS, EXITING, LOST, STOP, UNSTOPPED, Built
from linscope.lang.codegen.analysis import Analysis
from linscope.lang.codegen.assembler import R0, R1, R2, R6, R7, R9, R10, Assembler, Label, TooLarge
from linscope.lang.codegen.function import MOST_DEPTH, RESULT, RETURNING, SAVED_CONTEXT, SAVED_SCRATCH, Function
from linscope.lang.probe import TYPED
from linscope.lang.types import round_up
from linscope.lang.unit import BUCKETED, bucket_count, bucket_offset

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence

    from linscope.lang.bpftrace.syntax import Span
    from linscope.lang.probe import Probe

CONSTANTS, ZEROS = "constants", "zeros"
_RING_BYTES = 1 << 23
_SHARING = 3  # programs that may have taken a CPU from each other
_STACKS = 1 << 14  # stacks of one kind that are told apart
_REGISTER_PROBES = ("kprobe", "kretprobe", "uprobe", "uretprobe", "usdt")
_CLOCKS = ("profile", "interval", "software", "hardware", "watchpoint")
_KINDS = {"lruhash": b.BPF_MAP_TYPE_LRU_HASH, "percpuhash": b.BPF_MAP_TYPE_PERCPU_HASH, "hash": b.BPF_MAP_TYPE_HASH,
          "percpulruhash": b.BPF_MAP_TYPE_LRU_PERCPU_HASH}  # fmt: skip
_SMP_PROCESSOR_ID, _LOOKUP = 8, 1


class Options:
    """What the code depends on beside the script."""

    def __init__(
        self,
        *,
        cpus: int = 0,
        ring_bytes: int = _RING_BYTES,
        helper_errors: bool = False,
        stacks: int = _STACKS,
        wakeup_bytes: int = 0,
        replay: bool = False,
        captures: bool = False,
    ) -> None:
        """cpus: that per-CPU values are kept for (0: this machine's); helper_errors: failed reads are told too.

        ring_bytes: of the ring buffer, a power of two of pages; stacks: how many of one kind are told apart.
        wakeup_bytes: the reader is woken when so much waits (it must look by itself now and then); 0: as the kernel
        does, whenever the reader has read all.  Of what there is little (exit, a printed map) it is woken at once.
        replay: for the user-space machine, on one CPU: STOP is set whenever the reader is to be woken, and a record
        that comes while it is gives 1 and does nothing; the dispatching program is chosen by the attach cookie.
        captures: programs give 1, so that the kernel writes the event to the buffers of those who record it.
        """
        if not cpus:
            from linscope.bpf.kernel.maps import possible_cpus

            cpus = possible_cpus()
        self.cpus = cpus
        self.ring_bytes = ring_bytes
        self.helper_errors = helper_errors
        self.stacks = stacks
        self.wakeup_bytes = wakeup_bytes
        self.replay = replay
        self.captures = captures


class Generator:
    """What the programs of a unit share."""

    def __init__(self, unit: ir.Unit, options: Options) -> None:
        self.unit = unit
        self.options = options
        self.on_stack_limit = int(unit.settings.get("on_stack_limit", 32))
        self.maps: list[Map] = []
        self.places: dict[object, int] = {}
        self.constants = bytearray()
        self.constant_places: dict[bytes, int] = {}
        self.stops = any(program.probes[0].kind not in UNSTOPPED for program in unit.programs)
        self.events: dict[ir.Event, int] = {event: number for number, event in enumerate(unit.events)}
        self.errors: dict[tuple[str, Span], ir.Event] = {}

    def add_map(self, key: object, made: Map) -> int:
        """The place of a map, which is added once."""
        self.maps.append(made)
        self.places[key] = len(self.maps) - 1
        return len(self.maps) - 1

    def map_place(self, script_map: ir.Map) -> int:
        """The place of one of the script's maps."""
        place = self.places.get(script_map)
        return place if place is not None else self.add_map(script_map, describe_map(script_map, self.unit))

    def events_map(self) -> int:
        """The ring buffer."""
        place = self.places.get(EVENTS)
        if place is None:
            place = self.add_map(EVENTS, Map(EVENTS, b.BPF_MAP_TYPE_RINGBUF, 0, 0, self.options.ring_bytes))
        return place

    def lost_map(self) -> int:
        """Events for which the ring buffer had no room: one u64 for each CPU."""
        place = self.places.get(LOST)
        if place is None:
            place = self.add_map(LOST, Map(LOST, b.BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 1))
        return place

    def stop_map(self) -> int:
        """A u64: EXITING, from which on clocks do nothing more, or ENDED, for all."""
        place = self.places.get(STOP)
        if place is None:
            place = self.add_map(STOP, Map(STOP, b.BPF_MAP_TYPE_ARRAY, 4, 8, 1))
        return place

    def stacks_map(self, depth: int, build_id: bool, second: bool) -> int:
        """Where stacks are kept by number; the second takes those whose place in the first is taken."""
        key = ("stacks", depth, build_id, second)
        place = self.places.get(key)
        if place is None:
            name = f"stk{'b' if build_id else ''}_{depth}_{2 if second else 1}"
            size = (32 if build_id else 8) * depth
            flags = b.BPF_F_STACK_BUILD_ID if build_id else 0
            entries = max(self.options.stacks // (4 if second else 1), 64) + (1 if second else 0)
            place = self.add_map(key, Map(name, b.BPF_MAP_TYPE_STACK_TRACE, 4, size, entries, flags=flags))
        return place

    def constants_map(self) -> int:
        """Constant bytes."""
        place = self.places.get(CONSTANTS)
        if place is None:
            place = self.add_map(CONSTANTS, Map(CONSTANTS, b.BPF_MAP_TYPE_ARRAY, 4, 0, 1, flags=b.BPF_F_RDONLY_PROG))
        return place

    def constant(self, data: bytes) -> int:
        """Offset of some bytes among the constants."""
        found = self.constant_places.get(data)
        if found is None:
            self.constants_map()
            self.constants += bytes(-len(self.constants) % 8)
            found = self.constant_places[data] = len(self.constants)
            self.constants += data
        return found

    def zeros(self, size: int) -> int:
        """The place of a map whose value is so many zeros or more."""
        place = self.places.get(ZEROS)
        if place is None:
            place = self.add_map(ZEROS, Map(ZEROS, b.BPF_MAP_TYPE_ARRAY, 4, 0, 1, flags=b.BPF_F_RDONLY_PROG))
        made = self.maps[place]
        made.value_size = max(made.value_size, round_up(size, 8))
        return place

    def number_of(self, event: ir.Event) -> int:
        """The number of an event."""
        number = self.events.get(event)
        if number is None:
            number = self.events[event] = len(self.unit.events)
            self.unit.events.append(event)
        return number

    def helper_error(self, name: str, span: Span) -> ir.Event:
        """The event that tells that a helper failed at a place."""
        key = (name, span)
        if key not in self.errors:
            self.errors[key] = ir.Event("helper_error", (t.INT32,), name.encode(), None, span)
        return self.errors[key]

    def program(self, source: ir.Program, number: int) -> Program:
        """One program.  Raises SourceError: the kernel allows no such one."""
        try:
            return self._program(source, number)
        except TooLarge as limit:
            what, span = str(limit), limit.span
        except RecursionError:
            what, span = "too much is nested here", (0, 0)
        if span == (0, 0) and source.body:
            span = source.body[0].span
        from linscope.errors import SourceError
        from linscope.lang.bpftrace.problems import diagnostic_at

        raise SourceError([diagnostic_at(self.unit.text, span, what)], where=self.unit.where)

    def _program(self, source: ir.Program, number: int) -> Program:
        known = Analysis(source)
        if known.depth > MOST_DEPTH:
            what = f"{known.depth} loops inside of each other; the kernel allows {MOST_DEPTH}"
            raise TooLarge(what, source.body[0].span if source.body else (0, 0))
        main = self._write(source, number, known, early=True) or self._write(source, number, known, early=False)
        assert main is not None
        return link(self, main.code, source)

    def _write(self, source: ir.Program, number: int, known: Analysis, *, early: bool) -> Function | None:
        """The main function.  early: what decides whether anything is to be done comes before the search for scratch
        memory; None: it needs that memory.
        """
        from linscope.lang.codegen.memory import clear
        from linscope.lang.codegen.statements import Dispatch, decide, statements

        kind = source.probes[0].kind
        typed = source.probes[0].arguments == TYPED
        main = Function(self, source.name, depth=known.depth, kind=kind, typed=typed)
        main.declare(known.variables, known.changing)
        head = main.code
        self._begin(main, number, kind)
        done = Label()
        body: Sequence[ir.Statement] = source.body
        dispatch = Dispatch(main, source) if source.dispatch is not None else None
        if dispatch is not None:
            dispatch.decide(done)
        elif early:
            body = decide(main, body, done)
            if head.callbacks or any(R7 in (one.dst, one.src) for one in head.slots):
                return None
        main.code = Assembler(source.name)
        for variable in known.variables:
            if variable in known.unset:
                clear(main, main.variables[variable], round_up(max(variable.type.size, 8), 8))
        if dispatch is None:
            statements(main, body)
        else:
            dispatch.bodies()
        main.code.constant(R0, int(main.passes_on))
        if main.shares_cpu:
            main.code.place(main.end)
            if main.scratch_needed:
                main.code.store_constant(R7, -main.scratch_size[0] - 8, 0, 8)
        main.code.exit()
        main.code.prepend(self._prologue(main, number))
        main.code.prepend(head)
        if done.uses:
            main.code.place(done)
            main.code.constant(R0, int(main.passes_on))
            main.code.exit()
        return main

    def _begin(self, main: Function, number: int, kind: str) -> None:
        """Keep the context; end when the script has ended."""
        code = main.code
        code.move(R6, R1)
        if self.stops and kind not in UNSTOPPED:
            on = Label()
            code.map_value(R2, self.stop_map(), 0)
            code.load(R2, R2, 0, 8)
            at_once = kind in _CLOCKS or self.options.replay
            code.branch_constant("<", R2, EXITING if at_once else ENDED, on)
            if self.options.captures:
                from linscope.lang.codegen.capture import tell_stopped

                tell_stopped(main, number + 1)
            code.constant(R0, int(self.options.replay or main.passes_on))
            code.exit()
            code.place(on)

    def _prologue(self, main: Function, number: int) -> Assembler:
        """Keep what callbacks need, and find this CPU's scratch memory."""
        code = Assembler("")
        callbacks = bool(main.code.callbacks)
        if callbacks:
            code.store(R10, SAVED_CONTEXT, R6, 8)
            code.store_constant(R10, RETURNING, 0, 8)
            code.store_constant(R10, RESULT, 0, 8)
        if main.scratch_needed:
            self._find_scratch(code, main, f"scratch_{number}")
            if callbacks:
                code.store(R10, SAVED_SCRATCH, R7, 8)
        return code

    def _find_scratch(self, code: Assembler, main: Function, name: str) -> None:
        """r7 = this CPU's scratch memory: what is small lies below it, what is large above it.

        Of programs that share a CPU it begins with a word that is 1 while one has it; the next takes another, and when
        all are taken it ends and is counted as an event that is lost.
        """
        shared = _SHARING if main.shares_cpu else 1
        below = main.scratch_size[0] + (8 if main.shares_cpu else 0)
        room = max(below + main.scratch_size[1], 8)
        place = self.add_map(name, Map(name, b.BPF_MAP_TYPE_ARRAY, 4, room, self.options.cpus * shared))
        found, none = Label(), Label()
        if self.options.replay:
            code.constant(R0, 0)
        else:
            code.call(_SMP_PROCESSOR_ID)
        if shared > 1:
            code.alu_constant("*", R0, shared)
        code.store(R10, SAVED_SCRATCH, R0, 4)
        for turn in range(shared):
            if turn:
                code.load(R0, R10, SAVED_SCRATCH, 4)
                code.alu_constant("+", R0, 1)
                code.store(R10, SAVED_SCRATCH, R0, 4)
            code.move(R2, R10)
            code.alu_constant("+", R2, SAVED_SCRATCH)
            code.map(R1, place)
            code.call(_LOOKUP)
            code.branch_constant("==", R0, 0, none)
            code.move(R7, R0)
            if shared == 1:
                code.jump(found)
                break
            code.constant(R1, 1)
            code.exchange(R7, 0, R1)
            code.branch_constant("==", R1, 0, found)
        if shared > 1:
            count_lost(self, code, SAVED_SCRATCH)
        code.place(none)
        code.constant(R0, 0)
        code.exit()
        code.place(found)
        if below:
            code.alu_constant("+", R7, below)


def count_lost(generator: Generator, code: Assembler, room: int) -> None:
    """One more event is lost on this CPU.  room: eight bytes of the stack, by their distance from r10."""
    written = Label()
    code.store_constant(R10, room, 0, 4)
    code.move(R2, R10)
    code.alu_constant("+", R2, room)
    code.map(R1, generator.lost_map())
    code.call(_LOOKUP)
    code.branch_constant("==", R0, 0, written)
    code.load(R1, R0, 0, 8)
    code.alu_constant("+", R1, 1)
    code.store(R0, 0, R1, 8)
    code.place(written)


def enter_callback(function: Function, argument: int) -> None:
    """Put the beginning of a callback in front of it: the main function's frame is in a register."""
    code = Assembler("")
    code.move(R9, argument)
    code.load(R6, R9, SAVED_CONTEXT, 8)
    if function.main.scratch_needed:
        code.load(R7, R9, SAVED_SCRATCH, 8)
    function.code.prepend(code)


def describe_map(script_map: ir.Map, unit: ir.Unit) -> Map:
    """What a map of the script is in the kernel."""
    name = script_map.name.removeprefix("@") or "anonymous"
    name = f"AT_{name}"[: b.BPF_OBJ_NAME_LEN - 1]
    value = script_map.value
    per_cpu = isinstance(value, t.Aggregation)
    if isinstance(value, BUCKETED):
        size = 24 if isinstance(value, t.TimeSeries) else 8
        if script_map.key is None:
            return Map(name, b.BPF_MAP_TYPE_PERCPU_ARRAY, 4, size, bucket_count(value))
        key = bucket_offset(script_map.key) + 4
        return Map(name, _hash_kind(script_map, per_cpu), key, size, max(script_map.entries, 1))
    if script_map.key is None:
        kind = b.BPF_MAP_TYPE_PERCPU_ARRAY if per_cpu else b.BPF_MAP_TYPE_ARRAY
        return Map(name, kind, 4, max(value.size, 1), 1)
    return Map(
        name, _hash_kind(script_map, per_cpu), max(script_map.key.size, 1), max(value.size, 1), script_map.entries
    )


def _hash_kind(script_map: ir.Map, per_cpu: bool) -> int:
    kind = script_map.kind
    if per_cpu and not kind.startswith("percpu"):
        kind = f"percpu{kind}"
    return _KINDS[kind]


def program_type(probe: Probe, source: ir.Program) -> tuple[int, int, str]:
    """(BPF_PROG_TYPE_*, attach type, target) for the probes of a program."""
    kind = probe.kind
    if kind in _REGISTER_PROBES:
        return b.BPF_PROG_TYPE_KPROBE, 0, ""
    if kind in _CLOCKS:
        return b.BPF_PROG_TYPE_PERF_EVENT, 0, ""
    if kind == "tracepoint" and source.dispatch is None:
        return b.BPF_PROG_TYPE_TRACEPOINT, 0, ""
    if kind in ("fentry", "fexit"):
        attach = b.BPF_TRACE_FENTRY if kind == "fentry" else b.BPF_TRACE_FEXIT
        return b.BPF_PROG_TYPE_TRACING, attach, f"{probe.module}:{probe.target}" if probe.module else probe.target
    if probe.arguments == TYPED:
        return b.BPF_PROG_TYPE_TRACING, b.BPF_TRACE_RAW_TP, probe.target
    if kind == "iter":
        return b.BPF_PROG_TYPE_TRACING, b.BPF_TRACE_ITER, probe.target
    return b.BPF_PROG_TYPE_RAW_TRACEPOINT, 0, ""


def link(generator: Generator, main: Assembler, source: ir.Program) -> Program:
    """The functions of a program behind one another, with the distances between them filled in."""
    from linscope.lang.codegen.linking import join_functions

    kind, attach_type, target = program_type(source.probes[0], source)
    slots, functions, lines, btf = join_functions(generator.unit, main)
    return Program(
        slots, type=kind, name=source.name[: b.BPF_OBJ_NAME_LEN - 1], attach_type=attach_type, target=target,
        license=str(generator.unit.settings.get("license", "GPL")), functions=functions, lines=lines, btf=btf,
    )  # fmt: skip


def generate(unit: ir.Unit, options: Options | None = None) -> Built:
    """The maps and programs of a unit; helper errors that the programs can tell are added to its events."""
    generator = Generator(unit, options or Options())
    script_maps = [generator.map_place(one) for one in unit.maps]
    programs = [generator.program(source, number) for number, source in enumerate(unit.programs)]
    constants = generator.places.get(CONSTANTS)
    if constants is not None:
        data = bytes(generator.constants) or bytes(8)
        made = generator.maps[constants]
        made.value_size, made.initial, made.frozen = len(data), data, True
    zeros = generator.places.get(ZEROS)
    if zeros is not None:
        generator.maps[zeros].frozen = True
    for program in programs:
        program.maps = generator.maps
    return Built(generator.maps, programs, script_maps)
