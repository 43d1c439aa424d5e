"""What running eBPF programs gave, as rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from linscope.abi import bpf as b
from linscope.bpf.instructions import signed64
from linscope.bpf.program import Program
from linscope.bpf.vm.errors import Fault
from linscope.bpf.vm.machine import Machine
from linscope.picture.rows import Column, Rows

_LEAST_NS = 20_000_000  # that the runs of one measurement take together
_MOST_RUNS = 10_000_000
_BY_CONTEXT = (b.BPF_PROG_TYPE_RAW_TRACEPOINT, b.BPF_PROG_TYPE_TRACING, b.BPF_PROG_TYPE_SYSCALL)
_COLUMNS = (
    Column("program"),
    Column("by"),
    Column("result", "r0", ">", format=lambda value: "" if value is None else f"{value:#x}"),
    Column("signed", "signed", ">"),
    Column("runs", align=">"),
    Column("duration_ns", "ns", ">", format=lambda value: "" if value is None else f"{value:.1f}"),
    Column("problem"),
)


def run_rows(programs: Sequence[Program], record: bytes, *, interpret: bool, repeat: int, budget: int) -> Rows:
    """Run each program over one record; what it returned, and what one run took.

    repeat: how many times, 0 for as many as a measurement needs.  Raises InvalidProgram, UnavailableError.
    """
    rows: list[tuple[Any, ...]] = []
    printed: list[str] = []
    for program in programs:
        machine = Machine(program, jit=not interpret, budget=budget)
        by = "machine code" if machine.jitted else "interpreter"
        try:
            result = machine.run(record)
        except Fault as fault:
            rows.append((program.name, by, None, None, 1, None, str(fault)))
            continue
        printed += machine.output.take()
        rows.append((program.name, by, result, signed64(result), *_measure(machine, record, repeat), ""))
    failed = any(row[-1] for row in rows)
    return Rows(_COLUMNS, rows, notes=printed, exit_code=lambda: 1 if failed else 0)


def kernel_run_rows(programs: Sequence[Program], data: bytes, *, repeat: int) -> Rows:
    """Load each program into the kernel and run it there over one packet or context; see ``run_rows``.

    Raises VerifierError, PermissionDenied, NotInKernel.
    """
    from linscope.bpf.kernel.programs import load

    rows: list[tuple[Any, ...]] = []
    for program in programs:
        with load(program) as loaded:
            packet = program.type not in _BY_CONTEXT
            times = repeat or 1000
            run = loaded.test_run(data if packet else b"", context=b"" if packet else data, repeat=times)
        result = run.result & 0xFFFFFFFF
        rows.append((program.name, "kernel", result, run.result, times, run.duration_ns, ""))
    return Rows(_COLUMNS, rows)


def _measure(machine: Machine, record: bytes, repeat: int) -> tuple[int, float | None]:
    """Runs, and nanoseconds of one."""
    if repeat == 1:
        return 1, None
    runs = repeat or 1000
    one = record or b"\0"
    while True:
        begin = time.perf_counter_ns()
        machine.run_batch(one * runs, stride=len(one), size=len(record), results=False, codes=False)
        taken = time.perf_counter_ns() - begin
        if repeat or taken >= _LEAST_NS or runs >= _MOST_RUNS:
            return runs, taken / runs
        runs *= 10
