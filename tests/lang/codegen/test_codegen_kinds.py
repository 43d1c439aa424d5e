"""Programs for all kinds of probes, those that serve many system calls, stacks, the script's lines in the log."""

from __future__ import annotations

import os

import pytest
from codegen_units import CPUS, InMachine, Place, binary, check, compare, get, number, printf, text, unit, word

from linscope.abi import bpf as b
from linscope.bpf.kernel.errors import TrampolineRefused, VerifierError
from linscope.bpf.verifier import verify
from linscope.bpf.verifier.explain import format_verdict
from linscope.bpf.vm.machine import Machine
from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.codegen import Options, generate
from linscope.lang.probe import Probe

KINDS = {
    **dict.fromkeys(("begin", "end", "self", "test", "bench", "rawtracepoint"), b.BPF_PROG_TYPE_RAW_TRACEPOINT),
    **dict.fromkeys(("kprobe", "kretprobe", "uprobe", "uretprobe", "usdt"), b.BPF_PROG_TYPE_KPROBE),
    **dict.fromkeys(("profile", "interval", "software", "hardware", "watchpoint"), b.BPF_PROG_TYPE_PERF_EVENT),
    "tracepoint": b.BPF_PROG_TYPE_TRACEPOINT,
    **dict.fromkeys(("fentry", "fexit", "iter"), b.BPF_PROG_TYPE_TRACING),
}  # fmt: skip
TARGETS = {"fentry": "vfs_read", "fexit": "vfs_read", "iter": "task"}
COUNT = ir.Map("@count", t.INT64, t.INT64)


def add(key: int) -> ir.Statement:
    return ir.Evaluate(ir.MapAdd(t.INT64, COUNT, number(key), number(1)))


def of_kind(kind: str) -> ir.Unit:
    """A program that uses context, scratch, a loop, the stacks, an event and return."""
    event = printf(t.String(100), t.UINT64, t.Stack(t.KERNEL, "bpftrace", 127))
    i = ir.Variable("$i", t.INT64)
    context = ir.FromContext(t.Pointer(t.VOID), 8)
    stack = ir.StackTrace(t.Stack(t.KERNEL, "bpftrace", 127))
    body: list[ir.Statement] = [
        ir.Set(i, number(0)),
        ir.While(compare("<", get(i), number(3)), [ir.Set(i, binary("+", get(i), number(1))), add(1)]),
        ir.If(
            compare("==", ir.Reinterpret(t.UINT64, context), number(5, t.UINT64)),
            [ir.Return(number(1))],
            [
                ir.Emit(
                    event, [text(b"x", 100), binary("&", ir.Reinterpret(t.UINT64, context), number(7, t.UINT64)), stack]
                )
            ],
        ),
    ]
    if kind in ("fentry", "fexit"):
        body[2] = add(2)
    made = unit(body, maps=[COUNT], events=[event], kind=kind)
    made.programs[0].probes[0].target = TARGETS.get(kind, "")
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_types_of_programs(kind: str) -> None:
    built = generate(of_kind(kind), Options(cpus=CPUS))
    (program,) = built.programs
    assert program.type == KINDS[kind] and program.target == TARGETS.get(kind, "")
    attach = {"fentry": b.BPF_TRACE_FENTRY, "fexit": b.BPF_TRACE_FEXIT, "iter": b.BPF_TRACE_ITER}
    assert program.attach_type == attach.get(kind, 0)
    if kind not in TARGETS:
        check(built)


@pytest.mark.kernel
@pytest.mark.parametrize("kind", KINDS)
def test_the_kernel_takes_programs_of_all_kinds(kind: str) -> None:
    from linscope.bpf.kernel.programs import load

    (program,) = generate(of_kind(kind)).programs
    try:
        load(program).close()
    except TrampolineRefused:
        assert kind in ("fentry", "fexit")


def calls(kind: str, numbers: dict[int, int]) -> ir.Unit:
    """Adds to a map's key, by the number of the system call, in this process only."""
    mine = compare(
        "==",
        binary(">>", ir.Helper(t.UINT64, 14, []), number(32, t.UINT64)),
        number(os.getpid(), t.UINT64),
    )
    bodies: dict[int, list[ir.Statement]] = {}
    for key in set(numbers.values()):
        bodies[key] = [ir.If(mine, [add(key)], [])]
    dispatch = {number: bodies[key] for number, key in numbers.items()}
    program = ir.Program("calls", [Probe("tracepoint", kind, "raw_syscalls", kind)], [], dispatch)
    return ir.Unit("", "test.bt", [COUNT], [], [program], {}, [])


GETPPID, GETUID = 110, 102


@pytest.mark.kernel
@pytest.mark.parametrize("kind", ["sys_enter", "sys_exit"])
def test_system_calls_by_their_number(kind: str) -> None:
    from linscope.bpf.kernel.attach_raw import attach_raw_tracepoint
    from linscope.bpf.kernel.programs import load

    numbers = dict.fromkeys(range(300, 330), 2) | {GETPPID: 7, GETUID: 8, 0: 1, 1: 1}
    built = generate(calls(kind, numbers), Options())
    (program,) = built.programs
    assert program.type == b.BPF_PROG_TYPE_RAW_TRACEPOINT
    with load(program) as loaded, attach_raw_tracepoint(loaded, kind):
        for _ in range(50):
            os.getppid()
            os.getuid()
        found = {int.from_bytes(k, "little"): int.from_bytes(v, "little") for k, v in loaded.maps[0].items()}
    assert found[7] == 50 and found[8] == 50


def test_every_number_goes_where_it_belongs() -> None:
    """Ranges, single numbers, and those in between, by halves."""
    numbers = {n: n % 3 + 1 for n in range(20)} | dict.fromkeys(range(30, 60), 9) | {n: n for n in (61, 63, 66, 400)}
    made = calls("sys_enter", numbers)
    built = generate(made, Options(cpus=CPUS))
    check(built)
    for jit in (False, True):
        machine = Machine(built.programs[0], jit=jit, cpus=CPUS)
        machine.row.pid_tgid = os.getpid() << 32
        for number_ in range(420):
            machine.run(bytes(8) + number_.to_bytes(8, "little"))
        wanted: dict[int, int] = {}
        for key in numbers.values():
            wanted[key] = wanted.get(key, 0) + 1
        found = {int.from_bytes(k, "little"): int.from_bytes(v, "little") for k, v in machine.map_list()[0].items()}
        assert found == wanted


@pytest.mark.parametrize("kind", [t.KERNEL, t.USER])
def test_stacks_have_numbers(place: Place, kind: str) -> None:
    """The same stack has the same number, and a user's has the process above it."""
    stack = ir.StackTrace(t.Stack(kind, "bpftrace", 16))
    event = printf(t.INT64, t.INT64, t.INT64, t.UINT64)
    frames = ir.StackLength(t.INT64, stack)
    process = ir.Helper(t.UINT64, 14, [])
    body = [ir.Emit(event, [ir.Reinterpret(t.INT64, stack), ir.Reinterpret(t.INT64, stack), frames, process])]
    out = place.run(unit(body, events=[event]))
    first, second, length, identity = (int.from_bytes(value, "little", signed=True) for value in out.events[0][1])
    names = [one.name for one in out.built.maps]
    assert {"stk_16_1", "stk_16_2"} <= set(names)
    assert first >> 32 == second >> 32 == (identity >> 32 if kind == t.USER else 0)
    if kind == t.USER:  # the kernel's has the program in it, which asks at two places
        assert first == second
    if isinstance(place, InMachine):
        assert first & (1 << 32) - 1 == (1 << 32) - 14 and length == 0  # -EFAULT: the row has no stack
    else:
        assert 0 <= first & (1 << 32) - 1 < 1 << 14 and 0 < length <= 16


def test_stacks_whose_place_is_taken_go_to_a_second_map() -> None:
    """None is lost as long as that has room; then it is told."""
    stack = ir.StackTrace(t.Stack(t.KERNEL, "bpftrace", 4))
    event = printf(t.INT64)
    body = [ir.Emit(event, [ir.Reinterpret(t.INT64, stack)])]
    made = unit(body, events=[event])
    built = generate(made, Options(cpus=1, stacks=64))
    machine = Machine(built.programs[0], cpus=1)
    offsets = b"".join((at).to_bytes(8, "little") for at in range(201))
    addresses = b"".join((0xFFFF_0000_0000_0000 + 977 * at).to_bytes(8, "little") for at in range(200))
    machine.set_stacks(offsets, addresses)
    for at in range(200):
        machine.row.kernel_stack = at
        machine.run(bytes(96))
    seen: dict[int, int] = {}
    lost = 0
    records = [data for _, data in machine.maps["events"].drain()]
    for record in records:
        kind = made.events[int.from_bytes(record[:4], "little")].kind
        if kind == "helper_error":
            assert int.from_bytes(record[8:12], "little", signed=True) == -17
            lost += 1
            continue
        value = int.from_bytes(record[8:16], "little")
        if value >> 31 == 0:
            seen[value] = seen.get(value, 0) + 1
    assert max(seen.values()) == 1 and any(value >> 30 for value in seen) and len(seen) + lost == 200


@pytest.mark.kernel
def test_the_kernels_log_names_the_scripts_line() -> None:
    from linscope.bpf.kernel.programs import load

    script = "begin {\n  @x = 1;\n  override(2);\n}\n"
    at = script.index("override")
    wrong = ir.Evaluate(ir.Helper(t.INT64, 58, [ir.Context(t.UINT64), number(2)], "override_return"))
    wrong.span = (at, at + 11)
    made = unit([add(1), wrong], maps=[COUNT], text=script)
    (program,) = generate(made).programs
    assert (program.lines[-1].line, program.lines[-1].column, program.lines[-1].file) == (3, 3, "test.bt")
    with pytest.raises(VerifierError) as caught:
        load(program)
    assert "; override(2);" in caught.value.log


def test_our_verifier_names_the_scripts_line() -> None:
    script = "begin {\n  $x = *5;\n}\n"
    wrong = ir.Evaluate(ir.Helper(t.INT64, 9999, [number(2)], "nothing"))
    wrong.span = (script.index("*5"), script.index("*5") + 2)
    program = generate(unit([wrong], text=script), Options(cpus=1)).programs[0]
    verdict = verify(program)
    assert verdict.line is not None and verdict.line.line == 2
    assert "$x = *5" in format_verdict(verdict)


def test_programs_of_a_unit_share_their_maps() -> None:
    event = printf(t.INT64)
    programs = [
        ir.Program(name, [Probe(name, name)], [add(1), ir.Emit(event, [number(1)])]) for name in ("begin", "end")
    ]
    built = generate(ir.Unit("", "x", [COUNT], [event], programs, {"license": "MIT"}, []), Options(cpus=1))
    assert built.programs[0].maps == built.programs[1].maps == built.maps
    assert built.script_maps == [0] and built.place("events") is not None and built.place("stacks") is None
    assert {program.license for program in built.programs} == {"MIT"}


@pytest.mark.parametrize("jit", [False, True])
def test_tasks_that_take_the_cpu_from_each_other_share_no_memory(jit: bool) -> None:
    """Programs of user space's probes may be interrupted by themselves: each takes memory that nobody has."""
    event = printf(t.String(100))
    i = ir.Variable("$i", t.INT64)
    body: list[ir.Statement] = [
        ir.Set(i, number(0)),
        ir.While(compare("<", get(i), number(3)), [
            ir.Set(i, binary("+", get(i), number(1))),
            ir.If(compare("==", word(0), number(9, t.UINT64)), [ir.Return(number(4))], []),
        ]),
        ir.If(compare("==", word(0), number(5, t.UINT64)), [ir.Return(number(1))], []),
        ir.Emit(event, [text(b"x" * 50, 100)]),
    ]  # fmt: skip
    built = generate(unit(body, events=[event], kind="uprobe"), Options(cpus=CPUS))
    check(built)
    machine = Machine(built.programs[0], jit=jit, cpus=CPUS)
    scratch = machine.maps["scratch_0"]
    taken = b"\1".ljust(scratch.value_size, b"\0")

    def flags() -> list[int]:
        return [value[0] for _, value in scratch.items()]

    for cpu in range(CPUS):
        machine.row.cpu = cpu
        for busy in range(4):
            for context, result in ((0, 0), (5, 1), (9, 4)):
                scratch.clear()
                for at in range(busy):
                    scratch.update((3 * cpu + at).to_bytes(4, "little"), taken)
                before = flags()
                assert machine.run(context.to_bytes(8, "little") + bytes(88)) == (result if busy < 3 else 0)
                assert flags() == before
                records = machine.maps["events"].drain()
                assert len(records) == int(busy < 3 and not context)
    assert sum(machine.maps["lost"].lookup(bytes(4)) or b"") == 3 * CPUS
