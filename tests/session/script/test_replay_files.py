"""Scripts over the recordings of ../shared/conformance, and over those that perf and trace-cmd make here."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from replayed import Made, MadeContents, replay

from linscope.errors import SourceError, UnsupportedError
from linscope.formats.perf_data.reader import open_perf_data
from linscope.session.script.replay.contents import Origin
from linscope.session.script.replay.main import list_recorded, open_contents

CONFORMANCE = Path(__file__).resolve().parents[4] / "shared" / "conformance"
TRACE_DAT = CONFORMANCE / "trace-dat" / "raw_trace.dat"
PERF_DATA = CONFORMANCE / "perf-data"
WITHOUT_A_CLOCK = ("perf.data.branch_stack_spec", "perf.data.group_desc-4.14", "perf.data.weight_struct")
CLOCK = re.compile(r"^(cpu_\w+/)?(cycles|cpu-cycles|cpu-clock)\b")
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
    script = "profile:hz:99 { @n = count(); @c[comm] = count(); @p[pid, tid, cpu] = count() }"
    if path.name in WITHOUT_A_CLOCK:
        with pytest.raises(SourceError, match="no samples of profile:hz:99 were recorded"):
            lines(script, path)
        return
    found = lines(script, path)
    with open_perf_data(path) as file:
        samples = file.read().samples
    clocks = [number for number, attr in enumerate(file.attrs) if CLOCK.search(attr.name)]
    count = int(np.count_nonzero(np.isin(samples.event, clocks)))
    for name in ("@c[", "@p["):
        assert sum(int(line.rpartition(" ")[2]) for line in found if line.startswith(name)) == count
    assert f"@n: {count}" in found
    assert count


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
def test_a_recording_of_perf_through_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "perf.pipe"
    command = ["perf", "record", "-q", "-e", "sched:sched_process_exec", "-o", "-", "--", "true"]
    with path.open("wb") as file:
        subprocess.run(command, stdout=file, stderr=subprocess.DEVNULL, check=True)
    found = lines(r'tracepoint:sched:sched_process_exec { printf("%s\n", str(args.filename)) }', path)
    assert found == [shutil.which("true")]


@pytest.fixture
def cut_off(recorded: Path, tmp_path: Path) -> Path:
    """The first half: what its events are called was behind it."""
    whole = recorded.read_bytes()
    (start, size) = struct.unpack_from("<QQ", whole, 40)
    path = tmp_path / "cut.data"
    path.write_bytes(whole[: start + size // 2 + 3])
    return path


@needs_perf
def test_the_running_kernel_names_the_events_of_a_recording_that_is_cut_off(
    cut_off: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = lines("tracepoint:raw_syscalls:sys_enter { @[args.id] = count(); @n = count() }", cut_off)
    assert int(next(line for line in found if line.startswith("@[257]")).split()[1]) > 10
    assert int(found[-1].removeprefix("@n: ")) > 100
    assert "the file ends inside a record" in capfd.readouterr().err


@needs_perf
@pytest.mark.parametrize("place", [-8, -16])
def test_the_events_of_another_kernel_stay_without_names(cut_off: Path, place: int) -> None:
    """Its text begins, or ends, somewhere else."""
    data = bytearray(cut_off.read_bytes())
    at = data.index(b"[kernel.kallsyms]_text") + place
    data[at : at + 8] = struct.pack("<Q", struct.unpack_from("<Q", data, at)[0] + 64)
    cut_off.write_bytes(data)
    with pytest.raises(SourceError) as caught:
        lines("tracepoint:raw_syscalls:sys_enter { @n = count() }", cut_off)
    assert "tracepoint not recorded: raw_syscalls:sys_enter" in str(caught.value)
    assert "cut off in front of the names of its events" in str(caught.value)


def test_what_a_script_read_on_a_big_endian_machine_is_refused() -> None:
    class Contents(MadeContents):
        origin = Origin(big_endian=True)

    contents = Contents([Made(1)])
    contents.session = {"start_ns": 1, "end_ns": 2}
    with pytest.raises(UnsupportedError, match="a recording of a script on a big-endian machine"):
        replay("begin { print(1) }", contents)
