"""Scripts over the recordings of ../shared/conformance, and over those that perf and trace-cmd make here."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from replayed import replay

from linscope.formats.perf_data.reader import open_perf_data
from linscope.session.script.replay.main import list_recorded, open_contents

CONFORMANCE = Path(__file__).resolve().parents[4] / "shared" / "conformance"
TRACE_DAT = CONFORMANCE / "trace-dat" / "raw_trace.dat"
PERF_DATA = CONFORMANCE / "perf-data"
needs_conformance = pytest.mark.skipif(not TRACE_DAT.exists(), reason="needs ../shared/conformance")
needs_perf = pytest.mark.skipif(shutil.which("perf") is None or os.geteuid() != 0, reason="needs perf and root")


def lines(script: str, path: Path | str) -> list[str]:
    """The lines of the output, without empty ones."""
    return [line for line in replay(script, open_contents(str(path)))[0].split("\n") if line]


@needs_conformance
def test_a_trace_dat_of_another_kernel() -> None:
    script = "tracepoint:sched:sched_switch { @[args.prev_comm] = count(); @n = count(); @t[tid == args.prev_pid]++ }"
    found = lines(script, TRACE_DAT)
    assert "@n: 755" in found
    assert "@t[true]: 755" in found or "@t[1]: 755" in found


@needs_conformance
def test_the_switches_of_a_trace_dat_come_in_the_order_of_time() -> None:
    script = (
        "tracepoint:sched:sched_switch { if (@last[cpu] && @last[cpu] != tid) { @wrong = count() } "
        "@last[cpu] = (uint32)args.next_pid; if (nsecs < @time) { @back = count() } @time = nsecs }"
    )
    found = lines(script, TRACE_DAT)
    assert "@wrong: 0" in found
    assert "@back: 0" in found


@needs_conformance
def test_the_probes_of_a_recording_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_recorded(str(TRACE_DAT), "t:sched:*") == 0
    assert capsys.readouterr().out == "tracepoint:sched:sched_switch\n"


@needs_conformance
@pytest.mark.parametrize("path", sorted(PERF_DATA.glob("perf.data.*")), ids=lambda path: path.name)
def test_the_samples_of_old_recordings(path: Path) -> None:
    with open_perf_data(path) as file:
        names = [attr.name for attr in file.attrs]
        count = len(file.read().samples)
    if file.header.big_endian or not names or "cycles" not in names[0]:
        pytest.skip("no samples of cycles")
    found = lines("profile:hz:99 { @n = count(); @c[comm] = count(); @p[pid, tid, cpu] = count() }", path)
    counted = sum(int(line.rpartition(" ")[2]) for line in found if line.startswith("@c["))
    assert f"@n: {counted}" in found
    assert 0 < counted <= count


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that opens, reads and names its thread, by perf."""
    path = tmp_path_factory.mktemp("replay") / "perf.data"
    program = (
        "import os, ctypes\n"
        "for n in range(40): os.close(os.open('/etc/hostname', os.O_RDONLY))\n"
        "ctypes.CDLL(None).prctl(15, b'renamed', 0, 0, 0)\n"
        "for n in range(30): os.getppid()\n"
    )
    subprocess.run(
        ["perf", "record", "-q", "-g", "-e", "raw_syscalls:sys_enter,syscalls:sys_exit_openat", "-o", str(path), "--",
         sys.executable, "-S", "-E", "-c", program],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return path


@needs_perf
def test_a_recording_of_perf(recorded: Path) -> None:
    script = (
        "tracepoint:raw_syscalls:sys_enter /args.id == 110/ { @[comm] = count() } "
        "tracepoint:syscalls:sys_exit_openat { @good[args.ret >= 0] = count() }"
    )
    found = lines(script, recorded)
    assert "@[renamed]: 30" in found
    assert any(line.startswith(("@good[true]", "@good[1]")) for line in found)


@needs_perf
def test_system_calls_by_name_where_only_their_numbers_were_recorded(recorded: Path) -> None:
    script = "tracepoint:syscalls:sys_enter_getppid { @g = count() } "
    found = lines(script + "tracepoint:syscalls:sys_enter_op* { @[probe] = count() }", recorded)
    assert "@g: 30" in found
    opened = next(line for line in found if line.startswith("@[tracepoint:syscalls:sys_enter_openat]"))
    assert int(opened.rpartition(" ")[2]) >= 40


@needs_perf
def test_stacks_of_perf(recorded: Path) -> None:
    found = "\n".join(lines("tracepoint:raw_syscalls:sys_enter { @[kstack] = count(); }", recorded))
    assert "syscall" in found
    assert "do_syscall_64" in found or "entry_SYSCALL" in found


@needs_perf
def test_a_recording_that_is_cut_off(recorded: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = recorded.read_bytes()
    (start, size) = struct.unpack_from("<QQ", whole, 40)
    cut = tmp_path / "cut.data"
    cut.write_bytes(whole[: start + size // 2 + 3])
    script = "tracepoint:raw_syscalls:sys_enter { @n = count() }"
    contents = open_contents(str(cut))
    if not contents.events[0].startswith("raw_syscalls"):
        pytest.skip("without the sections at its end nothing tells the events")
    replay(script, contents)
    assert "before the end" in capfd.readouterr().err
