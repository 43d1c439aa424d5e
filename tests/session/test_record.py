"""Recording against the running kernel; perf is the judge of the files."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from recording import CALLS_GETPPID, perf, perf_stats, run_python

import linscope
from linscope.abi import perf_file as pf
from linscope.errors import OutputError, SystemCallError, UsageError
from linscope.session.record import RecordOptions, RecordResult, record

pytestmark = [pytest.mark.kernel, pytest.mark.peer, pytest.mark.usefixtures("needs_root", "needs_perf")]

GETPPID = "syscalls:sys_enter_getppid"


def record_python(code: str, path: Path, **options: object) -> RecordResult:
    """Record this Python running code."""
    return record([sys.executable, "-S", "-c", code], RecordOptions(output=str(path), **options))  # type: ignore[arg-type]


def test_known_events_in_rows_out(tmp_path: Path) -> None:
    path = tmp_path / "perf.data"
    result = record_python(CALLS_GETPPID, path, events=(GETPPID,), period=1)
    assert result.exit_status == 0 and result.samples_lost == 0
    assert result.events == (GETPPID,)
    assert perf_stats(path)["SAMPLE"] == 23
    lines = perf("script", "-i", str(path), "-F", "comm,pid,time,event").splitlines()
    assert len(lines) == 23 and all(GETPPID in line for line in lines)
    times = [float(re.search(r" (\d+\.\d+):", line)[1]) for line in lines]  # type: ignore[index]
    assert times == sorted(times)


def test_every_section_that_perf_writes(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.data", tmp_path / "theirs.data"
    event = ["-e", "sched:sched_switch"]
    record(["sleep", "0.01"], RecordOptions(output=str(ours), events=(event[1],)))  # a sleep is a switch: a sample
    perf("record", "-q", *event, "-o", str(theirs), "--", "sleep", "0.01")

    def sections(path: Path) -> set[str]:
        missing = re.search("missing features: (.*)", perf("report", "--header-only", "-i", str(path)))
        assert missing is not None
        return set(pf.FEATURE_NAMES.values()) - set(missing[1].split())

    without_bpf = sections(theirs) - {"BPF_PROG_INFO", "BPF_BTF"}
    assert without_bpf <= sections(ours) | {"AUXTRACE", "STAT", "PMU_CAPS"}

    def described(path: Path) -> list[str]:
        kept = (
            "hostname",
            "arch",
            "nrcpus",
            "cpu",
            "total memory",
            "sibling",
            "CPU ",
            "node",
            "  L",
            "memory",
        )
        lines = perf("report", "--header-only", "-I", "-i", str(path)).splitlines()
        lines = [line.removeprefix("# ") for line in lines if "free =" not in line]
        return [line for line in lines if line.startswith(kept)]

    assert described(ours) == described(theirs), sections(ours)


def test_build_ids_and_mappings_are_the_files_own(tmp_path: Path) -> None:
    path = tmp_path / "perf.data"
    record(["/bin/ls", "/"], RecordOptions(output=str(path), frequency=999))
    listed = dict(line.split()[::-1] for line in perf("buildid-list", "-i", str(path)).splitlines())
    real = os.path.realpath("/bin/ls")
    notes = subprocess.run(["readelf", "-n", real], capture_output=True, text=True, check=True).stdout
    assert listed[real] == re.search("Build ID: (.*)", notes)[1]  # type: ignore[index]
    assert listed["[kernel.kallsyms]"] == _kernel_build_id(tmp_path)
    assert "[vdso]" in listed
    script = perf("script", "--show-mmap-events", "-i", str(path))
    theirs = tmp_path / "theirs.data"
    perf("record", "-q", "-F", "999", "-o", str(theirs), "--", "/bin/ls", "/")
    kernel = "PERF_RECORD_MMAP -1/0: .*"
    assert (
        re.search(kernel, script)[0]
        == re.search(kernel, perf("script", "--show-mmap-events", "-i", str(theirs)))[0]
    )  # type: ignore[index]


def _kernel_build_id(folder: Path) -> str:
    perf("record", "-q", "-e", "cpu-clock", "-c", "10000", "-o", str(folder / "k.data"), "--", "true")
    text = perf("buildid-list", "-k")
    return text.split()[0]


def test_call_graphs_and_several_events(tmp_path: Path) -> None:
    path = tmp_path / "perf.data"
    code = "sum(i * i for i in range(300000))"
    result = record_python(code, path, events=("cpu-clock", GETPPID), call_graph="dwarf", frequency=999)
    assert result.events == ("cpu-clock", GETPPID)
    assert "PyEval" in perf("script", "-i", str(path), "--no-inline") or perf_stats(path)["SAMPLE"] > 10


def test_default_event_falls_back_and_says_so_once(tmp_path: Path) -> None:
    result = record(["true"], RecordOptions(output=str(tmp_path / "perf.data")))
    if result.events == ("cpu-clock",):
        assert sum("cpu-clock" in note for note in result.notes) == 1
    else:
        assert result.events == ("cycles:P",)


def test_children_are_inherited_or_not(tmp_path: Path) -> None:
    code = f"import os\npid = os.fork()\n{CALLS_GETPPID}\nif pid: os.waitpid(pid, 0)"
    for inherit, expected in ((True, 46), (False, 23)):
        path = tmp_path / f"{inherit}.data"
        record_python(code, path, events=(GETPPID,), inherit=inherit)
        assert perf_stats(path)["SAMPLE"] == expected


def test_attach_to_a_process_with_threads_until_it_ends(tmp_path: Path) -> None:
    code = (
        "import os, sys, threading\nprint(flush=True)\nsys.stdin.readline()\n"
        "def work():\n  for _ in range(23): os.getppid()\n"
        "t = threading.Thread(target=work)\nt.start()\nt.join()\nwork()"
    )
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as target:
        assert target.stdin is not None and target.stdout is not None
        target.stdout.readline()
        path = tmp_path / "perf.data"
        with subprocess.Popen(
            _recorder(path, f"pids=({target.pid},), events=('{GETPPID}',)"), stderr=subprocess.PIPE, text=True
        ) as recorder:
            _wait_for_file(path, recorder)
            target.stdin.write("\n")
            target.stdin.flush()
            assert recorder.wait(60) == 0
        assert target.wait(60) == 0
    assert perf_stats(path)["SAMPLE"] == 46
    assert re.search(r"r-xp .*python", perf("script", "--show-mmap-events", "-i", str(path)))


def _recorder(path: Path, options: str, command: str = "None") -> list[str]:
    """A process that records through the API."""
    code = (
        "from linscope.session.record import record, RecordOptions\n"
        f"raise SystemExit(record({command}, RecordOptions(output={str(path)!r}, {options})).exit_status)"
    )
    return [sys.executable, "-c", code]


def _data_size(path: Path) -> int:
    """Size of the data that the header tells; it is written last of each flush."""
    try:
        with path.open("rb") as file:
            return int.from_bytes(file.read(56)[pf.FILE_HEADER_DATA_SIZE_OFFSET :], "little")
    except FileNotFoundError:
        return 0


def _wait_for_file(path: Path, recorder: subprocess.Popen[str]) -> None:
    """Until the recorder has written its first checkpoint (it then counts)."""
    while recorder.poll() is None:
        if _data_size(path):
            return
    assert recorder.stderr is not None
    raise AssertionError(recorder.stderr.read())


def test_kill_9_leaves_a_file_up_to_the_last_flush(tmp_path: Path) -> None:
    path = tmp_path / "perf.data"
    code = "import os\nwhile True: os.getppid()"
    command = repr([sys.executable, "-S", "-c", code])
    with subprocess.Popen(
        _recorder(path, f"events=('{GETPPID}',), period=1000, call_graph='fp'", command),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as recorder:
        _wait_for_file(path, recorder)
        begun = _data_size(path)
        while _data_size(path) < begun + 4096 and recorder.poll() is None:
            pass
        recorder.kill()
        recorder.wait(60)
    os.killpg(recorder.pid, signal.SIGTERM)  # the workload, of this session's own process group
    stats = perf_stats(path)
    assert stats["SAMPLE"] > 0 and stats["MMAP2"] > 0
    assert GETPPID in perf("script", "-i", str(path), "-F", "event").splitlines()[0]


def test_interrupt_ends_recording_and_workload(tmp_path: Path) -> None:
    path = tmp_path / "perf.data"
    command = repr([sys.executable, "-S", "-c", "import os\nwhile True: os.getppid()"])
    with subprocess.Popen(
        _recorder(path, f"events=('{GETPPID}',), period=1000", command), stderr=subprocess.PIPE, text=True
    ) as recorder:
        _wait_for_file(path, recorder)
        begun = _data_size(path)
        while _data_size(path) < begun + 4096 and recorder.poll() is None:
            pass
        recorder.send_signal(signal.SIGINT)
        assert recorder.wait(60) == 128 + signal.SIGTERM
    assert "SAMPLE" in perf_stats(path)


def test_a_full_disk_leaves_a_readable_file(tmp_path: Path) -> None:
    path = tmp_path / "perf.data"
    code = (
        "import resource, sys\nfrom linscope.session.record import record, RecordOptions\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300000, 300000))\n"
        "r = record([sys.executable, '-S', '-c', 'import os\\nfor _ in range(200000): os.getppid()'],"
        f" RecordOptions(output={str(path)!r}, events=('{GETPPID}',), ring_size=65536))\nprint(r.notes)"
    )
    run = run_python(code)
    assert "stopped early" in run.stdout, run.stderr
    assert 100_000 < path.stat().st_size <= 300_000
    stats = perf_stats(path)
    assert stats["SAMPLE"] > 500
    assert GETPPID in perf("script", "-i", str(path), "-F", "event").splitlines()[0]


def test_losses_are_counted_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "perf.data"
    code = "import os\nfor _ in range(200000): os.getppid()"
    result = record_python(code, path, events=(GETPPID,), ring_size=4096)
    seen = perf_stats(path)["SAMPLE"]
    assert seen + result.samples_lost >= 200_000 and result.samples_lost > 0
    assert any("lost" in note for note in result.notes)
    assert perf_stats(path)["LOST_SAMPLES"] >= 1


def test_limits_of_size(tmp_path: Path) -> None:
    code = "import os\nwhile True: os.getppid()"
    path = tmp_path / "perf.data"
    result = record_python(code, path, events=(GETPPID,), max_size=1 << 20, ring_size=1 << 16)
    assert result.bytes_written >= 1 << 20
    assert result.exit_status == 0  # we ended it, as we were asked to
    rotated = record_python(
        "import os\nfor _ in range(60000): os.getppid()",
        path,
        events=(GETPPID,),
        switch_output=1 << 20,
        ring_size=1 << 18,
    )
    assert len(rotated.paths) > 2
    samples = [perf_stats(Path(name)).get("SAMPLE", 0) for name in rotated.paths]
    assert sum(samples) + rotated.samples_lost == 60_000
    assert all("python" in perf("script", "-i", name, "-F", "comm") for name in rotated.paths[:2])


def test_compressed_and_piped(tmp_path: Path) -> None:
    packed = tmp_path / "z.data"
    record_python(CALLS_GETPPID, packed, events=(GETPPID,), compression_level=3)
    assert perf_stats(packed)["SAMPLE"] == 23
    pipe = tmp_path / "pipe.data"
    with pipe.open("wb") as out:
        command = repr([sys.executable, "-S", "-c", CALLS_GETPPID])
        subprocess.run(_recorder(Path("-"), f"events=('{GETPPID}',)", command), stdout=out, check=True)
    with pipe.open("rb") as file:
        script = subprocess.run(
            ["perf", "script", "-i", "-", "-F", "event"],
            stdin=file,
            capture_output=True,
            text=True,
            check=False,
        )
    assert script.stdout.split().count(GETPPID + ":") == 23


def test_two_at_once(tmp_path: Path) -> None:
    results: dict[int, int] = {}

    def one(number: int) -> None:
        path = tmp_path / f"{number}.data"
        subprocess.run(
            _recorder(path, f"events=('{GETPPID}',)", repr([sys.executable, "-S", "-c", CALLS_GETPPID])),
            check=True,
        )
        results[number] = perf_stats(path)["SAMPLE"]

    threads = [threading.Thread(target=one, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: 23, 1: 23}


def test_exit_status_is_the_commands(tmp_path: Path) -> None:
    options = RecordOptions(output=str(tmp_path / "perf.data"))
    assert record(["sh", "-c", "exit 3"], options).exit_status == 3
    assert record(["sh", "-c", "kill -9 $$"], options).exit_status == 137


def test_what_cannot_be_recorded(tmp_path: Path) -> None:
    output = str(tmp_path / "perf.data")
    with pytest.raises(SystemCallError, match="999999"):
        record(None, RecordOptions(output=output, pids=(999999,)))
    with pytest.raises(UsageError, match="no-such-command"):
        record(["no-such-command"], RecordOptions(output=output))
    with pytest.raises(UsageError, match="nothing to record"):
        record(None, RecordOptions(output=output))
    with pytest.raises(UsageError, match="filter"):
        record(["true"], RecordOptions(output=output, events=(GETPPID,), filters=((0, "nonsense &"),)))
    with pytest.raises(OutputError):
        record(["true"], RecordOptions(output=str(tmp_path / "no" / "such" / "folder")))
    script = tmp_path / "broken"
    script.write_bytes(b"\x7fELF nonsense")
    script.chmod(0o755)
    with pytest.raises(UsageError, match="broken"):
        record([str(script)], RecordOptions(output=output))


def test_filter(tmp_path: Path) -> None:
    path = tmp_path / "perf.data"
    event = "syscalls:sys_exit_getppid"
    record_python(CALLS_GETPPID, path, events=(event,), filters=((0, "ret == 1"),))
    assert perf_stats(path).get("SAMPLE", 0) == 0
    record_python(CALLS_GETPPID, path, events=(event,), filters=((0, "ret != 1"),))
    assert perf_stats(path)["SAMPLE"] == 23


def test_without_rights(tmp_path: Path) -> None:
    """As nobody: own user space is recorded, said once; what is forbidden names capability and sysctl."""
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o001)
    path = tmp_path / "perf.data"
    code = (
        "import ctypes, os, resource, sys\nfrom linscope.errors import PermissionDenied\n"
        "from linscope.session.record import record, RecordOptions\n"
        "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\n"  # PR_SET_DUMPABLE, which setuid took away
        f"r = record(['/bin/sh', '-c', 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done'],"
        f" RecordOptions(output={str(path)!r}))\nprint(r.events, r.notes)\n"
        "for options in (RecordOptions(system_wide=True, duration_ns=1, output='/dev/null'),"
        " RecordOptions(events=('sched:sched_switch',), pids=(1,), output='/dev/null')):\n"
        "    try: record(None, options)\n"
        "    except PermissionDenied as error: print(error.next_step)"
    )
    run = run_python(code)
    assert run.returncode == 0, run.stderr
    recorded, *refused = run.stdout.splitlines()
    if "paranoid=2" in recorded:
        assert "CAP_PERFMON" in recorded and ":u" in recorded
    assert len(refused) == 2 and all("root" in line for line in refused)
    path.chmod(0o644)
    os.chown(path, 0, 0)
    assert perf_stats(path)["SAMPLE"] > 0


def test_chosen_cpus_are_recorded_whole(tmp_path: Path) -> None:
    """perf record -C 0 -- CMD: everything on CPU 0 while CMD runs, wherever that runs."""
    path = tmp_path / "perf.data"
    words = ["record", "-q", "-C", "0", "-e", "sched:sched_switch,cpu-clock", "-o", str(path)]
    subprocess.run([sys.executable, "-m", "linscope", *words, "--", "sleep", "0.1"], check=True)
    cpus = set(perf("script", "-i", str(path), "-F", "cpu").split())
    assert cpus == {"[000]"}


def test_the_recording_before_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "perf.data"
    for name in ("true", "false"):
        record([name], RecordOptions(output=str(path), events=("dummy",)))
    for file, name in ((path, "false"), (tmp_path / "perf.data.old", "true")):
        assert f"PERF_RECORD_COMM exec: {name}:" in perf("script", "--show-task-events", "-i", str(file))


def test_what_cannot_seek_gets_the_form_of_a_pipe(tmp_path: Path) -> None:
    assert record(["true"], RecordOptions(output="/dev/null", events=("cpu-clock",))).exit_status == 0


def test_what_was_lost_is_counted_once(tmp_path: Path) -> None:
    """In the rings' LOST records and again in the totals of each event that follow them."""
    path = tmp_path / "perf.data"
    code = "import os\nfor _ in range(100000): os.getppid()"
    result = record_python(code, path, events=(GETPPID,), ring_size=4096)
    recording = linscope.open(str(path))
    assert recording.lost == result.samples_lost
    assert len(recording.samples) + recording.lost >= 100000
