"""Events of ftrace itself, stacks, other byte orders and sizes of long: as trace-cmd report prints them."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from ftrace_recorder import all_tracepoints, capture
from synthetic_trace import Kind, Machine
from test_trace_dat import damaged, lines, report

import linscope
from linscope.formats.trace_dat.parts import collect_contents
from linscope.formats.trace_dat.writer import TraceBuffer, write_trace_dat
from linscope.sys.tracefs import find_tracefs

KSYMS = b"""c0001000 T start_here
c0002000 T vfs_read
c0002040 t helper
c0003000 t ext4_sync\t[ext4]
c0009000 T the_end
"""
_FUNCTION = (("unsigned long", "ip"), ("unsigned long", "parent_ip"))
_GRAPH = (("unsigned long", "func"), ("int", "depth"))
FUNCTION = Kind("ftrace", "function", 1, _FUNCTION, '" %ps <-- %ps", (void *)REC->ip, (void *)REC->parent_ip')
STACK = Kind(
    "ftrace",
    "kernel_stack",
    4,
    (("int", "size"), ("unsigned long", "caller[8]")),
    '"' + r"\t=> %ps\n" * 8 + '", ' + ", ".join(f"(void *)REC->caller[{n}]" for n in range(8)),
)
PRINT = Kind("ftrace", "print", 5, (("unsigned long", "ip"), ("char", "buf[]")), '"%ps: %s", (void *)REC->ip, REC->buf')
ENTRY = Kind("ftrace", "funcgraph_entry", 11, _GRAPH, '"--> %ps (%d)", (void *)REC->func, REC->depth')
EXIT = Kind(
    "ftrace",
    "funcgraph_exit",
    10,
    (*_GRAPH, ("unsigned int", "overrun"), ("unsigned long long", "calltime"), ("unsigned long long", "rettime")),
    '"<-- %ps (%d) (start: %llx  end: %llx) over: %d", (void *)REC->func, REC->depth, REC->calltime, REC->rettime, '
    "REC->depth",
)
HWLAT = Kind(
    "ftrace",
    "hwlat",
    14,
    (("u64", "duration"), ("u64", "outer_duration"), ("s64", "tv_sec"), ("long", "tv_nsec"), ("u32", "seqnum")),
    r'"cnt:%u\tts:%010llu.%010lu\tinner:%llu\touter:%llu\n", REC->seqnum, REC->tv_sec, REC->tv_nsec, REC->duration, '
    "REC->outer_duration",
)
OSNOISE = Kind(
    "ftrace",
    "osnoise",
    19,
    (("u64", "noise"), ("u64", "runtime"), ("u64", "max_sample"), ("unsigned int", "hw_count")),
    r'"noise:%llu\tmax_sample:%llu\thw:%u\n", REC->noise, REC->max_sample, REC->hw_count',
)
TIMERLAT = Kind(
    "ftrace",
    "timerlat",
    20,
    (("unsigned int", "seqnum"), ("int", "context"), ("u64", "timer_latency")),
    r'"seq:%u\tcontext:%d\ttimer_latency:%llu\n", REC->seqnum, REC->context, REC->timer_latency',
)
RAW = Kind(
    "ftrace", "raw_data", 16, (("unsigned int", "id"), ("char", "buf[]")), '"id:%04x %08x", REC->id, (int)REC->buf[0]'
)
SWITCH = Kind(
    "sched",
    "sched_switch",
    300,
    (("char", "prev_comm[16]"), ("int", "prev_pid"), ("long", "prev_state"), ("u16", "list[3]"), ("u64", "big")),
    '"comm=%s pid=%d state=%s%s list=%u,%u big=%llx %lu", REC->prev_comm, REC->prev_pid, '
    '__print_flags(REC->prev_state & 255, "|", {1, "S"}, {2, "D"}), REC->prev_state & 256 ? "+" : "", REC->list[0], '
    "REC->list[2], REC->big, REC->prev_state",
)
OPEN = Kind(
    "fs",
    "open",
    301,
    (("__data_loc char[]", "name[]"), ("long", "result")),
    '"name=%s result=%ld", __get_str(name), REC->result',
)
KINDS = (FUNCTION, STACK, PRINT, ENTRY, EXIT, HWLAT, OSNOISE, TIMERLAT, RAW, SWITCH, OPEN)
MACHINES = [Machine(big, size) for big in (False, True) for size in (8, 4)]


def records(machine: Machine, cpu: int) -> list[tuple[int, bytes]]:
    """Every kind of event, hundreds of times."""
    found = []
    time = 5_000_000_000 + cpu * 333
    for turn in range(150):
        rows = [
            (FUNCTION, (0xC0002010, 0xC0001004)),
            (ENTRY, (0xC0002000, turn % 5)),
            (EXIT, (0xC0002000, turn % 5, 0, time, time + 1_000_000_007)),
            (PRINT, (0xC0002040, b"a marker\n\0")),
            (HWLAT, (12, 3, 1_700_000_000, 99_999, turn)),
            (OSNOISE, (turn * 1000, 10**9, 77, 3)),
            (TIMERLAT, (turn, -1, 1 << 40)),
            (SWITCH, (b"bash", -turn, 1 | turn % 2 << 8, (1, 2, 65535), 1 << 63)),
            (RAW, (turn, b"\x41bcd")),
            (OPEN, (f"/tmp/{'x' * (turn % 40)}", 3)),  # libtraceevent 1.7 shows -2 of a 32-bit long without its sign
        ]
        for kind, values in rows:
            data = machine.record(kind, 100 + turn % 3, values)
            found.append((time, data))
            time += 1000 if turn % 50 else 1 << 28
    return found


def write(machine: Machine, folder: Path, version: int = 7, compression: str = "zstd") -> Path:
    cpus = [machine.pages(records(machine, 0)), b"", machine.pages(records(machine, 2))]
    contents = machine.contents(KINDS, cpus, folder, kallsyms=KSYMS, cmdlines=b"100 bash\n101 cat\n")
    made = folder / f"{machine.big_endian}{machine.long_size}{version}.dat"
    write_trace_dat(str(made), contents, version=version, compression=compression)
    return made


@pytest.mark.peer
@pytest.mark.parametrize("version", [6, 7])
@pytest.mark.parametrize("machine", MACHINES)
def test_any_byte_order_and_long_read_the_same(machine: Machine, version: int, tmp_path: Path) -> None:
    made, native = write(machine, tmp_path, version), write(MACHINES[0], tmp_path, 7)
    ours = lines(made)
    assert len(ours) == 2 * 150 * 10
    assert ours == lines(native)
    assert ours == report(made)
    tables, expected = linscope.open(str(made)).tables, linscope.open(str(native)).tables
    assert tables.keys() == expected.keys()
    for name in ("sched:sched_switch", "fs:open", "ftrace:timerlat"):
        assert tables[name].to_arrow().to_pydict() == expected[name].to_arrow().to_pydict()


@pytest.mark.slow
@pytest.mark.parametrize(("version", "compression"), [(6, "none"), (7, "none"), (7, "zlib"), (7, "zstd")])
def test_damage_ends_in_an_error_or_in_rows(version: int, compression: str, tmp_path: Path) -> None:
    whole = write(MACHINES[0], tmp_path, version, compression).read_bytes()
    chance = random.Random(version)
    told = set()
    for turn in range(400):
        data = bytearray(whole[: chance.randrange(len(whole))] if turn % 4 == 0 else whole)
        for _ in range(chance.randrange(1, 5)):
            if data and turn % 4:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        told.add(damaged(bytes(data)).partition(" at offset")[0])
    assert "rows" in told and len(told) > 1


@pytest.mark.parametrize(("version", "compression"), [(6, "none"), (7, "none"), (7, "zstd")])
def test_a_copy_that_was_cut_off_shows_what_it_has(version: int, compression: str, tmp_path: Path) -> None:
    whole = write(MACHINES[0], tmp_path, version, compression)
    cut = tmp_path / "cut.dat"
    cut.write_bytes(whole.read_bytes()[: -5000 if compression == "none" else -1500])
    profile = linscope.open(str(cut)).profile
    assert 1500 <= len(profile.samples) < 3000
    assert len(profile.problems) == 1 and f"at offset {cut.stat().st_size}" in str(profile.problems[0])


@pytest.mark.parametrize("machine", MACHINES)
def test_stacks_belong_to_the_event_before_them(machine: Machine, tmp_path: Path) -> None:
    def stack(pid: int, *frames: int) -> bytes:
        return machine.record(STACK, pid, (len(frames), frames))

    def switch(pid: int) -> bytes:
        return machine.record(SWITCH, pid, (b"x", 1, 2, (1, 2, 3), 4))

    long = tuple(0xC0001000 + 16 * n for n in range(20))
    data = [
        (1, stack(100, 0xC0009000)),  # of an event that was overwritten
        (2, switch(100)),
        (3, switch(101)),  # in an interrupt, with its own stack
        (4, stack(101, 0xC0002044, 0xC0001010)),
        (5, stack(100, 0xC0003004, 0xC0002010, 0xC0001010)),
        (6, switch(100)),
        (7, switch(100)),
        (8, stack(100, *long)),
        (9, stack(100)),
    ]
    contents = machine.contents(KINDS, [machine.pages(data)], tmp_path, kallsyms=KSYMS)
    made = tmp_path / "made.dat"
    write_trace_dat(str(made), contents)
    recording = linscope.open(str(made))
    samples, resolved = recording.samples, recording.resolved
    names = [[resolved.name(f) for f in recording.profile.stacks.frames_of(node)] for node in samples.stack.tolist()]
    assert names[1:4] == [["ext4_sync", "vfs_read", "start_here"], ["helper", "start_here"], []]
    assert [len(one) for one in names] == [0, 3, 2, 0, 0, 0, 20, 0, 0]
    assert {place.path for place in resolved.places[1:]} == {"[ext4]", "[kernel.kallsyms]"}
    assert recording.has_stacks() and recording.events[0].name == "sched:sched_switch"
    shown = "\n".join(lines(made)).splitlines()
    assert sum(line.startswith("\t=> ") for line in shown) >= 20
    assert recording.tables["ftrace:kernel_stack"].to_arrow()["caller"].to_pylist()[1] == [0xC0002044, 0xC0001010]


@pytest.mark.kernel
@pytest.mark.peer
def test_stacks_of_this_kernel(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    tracefs = find_tracefs()
    events = ["sched/sched_switch", "sched/sched_waking"]
    markers = [b"\1\0\0\0abcd"]
    command = ["sh", "-c", "for i in 1 2 3 4 5 6; do sleep 0.002; done"]  # switches for certain
    files = capture(tracefs, events, command, tmp_path, options=["stacktrace"], raw_markers=markers)
    contents = collect_contents(tracefs, all_tracepoints(tracefs))
    contents.buffers = [TraceBuffer(cpus=[(cpu, str(path), None) for cpu, path in enumerate(files)])]
    made = tmp_path / "made.dat"
    write_trace_dat(str(made), contents)
    recording = linscope.open(str(made))
    ours, theirs = split(lines(made)), split(report(made))
    assert [head.partition("=>")[0] for head, _ in ours] == [head.partition("=>")[0] for head, _ in theirs]
    deep = 0
    for (_, frames), (_, shown) in zip(ours, theirs, strict=True):
        if len(frames) >= 8:  # trace-cmd prints eight, and what lies behind a record with fewer
            deep += 1
            assert frames[: len(shown)] == shown
    assert deep > 2
    number = next(n for n, event in enumerate(recording.events) if event.name == "sched:sched_switch")
    nodes = recording.samples.stack[recording.samples.event == number].tolist()
    leaves = {recording.resolved.name(recording.profile.stacks.frames_of(node)[0]) for node in nodes if node}
    assert leaves == {"__schedule"}


def split(rows: list[str]) -> list[tuple[str, list[str]]]:
    """Each line with the frames under it."""
    found: list[tuple[str, list[str]]] = []
    for row in rows:
        if row.startswith("\t=> ") or not row:
            found[-1][1].append(row)
        else:
            head, arrow, frame = row.partition("\t=> ")
            found.append((head, [arrow + frame] if arrow else []))
    return found
