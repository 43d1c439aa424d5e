"""Stacks of trace.dat in scripts: whose they are, wherever the pieces end that are read."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from replayed import replay

from linscope.binfmt.event_format import parse_format
from linscope.binfmt.print_code import PrintContext
from linscope.bpf.vm.state import NO_STACK
from linscope.formats.trace_dat.stacks import KernelStacks
from linscope.formats.trace_dat.symbols import FileSymbols
from linscope.session.script.replay.main import open_contents
from linscope.session.script.replay.trace_stacks import TraceStacks

STACK, OTHER = 4, 300
FORMAT = """name: kernel_stack
ID: 4
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:int size;\toffset:8;\tsize:4;\tsigned:1;
\tfield:unsigned long caller[8];\toffset:16;\tsize:64;\tsigned:0;

print fmt: ""
"""
KALLSYMS = "1000 t trace_event_raw_event_one\n2000 T __traceiter_one\n3000 T work\n4000 T entry\n"


def piece(rows: list[tuple[int, int, tuple[int, ...]]]) -> tuple[bytes, dict[str, Any]]:
    """(type, thread, frames) of each record as a piece of a CPU."""
    records = [
        struct.pack("<HBBii4x", type_, 0, 0, tid, len(frames)) + struct.pack(f"<{len(frames)}Q", *frames)
        for type_, tid, frames in rows
    ]
    size = np.array([len(record) for record in records], np.uint32)
    columns = {
        "type": np.array([row[0] for row in rows], np.uint16), "tid": np.array([row[1] for row in rows], np.uint32),
        "at": (np.cumsum(size) - size).astype(np.uint64), "raw_size": size,
    }  # fmt: skip
    return b"".join(records), columns


def stacks() -> TraceStacks:
    form = parse_format(FORMAT, "ftrace")
    assert form is not None
    return TraceStacks(KernelStacks(form, "<", 8, PrintContext()), FileSymbols(KALLSYMS))


def found(pieces: list[list[tuple[int, int, tuple[int, ...]]]]) -> list[tuple[int, ...] | None]:
    """The stack of each record that is none."""
    made, all_frames = stacks(), []
    numbers = []
    for _, columns in made.attach(map(piece, pieces)):
        numbers += columns["kernel_stack"][columns["type"] != STACK].tolist()
    table = made.table()
    for number in numbers:
        begin, end = (int(one) for one in table.offsets[number : number + 2]) if number != NO_STACK else (0, 0)
        all_frames.append(tuple(table.addresses[begin:end].tolist()) if number != NO_STACK else None)
    return all_frames


ROWS = [
    (STACK, 9, (0x9000,)),  # of an event that was overwritten
    (OTHER, 1, ()), (STACK, 1, (0x1001, 0x2002, 0x3003)),
    (OTHER, 1, ()),  # without
    (OTHER, 2, ()), (OTHER, 3, ()), (STACK, 3, (0x3008,)), (STACK, 2, (0x1001, 0x2002, 0x3003)),
    (OTHER, 1, ()), (STACK, 1, (0x4000, 0x1001)),
]  # fmt: skip
EXPECTED = [(0x2002, 0x3003), None, (0x2002, 0x3003), (0x3008,), (0x4000, 0x1001)]


def test_each_event_has_the_stack_behind_it() -> None:
    assert found([ROWS]) == EXPECTED


@pytest.mark.parametrize("end", range(1, len(ROWS)))
def test_pieces_may_end_anywhere(end: int) -> None:
    assert found([ROWS[:end], ROWS[end:]]) == EXPECTED


def test_a_stack_far_behind_is_of_nobody() -> None:
    assert found([[(OTHER, 1, ())], [(OTHER, 2, ())] * 16 + [(STACK, 1, (5,))]]) == [None] * 17
    assert found([[(OTHER, 1, ())], [(OTHER, 2, ())] * 15 + [(STACK, 1, (5,))]]) == [(5,), *[None] * 15]


@pytest.mark.kernel
@pytest.mark.skipif(shutil.which("trace-cmd") is None or os.geteuid() != 0, reason="needs trace-cmd and root")
def test_stacks_are_those_that_trace_cmd_prints(tmp_path: Path) -> None:
    path = tmp_path / "trace.dat"
    subprocess.run(
        [sys.executable, "-m", "linscope", "events", "record", "-q", "-T", "-e", "sched:sched_process_fork", "-e",
         "sched:sched_process_exit", "-o", str(path), "--", "sh", "-c", "/bin/true; (/bin/true); true"], check=True,
    )  # fmt: skip
    report = subprocess.run(["trace-cmd", "report", "-i", str(path)], capture_output=True, text=True, check=True).stdout
    expected = []
    for part in report.split("kernel_stack:")[1:]:
        frames = re.findall(r"^=> (\S+) \((\w+)\)", part, re.MULTILINE)
        expected.append([address for name, address in frames if not name.startswith("trace_event_")])
    assert len(expected) > 3
    script = 'tracepoint:sched:sched_process_fork,tracepoint:sched:sched_process_exit { printf("%s\\n", kstack(raw)) }'
    text = replay(script, open_contents(str(path)))[0]
    assert sorted(part.split() for part in text.split("\n\n") if part.strip()) == sorted(expected)
