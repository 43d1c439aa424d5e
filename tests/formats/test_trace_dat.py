"""trace.dat: the same lines as trace-cmd report -N, and damage that ends in an error or in the rows before it."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from ftrace_recorder import record

import linscope
from linscope.binfmt.binary_printf import binary_printer
from linscope.binfmt.event_format import EventFormat, Field
from linscope.binfmt.print_code import PrintContext
from linscope.binfmt.ring_buffer import decode_pages
from linscope.errors import FormatError, InputError, LinscopeError
from linscope.formats import read_profile
from linscope.formats.trace_dat.container import read_container, unpack
from linscope.render.rows import write_rows
from linscope.sys.tracefs import find_tracefs

FILES = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "trace-dat"
RECORDINGS = ("trace.dat", "raw_trace.dat")


def lines(path: Path) -> list[str]:
    """What `linscope script` prints: in bulk, and the same as the single rows have it."""
    rows, out = linscope.open(str(path)).script(), io.StringIO()
    write_rows(rows, "text", out)
    assert out.getvalue() == "".join(f"{row[0]}\n" for row in rows.rows)
    return out.getvalue().splitlines()


def report(path: Path, *, ticks: bool = False) -> list[str]:
    """What trace-cmd report prints; ticks: its clock has no seconds."""
    trace_cmd = shutil.which("trace-cmd")
    if trace_cmd is None:
        pytest.skip("needs trace-cmd: apt-get install trace-cmd")
    for _ in range(10):  # trace-cmd 3.1 forgets the clock about one time in thirty, and prints bare nanoseconds
        made = subprocess.run([trace_cmd, "report", "-N", "-i", str(path)], check=True, capture_output=True, text=True)
        rows = [line for line in made.stdout.splitlines() if not line.startswith(("cpus=", "CPU ", "version ="))]
        if ticks or not any(re.search(r"\[\d+\] *\d{13,}:", line) for line in rows[:5]):
            break
    return rows


@pytest.mark.peer
@pytest.mark.parametrize("name", RECORDINGS)
def test_every_line_is_that_of_trace_cmd(name: str) -> None:
    theirs = report(FILES / name)
    assert len(theirs) > 500
    assert lines(FILES / name) == theirs


@pytest.mark.peer
@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("name", RECORDINGS)
def test_version_7_reads_the_same(name: str, compression: str, tmp_path: Path) -> None:
    theirs = report(FILES / name)
    made = tmp_path / "v7.dat"
    convert = ["trace-cmd", "convert", "--file-version", "7", "--compression", compression]
    done = subprocess.run([*convert, "-i", str(FILES / name), "-o", str(made)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"trace-cmd cannot write it: {done.stderr.strip()}")
    assert read_container(made.read_bytes(), "").version == 7
    assert lines(made) == theirs
    assert damaged(made.read_bytes()[:-5000])


def test_compressed_pieces_are_checked() -> None:
    packed = zlib.compress(b"pages" * 100)
    assert unpack("zlib", packed, 500, 0) == b"pages" * 100
    for size, piece in ((499, packed), (501, packed), (500, packed[:-20]), (500, b"rubbish"), (1 << 40, packed)):
        with pytest.raises(FormatError):
            unpack("zlib", piece, size, 0)


# libtraceevent 1.7 reads a & (b | c) as (a & b) | c; it counts the enumerators that the format leaves unresolved as 0.
READ_WRONG_BY_PEER = ("timer_start", "writeback_mark_inode_dirty", "writeback_dirty_inode", "writeback_single_inode")


@pytest.mark.kernel
@pytest.mark.peer
def test_events_of_this_kernel_read_as_trace_cmd_prints_them(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    made = tmp_path / "trace.dat"
    events = ["sched", "raw_syscalls", "irq", "timer", "kmem", "block", "workqueue", "ftrace/print", "signal", "task"]
    made.write_bytes(record(find_tracefs(), events, ["ls", "-l", "/usr"]))
    theirs = [line for line in report(made) if not any(f" {name}" in line for name in READ_WRONG_BY_PEER)]
    ours = [line for line in lines(made) if not any(f" {name}" in line for name in READ_WRONG_BY_PEER)]
    assert len(theirs) > 1000
    assert ours == theirs


@pytest.mark.kernel
@pytest.mark.peer
def test_losses_are_told_where_they_were(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    made = tmp_path / "trace.dat"
    made.write_bytes(record(find_tracefs(), ["raw_syscalls", "kmem"], ["ls", "-lR", "/usr/share"], buffer_kb=16))
    theirs = report(made)
    assert any("EVENTS DROPPED]" in line for line in theirs)
    assert lines(made) == theirs
    assert linscope.open(str(made)).lost > 0


def test_fields_are_typed() -> None:
    recording = linscope.open(str(FILES / "raw_trace.dat"))
    table = recording.tables["sched:sched_switch"]
    assert len(table) == 755
    row = recording.profile.payload(int(table.rows[0]))
    assert row is not None and isinstance(row["prev_pid"], int) and isinstance(row["next_comm"], str)
    assert recording.profile.features["TRACE_CLOCK"] == "local"
    assert not recording.profile.problems


def damaged(data: bytes) -> str:
    """What came of a damaged file: "rows", or the text of the error."""
    try:
        rows, out = linscope.open(io.BytesIO(data), tables=True).script(), io.StringIO()
        write_rows(rows, "text", out)
        assert out.getvalue() == "".join(f"{row[0]}\n" for row in rows.rows)
    except LinscopeError as error:
        assert isinstance(error, InputError), error
        return str(error)
    return "rows"


def test_a_file_that_ends_early_gives_its_first_rows_or_says_where() -> None:
    whole = (FILES / "raw_trace.dat").read_bytes()
    seen = set()
    for cut in np.linspace(1, len(whole) - 1, 100).astype(int).tolist():
        told = damaged(whole[:cut])
        assert told == "rows" or "offset" in told, (cut, told)
        seen.add(told == "rows")
    cut_pages = read_profile(io.BytesIO(whole[: len(whole) - 10_000]))
    assert 0 < len(cut_pages.samples) < 757 and cut_pages.problems
    assert seen >= {False}


@pytest.mark.slow
def test_flipped_bits_are_survived() -> None:
    whole = (FILES / "raw_trace.dat").read_bytes()
    container = read_container(whole, "")
    first_page = min(cpu.offset for buffer in container.buffers for cpu in buffer.cpus if cpu.size)
    chance = random.Random(3)
    for turn in range(500):
        data = bytearray(whole)
        for _ in range(4):
            # The formats fill most of the file; header, options and pages get their share.
            low, high = ((0, 300), (first_page - 4000, first_page), (first_page, len(whole)))[turn % 3]
            data[chance.randrange(low, high)] ^= 1 << chance.randrange(8)
        damaged(bytes(data)) if turn % 10 == 0 else read_quietly(bytes(data))


def read_quietly(data: bytes) -> None:
    with contextlib.suppress(InputError):
        read_profile(io.BytesIO(data))


def page(events: bytes, time: int, *, size: int = 4096, flags: int = 0) -> bytes:
    return (struct.pack("<QQ", time, len(events) | flags) + events).ljust(size, b"\0")


def event(kind: int, delta: int, *words: int) -> bytes:
    return struct.pack(f"<I{len(words)}I", kind | delta << 5, *words)


def test_all_kinds_of_ring_buffer_events() -> None:
    first = b"".join(
        (
            event(2, 5, 11, 12),  # 8 bytes of data
            event(30, 1, 2),  # time: 2 << 27 | 1 further on
            event(0, 3, 4 + 6, 21, 22),  # long form: 6 bytes of data, padded to 8
            event(29, 7, 4 + 4, 0),  # discarded, its time counts
            event(1, 1, 31),
            event(31, 9, 1),  # absolute: 1 << 27 | 9
            event(1, 1, 41),
            event(29, 0, 0),  # nothing follows
        )
    )
    second = event(1, 0, 51) + event(28, 0, 1)  # the last does not fit
    data = np.frombuffer(page(first, 1000) + page(second, 2000, flags=1 << 31), np.uint8)
    found = decode_pages(data, 4096)
    stretch = (2 << 27) + 1
    now = 1005 + stretch + 3
    assert found.time.tolist() == [1005, now, now + 8, (1 << 27) + 10, 2000]
    assert found.size.tolist() == [8, 6, 4, 4, 4]
    assert [int(data[at]) for at in found.at] == [11, 21, 31, 41, 51]
    assert found.page.tolist() == [0, 0, 0, 0, 1]
    assert found.missed == {1: -1}
    assert list(found.damaged) == [1]


def test_values_of_trace_printk_lie_as_vbin_printf_put_them() -> None:
    fields = tuple(
        Field(name, type_, 0, size, False, 0, "")
        for name, type_, size in (("ip", "unsigned long", 8), ("fmt", "const char *", 8), ("buf", "u32", 0))
    )
    form = EventFormat("ftrace", "bprint", 5, (), fields, '"%ps: %s", (void *)REC->ip, REC->fmt')
    text = "%c %hd %d %s %llx %5.2s|%pS %*d\n"
    printer = binary_printer(form, PrintContext(strings={16: text}, symbol=lambda address: ("f", 4)))
    assert printer is not None
    data = struct.pack("<bxhi", 65, -2, -3) + b"abc\0" + struct.pack("<Q", 1 << 40) + b"wxyz\0\0\0\0"
    data += struct.pack("<Qii", 99, 4, 7)
    assert printer.text(1, 16, data) == "f: A -2 -3 abc 10000000000    wx|f+0x4    7\n"
    assert printer.text(1, 17, data) == "f: (NO FORMAT FOUND at 11)"
