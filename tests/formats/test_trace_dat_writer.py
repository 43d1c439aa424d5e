"""Writing trace.dat: trace-cmd reads what we write as we do, and a writing that fails leaves nothing."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from ftrace_recorder import all_tracepoints, capture
from test_trace_dat import FILES, damaged, lines, report

import linscope
from linscope.errors import FormatError, InputError, OutputError, UsageError
from linscope.formats.trace_dat import options as opt
from linscope.formats.trace_dat.container import read_container
from linscope.formats.trace_dat.parts import (
    begin_parts,
    collect_contents,
    pages_path,
    read_contents,
    salvage_trace_dat,
)
from linscope.formats.trace_dat.writer import TraceBuffer, TraceDatContents, write_trace_dat
from linscope.sys.tracefs import find_tracefs

KINDS = [(6, "none"), (7, "none"), (7, "zstd")]  # Debian's trace-cmd is built without zlib


def rewritable(path: Path, folder: Path) -> TraceDatContents:
    """The contents of a trace.dat of version 6, its pages in files of their own."""
    data = path.read_bytes()
    contents = read_contents(data, str(path))
    for number, buffer in enumerate(read_container(data, "").buffers):
        for cpu in buffer.cpus:
            target = pages_path(str(folder), number, cpu.cpu)
            Path(target).write_bytes(data[cpu.offset : cpu.offset + cpu.size])
            contents.buffers[number].cpus.append((cpu.cpu, target, None))
    return contents


@pytest.mark.peer
@pytest.mark.parametrize(("version", "compression"), KINDS)
def test_trace_cmd_reads_what_is_written(version: int, compression: str, tmp_path: Path) -> None:
    contents = rewritable(FILES / "trace.dat", tmp_path)
    made = tmp_path / "made.dat"
    size = write_trace_dat(str(made), contents, version=version, compression=compression)
    assert size == made.stat().st_size
    theirs = report(FILES / "trace.dat")
    assert lines(made) == theirs
    assert report(made) == theirs
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    if version == 7:
        again = tmp_path / "again.dat"
        subprocess.run(
            ["trace-cmd", "convert", "--file-version", "6", "-i", str(made), "-o", str(again)],
            check=True,
            capture_output=True,
        )
        assert report(again) == theirs


@pytest.mark.kernel
@pytest.mark.peer
@pytest.mark.parametrize(("version", "compression"), KINDS)
def test_several_instances_of_this_kernel(version: int, compression: str, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    tracefs = find_tracefs()
    buffers = []
    for name, events in (("", ["sched", "irq"]), ("calls", ["raw_syscalls"]), ("empty", [])):
        folder = tmp_path / f"buffer-{name}"
        folder.mkdir()
        files = capture(tracefs, events, ["ls", "-l", "/usr"], folder)
        buffers.append(TraceBuffer(name, "local", cpus=[(cpu, str(path), None) for cpu, path in enumerate(files)]))
    contents = collect_contents(tracefs, all_tracepoints(tracefs))
    contents.buffers = buffers
    contents.options.append((opt.TRACEID, opt.trace_id_option(77)))
    contents.options.append((opt.CPUSTAT, opt.text_option("CPU: 0\nentries: 7\n")))
    made = tmp_path / "made.dat"
    write_trace_dat(str(made), contents, version=version, compression=compression)
    theirs = report(made)
    assert sum(line.startswith("calls: ") for line in theirs) > 50
    assert any("sched_switch" in line for line in theirs)
    assert lines(made) == theirs
    kept = read_container(made.read_bytes(), "")
    assert kept.options[opt.TRACEID] == [struct.pack("=Q", 77)] and "linscope" in kept.text_option(opt.VERSION)


def test_what_a_killed_recorder_left_becomes_a_recording(tmp_path: Path) -> None:
    contents = rewritable(FILES / "trace.dat", tmp_path)
    for buffer in contents.buffers:
        buffer.cpus = []
    begin_parts(str(tmp_path), contents)
    (tmp_path / "cmdlines").write_bytes(contents.cmdlines)
    with open(pages_path(str(tmp_path), 0, 0), "ab") as file:
        file.write(b"half a page")
    made = tmp_path / "made.dat"
    salvage_trace_dat(str(tmp_path), str(made))
    assert lines(made) == lines(FILES / "trace.dat")
    assert not linscope.open(str(made)).profile.problems
    with pytest.raises(InputError, match="no parts of a recording"):
        salvage_trace_dat(str(tmp_path / "none"), str(made))
    (tmp_path / "head.dat").write_bytes(b"rubbish")
    with pytest.raises(FormatError, match=r"head\.dat"):
        salvage_trace_dat(str(tmp_path), str(made))


@pytest.mark.parametrize(("version", "compression"), KINDS)
def test_a_full_disk_leaves_nothing(version: int, compression: str, tmp_path: Path) -> None:
    contents = TraceDatContents(kallsyms=os.urandom(1 << 16))
    made = tmp_path / "made.dat"
    made.write_bytes(b"the one before")
    code = f"""
import resource, signal, sys
from linscope.errors import OutputError
from linscope.formats.trace_dat.writer import TraceDatContents, write_trace_dat
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    contents = TraceDatContents(kallsyms=bytes(range(256)) * 256)
    write_trace_dat({str(made)!r}, contents, version={version}, compression="none")
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout
    assert made.read_bytes() == b"the one before" and [path.name for path in tmp_path.iterdir()] == ["made.dat"]
    write_trace_dat(str(made), contents, version=version, compression=compression)
    with pytest.raises(OutputError, match="cannot be begun"):
        write_trace_dat(str(tmp_path / "none" / "made.dat"), contents)


def test_other_versions_and_compressions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write_trace_dat(str(tmp_path / "made.dat"), TraceDatContents(), version=5)
    with pytest.raises(UsageError):
        write_trace_dat(str(tmp_path / "made.dat"), TraceDatContents(), compression="lzma")


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    with open(pages, "wb") as file:
        file.truncate(200 << 20)
    code = f"""
import resource, sys
from linscope.formats.trace_dat.writer import TraceBuffer, TraceDatContents, write_trace_dat
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
contents = TraceDatContents(buffers=[TraceBuffer(cpus=[(0, {str(pages)!r}, None)])])
write_trace_dat({str(tmp_path / "made.dat")!r}, contents)
assert "numpy" not in sys.modules
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 32 << 10


@pytest.mark.peer
@pytest.mark.parametrize(("version", "compression"), KINDS)
def test_text_of_a_latency_tracer(version: int, compression: str, tmp_path: Path) -> None:
    text = b"# tracer: irqsoff\n#\n" + b"".join(b"  ls-12      0d..1 %4dus : lock <-unlock\n" % n for n in range(9000))
    contents = read_contents((FILES / "trace.dat").read_bytes(), "")
    contents.buffers = [TraceBuffer(text=text)]
    made = tmp_path / "made.dat"
    write_trace_dat(str(made), contents, version=version, compression=compression)
    rows = linscope.open(str(made)).script().rows
    assert [row[0] for row in rows] == text.decode().splitlines()
    assert report(made)[: text.count(b"\n")] == text.decode().splitlines()  # it prints what lies behind, too
    cut = made.read_bytes()[:-1500]
    assert damaged(cut)


def test_zlib_holds_the_same(tmp_path: Path) -> None:
    """Read by ourselves, for want of a trace-cmd that can."""
    contents = rewritable(FILES / "trace.dat", tmp_path)
    write_trace_dat(str(tmp_path / "plain.dat"), contents, compression="none")
    write_trace_dat(str(tmp_path / "packed.dat"), contents, compression="zlib")
    plain, packed = (linscope.open(str(tmp_path / name)) for name in ("plain.dat", "packed.dat"))
    assert (tmp_path / "packed.dat").stat().st_size < (tmp_path / "plain.dat").stat().st_size
    assert len(packed.samples) > 500
    assert packed.samples.to_arrow() == plain.samples.to_arrow()
