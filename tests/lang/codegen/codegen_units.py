"""Small units made by hand, and three places to run them: our interpreter, our JIT, the running kernel."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence

from linscope.abi import bpf as b
from linscope.bpf.program import Map, Program
from linscope.bpf.verifier import verify
from linscope.bpf.vm.machine import Machine
from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.codegen import Built, Options, generate
from linscope.lang.probe import Probe
from linscope.lang.unit import HEADER_SIZE, event_layout, is_variable

CPUS = 2
CONTEXT = bytes(range(1, 97))  # of the machine: twelve words
_PER_CPU = (b.BPF_MAP_TYPE_PERCPU_ARRAY, b.BPF_MAP_TYPE_PERCPU_HASH, b.BPF_MAP_TYPE_LRU_PERCPU_HASH)


def unit(
    body: Sequence[ir.Statement],
    *,
    maps: Sequence[ir.Map] = (),
    events: Sequence[ir.Event] = (),
    kind: str = "begin",
    text: str = "",
    settings: dict[str, str | int] | None = None,
) -> ir.Unit:
    """A unit of one program."""
    program = ir.Program("main", [Probe(kind, kind)], list(body))
    return ir.Unit(text, "test.bt", list(maps), list(events), [program], settings or {}, [])


def number(value: int, type: t.Type = t.INT64) -> ir.Number:
    """A constant."""
    return ir.Number(type, value)


def get(variable: ir.Variable) -> ir.Get:
    """The value of a variable."""
    return ir.Get(variable.type, variable)


def word(place: int, type: t.Type = t.UINT64) -> ir.FromContext:
    """A word of the context."""
    return ir.FromContext(type, 8 * place)


def text(value: bytes, width: int = 0) -> ir.Bytes:
    """A constant string."""
    return ir.Bytes(t.String(width or len(value) + 1), value)


def binary(sign: str, left: ir.Expression, right: ir.Expression) -> ir.Binary:
    """Arithmetic."""
    return ir.Binary(left.type, sign, left, right)


def compare(sign: str, left: ir.Expression, right: ir.Expression) -> ir.Compare:
    """A comparison."""
    return ir.Compare(t.BOOL, sign, left, right)


def printf(*types: t.Type, kind: str = "printf") -> ir.Event:
    """An event with values."""
    return ir.Event(kind, types, b"")


class Outcome:
    """What a run left behind."""

    def __init__(
        self, made: ir.Unit, built: Built, result: int, maps: list[dict[bytes, bytes]], records: Iterable[bytes]
    ) -> None:
        self.result = result
        self.unit = made
        self.built = built
        self.raw = maps  # of Built.maps
        self.records = list(records)
        self.events = [decode(made, record) for record in self.records]

    def map(self, wanted: ir.Map) -> dict[bytes, list[bytes]]:
        """Keys and the values of all CPUs (one value when the map has no more)."""
        place = self.built.script_maps[self.unit.maps.index(wanted)]
        made = self.built.maps[place]
        return {key: _split(made, value) for key, value in self.raw[place].items()}

    def numbers(self, wanted: ir.Map) -> dict[int, int]:
        """Keys and values of a map of integers."""
        signed = wanted.value.signed
        return {
            int.from_bytes(key, "little"): int.from_bytes(value[0], "little", signed=signed)
            for key, value in self.map(wanted).items()
        }

    @property
    def lost(self) -> int:
        """Events that could not be written."""
        place = self.built.place("lost")
        if place is None:
            return 0
        value = self.raw[place][bytes(4)]
        return sum(int.from_bytes(value[at : at + 8], "little") for at in range(0, len(value), 8))


def _split(made: Map, value: bytes) -> list[bytes]:
    if made.type not in _PER_CPU:
        return [value]
    step = made.value_size + 7 & ~7
    return [value[at : at + made.value_size] for at in range(0, len(value), step)]


def decode(made: ir.Unit, record: bytes) -> tuple[ir.Event, list[bytes]]:
    """An event and the bytes of its values, as unit.py says."""
    event = made.events[int.from_bytes(record[:4], "little")]
    size = int.from_bytes(record[4:8], "little")
    assert size == len(record)
    offsets, at = event_layout(event.values)
    assert at >= HEADER_SIZE
    values = []
    for type, offset in zip(event.values, offsets, strict=True):
        if is_variable(type):
            length = int.from_bytes(record[offset : offset + 4], "little")
            values.append(record[at : at + length])
            at += length
        else:
            values.append(record[offset : offset + type.size])
    assert at == size
    return event, values


def check(built: Built) -> None:
    """Our verifier takes the programs, by the rules of both kernels."""
    for program in built.programs:
        for kernel in ((6, 1), (6, 18)):
            verdict = verify(program, kernel=kernel)
            assert verdict.accepted, (kernel, verdict.message, verdict.line, verdict.text, verdict.known)


class Place:
    """Somewhere to run programs."""

    name = ""
    memory: tuple[tuple[int, bytes], ...] = ()  # of the machine: what programs can read

    def options(self, **named: object) -> Options:
        """Options of the generator."""
        return Options(cpus=CPUS, ring_bytes=1 << 16, **named)  # type: ignore[arg-type]

    def run(
        self,
        made: ir.Unit,
        *,
        cpus: Sequence[int] = (0,),
        context: bytes = CONTEXT,
        checked: bool = True,
        **named: object,
    ) -> Outcome:
        """Run the unit's first program once on each of some CPUs.  named: options of the generator."""
        built = generate(made, self.options(**named))
        if checked:
            check(built)
        return self._run(made, built, cpus, context)

    def _run(self, made: ir.Unit, built: Built, cpus: Sequence[int], context: bytes) -> Outcome:
        raise NotImplementedError


def spoil(machine: Machine) -> None:
    """Fill the stack and scratch memory: what others left there is nothing to rely on."""
    stack = machine._core.stack
    ctypes.memset(stack, 0xA5, len(stack))
    for one in machine.map_list():
        if one.name.startswith("scratch_"):
            for at in range(one.head.max_entries):
                one.update(at.to_bytes(4, "little"), bytes(8) + b"\xa5" * (one.value_size - 8))


class InMachine(Place):
    """Our machine."""

    def __init__(self, jit: bool) -> None:
        self.jit = jit
        self.name = "jit" if jit else "interpreter"

    def _run(self, made: ir.Unit, built: Built, cpus: Sequence[int], context: bytes) -> Outcome:
        machine = Machine(built.programs[0], jit=self.jit, cpus=CPUS)
        machine.set_memory(self.memory)
        spoil(machine)
        result = 0
        for cpu in cpus:
            machine.row.cpu = cpu
            result = machine.run(context)
        maps: list[dict[bytes, bytes]] = []
        records: list[bytes] = []
        for made_map in machine.map_list():
            if made_map.name == "events":
                records = [data for _, data in made_map.drain()]
            maps.append(dict(made_map.items()) if made_map.iterable else {})
        return Outcome(made, built, result, maps, records)


class InKernel(Place):
    """The running kernel, by BPF_PROG_TEST_RUN."""

    name = "kernel"

    def _run(self, made: ir.Unit, built: Built, cpus: Sequence[int], context: bytes) -> Outcome:
        from contextlib import ExitStack

        from linscope.bpf.kernel.maps import KernelMap
        from linscope.bpf.kernel.programs import load
        from linscope.bpf.kernel.ring_buffer import RingBuffer

        with ExitStack() as stack:
            maps = [stack.enter_context(KernelMap.create(one)) for one in built.maps]
            program = stack.enter_context(load(built.programs[0], maps))
            place = built.place("events")
            ring = stack.enter_context(RingBuffer(maps[place])) if place is not None else None
            result = 0
            allowed = os.sched_getaffinity(0)
            try:
                for cpu in cpus:
                    os.sched_setaffinity(0, {cpu})  # elsewhere it would run without this process's memory
                    result = program.test_run(context=context, cpu=cpu).result & (1 << 32) - 1
            finally:
                os.sched_setaffinity(0, allowed)
            records = ring.read() if ring is not None else []
            plain = [one.type not in (b.BPF_MAP_TYPE_RINGBUF, b.BPF_MAP_TYPE_STACK_TRACE) for one in built.maps]
            contents = [dict(one.items()) if good else {} for one, good in zip(maps, plain, strict=True)]
        return Outcome(made, built, result, contents, records)


def loads(program: Program, maps: Sequence[Map]) -> None:
    """The running kernel takes a program."""
    from linscope.bpf.kernel.programs import load

    program.maps = list(maps)
    load(program).close()
