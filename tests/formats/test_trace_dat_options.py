"""Options of trace.dat that change times, clocks without seconds: the times of trace-cmd report."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from test_trace_dat import FILES, lines, report
from test_trace_dat_writer import rewritable

from linscope.formats import read_profile
from linscope.formats.trace_dat import options as opt
from linscope.formats.trace_dat.writer import write_trace_dat

START = 106439675570920  # of raw_trace.dat
CYCLES = opt.tsc2nsec_option(1 << 21, 22, 1_000_000_000)


def shifts(flags: int, samples: list[tuple[int, int, int, int]], cpus: int = 8) -> bytes:
    """TIME_SHIFT with the same (time, offset, scaling, fraction) samples for each CPU."""
    columns = list(zip(*samples, strict=True))
    count = len(samples)
    one = struct.pack(f"=I{3 * count}q", count, *(value for column in columns[:3] for value in column))
    return struct.pack("=QII", 5, flags, cpus) + one * cpus + struct.pack(f"={count}q", *columns[3]) * cpus


TWO = [(START, 1_000_000, 1, 0), (START + 1_000_000, 3_000_000, 1, 0)]
THREE = [*TWO, (START + 3_000_000, -400_000, 1, 0)]
CASES = {
    "date": ("local", [(opt.DATE, opt.date_option(1_700_000_000_000_000))]),
    "offset": ("local", [(opt.OFFSET, opt.offset_option(-5_000_000))]),
    "both": ("local", [(opt.OFFSET, opt.offset_option(7)), (opt.DATE, opt.date_option(9))]),
    "small": ("local", [(opt.OFFSET, opt.offset_option(5_000 - START))]),
    "counter": ("counter", []),
    "small counter": ("counter", [(opt.OFFSET, opt.offset_option(5_000 - START))]),
    "cycles": ("x86-tsc", []),
    "cycles to ns": ("x86-tsc", [(opt.TSC2NSEC, CYCLES)]),
    "tai": ("tai", []),
    "mono_raw": ("mono_raw", []),
    "one shift": ("local", [(opt.TIME_SHIFT, shifts(0, TWO[:1]))]),
    "two shifts": ("local", [(opt.TIME_SHIFT, shifts(0, TWO))]),
    "fractions": ("local", [(opt.TIME_SHIFT, shifts(0, [(t, o, 4, 2) for t, o, _, _ in TWO]))]),
    "interpolated": ("local", [(opt.TIME_SHIFT, shifts(1, TWO))]),
    "three shifts": ("local", [(opt.TIME_SHIFT, shifts(0, THREE, cpus=2))]),
    "same time": ("local", [(opt.TIME_SHIFT, shifts(1, [TWO[0], TWO[0], TWO[1]]))]),
    "shifted cycles": ("x86-tsc", [(opt.TIME_SHIFT, shifts(1, TWO)), (opt.TSC2NSEC, CYCLES)]),
    "guest": ("local", [(opt.GUEST, b"vm\0" + struct.pack("=QIIIII", 9, 2, 0, 100, 1, 101))]),
}


@pytest.mark.peer
@pytest.mark.parametrize("version", [6, 7])
@pytest.mark.parametrize("case", CASES)
def test_times_are_those_of_trace_cmd(case: str, version: int, tmp_path: Path) -> None:
    contents = rewritable(FILES / "raw_trace.dat", tmp_path)
    clock, options = CASES[case]
    contents.buffers[0].clock = clock
    contents.options += options
    made = tmp_path / "made.dat"
    write_trace_dat(str(made), contents, version=version, compression="none")
    ours = lines(made)
    assert len(ours) > 750
    assert ours == report(made, ticks=clock == "counter" or case == "cycles")


def test_boot_counts_nanoseconds(tmp_path: Path) -> None:
    """trace-cmd 3.1 shows them as a number; libtraceevent does not know that clock."""
    contents = rewritable(FILES / "raw_trace.dat", tmp_path)
    contents.buffers[0].clock = "boot"
    write_trace_dat(str(tmp_path / "made.dat"), contents)
    assert lines(tmp_path / "made.dat") == lines(FILES / "raw_trace.dat")


CUT = [shifts(0, TWO)[:-200], struct.pack("=QII", 1, 0, 1 << 20), struct.pack("=QII", 1, 0, 9)]


@pytest.mark.parametrize("value", CUT)
def test_shifts_that_are_cut_off_are_told(value: bytes, tmp_path: Path) -> None:
    contents = rewritable(FILES / "raw_trace.dat", tmp_path)
    contents.options.append((opt.TIME_SHIFT, value))
    made = tmp_path / "made.dat"
    write_trace_dat(str(made), contents)
    profile = read_profile(io.BytesIO(made.read_bytes()))
    assert len(profile.samples) == 757
    assert int(profile.samples.time_ns.min()) == START
    assert any("time shifts" in str(problem) for problem in profile.problems)
