"""Scripts over recordings of machines with another order of bytes, or another size of long: they print the same."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from perf_data_writer import Pipe
from synthetic_trace import Kind, Machine

from linscope.formats.trace_dat.writer import write_trace_dat

SWITCH = Kind(
    "sched", "sched_switch", 300,
    (("char", "prev_comm[16]"), ("int", "prev_pid"), ("long", "prev_state"), ("u16", "list[3]"), ("u64", "big")), '""',
)  # fmt: skip
OPEN = Kind("fs", "open", 301, (("__data_loc char[]", "name[]"), ("long", "result")), '""')
MARK = Kind("ftrace", "print", 5, (("unsigned long", "ip"), ("char", "buf[]")), '""')
CALL = Kind("raw_syscalls", "sys_enter", 302, (("long", "id"), ("unsigned long", "args[6]")), '""')
KINDS = (SWITCH, OPEN, MARK)
SCRIPT = r"""
tracepoint:sched:sched_switch {
    printf("%lu %d %s %d %x ", nsecs, tid, args.prev_comm, args.prev_pid, args.prev_state);
    printf("%d %lx\n", args.list[2], args.big);
    @[args.prev_pid, args.prev_comm] = count();
}
tracepoint:fs:open { printf("%s %d\n", args.name, args.result); @results = sum(args.result); }
tracepoint:ftrace:print { printf("%lx %s\n", args.ip, args.buf); @marks[args.buf] = count(); }
"""
MACHINES = [Machine(big, size) for big in (False, True) for size in (8, 4)]


def records(machine: Machine) -> list[tuple[int, int, bytes]]:
    """(time, thread, record)"""
    found = []
    for turn in range(300):
        rows = [(SWITCH, (b"bash", -turn, 1 | turn % 2 << 8, (1, 2, 65535 - turn), turn << 55))]
        rows += [(OPEN, (f"/tmp/{'x' * (turn % 40)}", 3 - turn % 7))] if turn % 3 == 0 else []
        rows += [(MARK, (0xC0002040, b"mark %d\0" % turn))] if turn % 50 == 0 else []
        for kind, values in rows:
            found.append((1_000_000 + 1000 * len(found), 100 + turn % 3, machine.record(kind, 100 + turn % 3, values)))
    return found


def replayed(path: Path, script: str = SCRIPT) -> str:
    """What a script prints."""
    done = subprocess.run(
        [sys.executable, "-m", "linscope", "trace", "-q", "--replay", str(path), "-e", script], capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert not done.stderr
    return done.stdout


def trace_dat(machine: Machine, folder: Path) -> Path:
    """A recording of trace-cmd."""
    pages = machine.pages([(time, record) for time, _, record in records(machine)])
    path = folder / "trace.dat"
    write_trace_dat(str(path), machine.contents(KINDS, [pages], folder), version=7)
    return path


def perf_data(machine: Machine, folder: Path) -> Path:
    """A recording of perf."""
    pipe = Pipe(machine.order)
    sampled = 1 << 1 | 1 << 2 | 1 << 7 | 1 << 10  # PERF_SAMPLE_TID, TIME, CPU, RAW
    for kind in KINDS:
        pipe.event(kind.id, sampled | 1 << 16, [kind.id], kind=2)  # PERF_SAMPLE_IDENTIFIER
    pipe.tracing_data({kind.system: [machine.format_text(kind)] for kind in KINDS})
    for time, tid, record in records(machine):
        (number,) = struct.unpack_from(machine.order + "H", record)
        raw = record + bytes(-(len(record) + 4) % 8)
        pipe.record(9, 0, pipe.pack("QIIQIII", number, tid, tid, time, 1, 0, len(raw)) + raw)
    path = folder / "perf.data"
    path.write_bytes(pipe.data())
    return path


@pytest.mark.parametrize("write", [trace_dat, perf_data])
def test_scripts_print_the_same(write: type, tmp_path: Path) -> None:
    printed = []
    for machine in MACHINES:
        if write is perf_data and machine.long_size == 4:
            continue
        folder = tmp_path / f"{machine.big_endian}{machine.long_size}"
        folder.mkdir()
        path = write(machine, folder)
        printed.append(replayed(path))
        tables = str(folder / "tables")
        subprocess.run(
            [sys.executable, "-m", "linscope", "export", "--to", "parquet", str(path), "-o", tables], check=True
        )
        printed.append(replayed(folder / "tables"))
    assert "1000000 100 bash 0 1 65535 0\n/tmp/ 3\n" in printed[0]
    assert "c0002040 mark 50\n" in printed[0]
    assert "@[-299, bash]: 1" in printed[0]
    assert printed == printed[:1] * len(printed)


def test_samples_of_a_big_endian_machine(tmp_path: Path) -> None:
    printed = []
    script = 'profile:hz:99 { @[comm, pid, tid, cpu, reg("ip"), usermode] = count(); @last = max(nsecs) }'
    for order in ("<", ">"):
        pipe = Pipe(order)
        pipe.event(0, 1 << 0 | 1 << 1 | 1 << 2 | 1 << 7, [1])  # cpu-clock; PERF_SAMPLE_IP, TID, TIME, CPU
        pipe.record(3, 0, pipe.pack("II", 7, 8) + pipe.text("worker") + pipe.pack("IIQII", 7, 8, 1, 0, 0))  # COMM
        for turn in range(1, 200):
            pipe.record(9, 1 + turn % 2, pipe.pack("QIIQII", 0x1000 + turn % 5, 7, 8, turn * 1000, turn % 4, 0))
        path = tmp_path / f"perf{ord(order)}.data"
        path.write_bytes(pipe.data())
        printed.append(replayed(path, script))
    assert "@[worker, 7, 8, 0, 4096, 0]: 9" in printed[0]
    assert printed[0] == printed[1]


@pytest.mark.parametrize("machine", MACHINES[1:])
def test_the_numbers_of_system_calls_are_those_of_the_machine(machine: Machine, tmp_path: Path) -> None:
    """So that no other call is counted in place of the one that is meant."""
    pages = machine.pages([(1, machine.record(CALL, 1, (39, (0,) * 6)))])
    path = tmp_path / "trace.dat"
    write_trace_dat(str(path), machine.contents((CALL,), [pages], tmp_path), version=7)
    assert "@: 1" in replayed(path, "tracepoint:raw_syscalls:sys_enter /args.id == 39/ { @ = count() }")
    done = subprocess.run(
        [sys.executable, "-m", "linscope", "trace", "--replay", str(path), "-e",
         "tracepoint:syscalls:sys_enter_getpid { @ = count() }"], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "tracepoint not recorded: syscalls:sys_enter_getpid" in done.stderr
