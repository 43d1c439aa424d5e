"""linscope events record on the running kernel: what it records, and how it ends when things go wrong."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from linscope.recording import open_recording
from linscope.sys.tracefs import find_tracefs

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("needs_root", "nothing_is_left")]

LINSCOPE = [sys.executable, "-m", "linscope"]
# Says that it runs, then calls getppid as often as it is told and waits for the end of its input.
CALLS = "import os, sys\nfor _ in range(int(sys.argv[1])): os.getppid()\nprint('ready', flush=True)\nsys.stdin.read()"
GETPPID = 110


@pytest.fixture
def needs_trace_cmd() -> None:
    """Skip, with the remedy, without the peer."""
    if shutil.which("trace-cmd") is None:
        pytest.skip("needs trace-cmd: apt-get install trace-cmd")


def events(*words: str, cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run linscope events."""
    return subprocess.run(
        [*LINSCOPE, "events", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        **options,  # type: ignore[call-overload]
    )


def begin(*words: str, cwd: Path, calls: int = 100) -> subprocess.Popen[str]:
    """Start linscope events with the workload CALLS; returns once that has made its calls and waits."""
    command = [*LINSCOPE, "events", *words, "--", sys.executable, "-c", CALLS, str(calls)]
    child = subprocess.Popen(
        command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def calls_in(path: Path) -> int:
    """sys_enter events of getppid."""
    table = open_recording(path, tables=True).profile.tables["raw_syscalls:sys_enter"]
    return int((table.columns["id"] == GETPPID).sum())


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


RECORD = ("record", "-e", "raw_syscalls:sys_enter", "-o", "trace.dat")


def test_only_the_command_and_its_children_are_recorded(tmp_path: Path) -> None:
    """Every call of the parent and the child, of nobody else; the exit code is the command's."""
    code = "import os\nfor _ in range(23): os.getppid()\nif os.fork() == 0:\n  for _ in range(19): os.getppid()"
    code += "\nelse:\n  os.wait(); os._exit(7)"
    done = events(*RECORD, "--", sys.executable, "-c", code, cwd=tmp_path)
    assert done.returncode == 7, done.stderr
    assert calls_in(tmp_path / "trace.dat") == 42
    assert len(set(open_recording(tmp_path / "trace.dat").profile.samples.pid.tolist())) == 2
    assert names(tmp_path) == ["trace.dat"]


def test_two_recordings_do_not_see_each_other(tmp_path: Path) -> None:
    one = begin("record", "-e", "raw_syscalls:sys_enter", "-o", "one.dat", cwd=tmp_path, calls=31)
    other = begin("record", "-e", "raw_syscalls:sys_enter", "-o", "other.dat", cwd=tmp_path, calls=37)
    for child in (one, other):
        child.communicate("")
        assert child.returncode == 0
    assert calls_in(tmp_path / "one.dat") == 31
    assert calls_in(tmp_path / "other.dat") == 37


def test_interrupted_recordings_are_whole(tmp_path: Path) -> None:
    child = begin(*RECORD, cwd=tmp_path, calls=41)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate()
    assert child.returncode == 130, errors
    assert calls_in(tmp_path / "trace.dat") == 41


def test_a_killed_recorder_leaves_what_restore_makes_a_file_of(tmp_path: Path) -> None:
    """Whole pages that were taken are there; the next start removes the instance; the folder is gone afterwards."""
    child = begin(*RECORD, "-m", "64K", cwd=tmp_path, calls=50_000)
    child.kill()
    child.communicate()
    assert names(tmp_path) == ["trace.dat.parts"]
    again = events(*RECORD, "--", "true", cwd=tmp_path)
    assert again.returncode == 1
    assert "linscope events restore trace.dat.parts" in again.stderr
    done = events("restore", "trace.dat.parts", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    recording = open_recording(tmp_path / "trace.dat", tables=True).profile
    assert not recording.problems
    assert calls_in(tmp_path / "trace.dat") + recording.lost > 40_000
    assert names(tmp_path) == ["trace.dat"]


def test_a_full_disk_is_told_and_what_there_was_can_be_restored(tmp_path: Path) -> None:
    limit = 4 << 20

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    words = (*RECORD, "--", sys.executable, "-c", "import os\nfor _ in range(200000): os.getppid()")
    done = events(*words, cwd=tmp_path, preexec_fn=limited)
    assert done.returncode == 1
    assert "the recording cannot be written" in done.stderr
    assert "linscope events restore trace.dat.parts" in done.stderr
    assert events("restore", "trace.dat.parts", cwd=tmp_path).returncode == 0
    assert calls_in(tmp_path / "trace.dat") > 10_000


def test_what_is_lost_is_counted_alike_by_the_kernel_and_by_the_reader(tmp_path: Path) -> None:
    """A buffer of the smallest size and a recorder that is stopped meanwhile: the kernel has to drop events."""
    code = "import os, sys\nos.sched_setaffinity(0, [0])\nos.kill(os.getppid(), 19)\n"
    code += "for _ in range(20000): os.getppid()\nos.kill(os.getppid(), 18)"
    done = events(*RECORD, "-m", "16K", "-C", "0", "--", sys.executable, "-c", code, cwd=tmp_path)
    told = int(re.search(r"([\d,]+) LOST", done.stderr)[1].replace(",", ""))  # type: ignore[index]
    assert told > 10_000
    assert open_recording(tmp_path / "trace.dat").profile.lost == told
    text = subprocess.run([*LINSCOPE, "script", "trace.dat"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "EVENTS DROPPED]" in text.stdout


def test_filters_and_triggers_act_in_the_kernel(tmp_path: Path, needs_trace_cmd: None) -> None:
    """Only what the filter wants; each with its stack; traceoff ends it.  trace-cmd report reads the same lines."""
    wanted = f"id == {GETPPID}"
    words = ["-e", "raw_syscalls:sys_enter", "--filter", wanted, "--trigger", f"stacktrace if {wanted}"]
    words += ["-e", "raw_syscalls:sys_exit", "--trigger", "traceoff:1 if id == 39"]
    code = "import os\nfor _ in range(3): os.getppid()\nos.getpid()\nfor _ in range(50): os.getppid()"
    done = events("record", *words, "-o", "trace.dat", "--", sys.executable, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ours = subprocess.run([*LINSCOPE, "script", "trace.dat"], cwd=tmp_path, capture_output=True, text=True, check=True)
    words = ["unshare", "-m", "--propagation", "private", "trace-cmd", "report", "-N", "-i", "trace.dat"]
    theirs = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    # trace-cmd also shows what the kernel leaves empty behind a stack.
    assert ours.stdout == theirs.stdout.partition("\n")[2].replace("\t=> 0x0\n", "")
    entered = re.findall(r"sys_enter: +NR (\d+)", ours.stdout)
    assert entered == [str(GETPPID)] * 3
    assert ours.stdout.count("kernel_stack:") == 3
    assert re.search(r"=> (do_syscall_64|el0_svc)", ours.stdout)
    assert "sys_exit" in ours.stdout.rstrip().splitlines()[-1]


def test_marks_of_the_command(tmp_path: Path) -> None:
    """What a workload writes to $LINSCOPE_TRACE_MARKER becomes an event of this recording."""
    script = 'echo here I am > "$LINSCOPE_TRACE_MARKER"'
    assert events(*RECORD, "--", "sh", "-c", script, cwd=tmp_path).returncode == 0
    table = open_recording(tmp_path / "trace.dat", tables=True).profile.tables["ftrace:print"]
    assert [text.rstrip("\n") for text in table.columns["buf"]] == ["here I am"]


def test_processes_that_end(tmp_path: Path) -> None:
    """-p of two: the recording ends with the second one."""
    children = [
        subprocess.Popen([sys.executable, "-c", CALLS, "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    pids = ",".join(str(child.pid) for child in children)
    words = [*LINSCOPE, "events", "record", "-e", "sched:sched_process_exit", "-o", "trace.dat", "-p", pids]
    recorder = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "trace.dat.parts" / "head.dat").exists():  # it is about to record
        assert recorder.poll() is None, recorder.communicate()
    while not _is_tracing(recorder.pid):
        assert recorder.poll() is None
    for child in children:
        child.communicate("")
    recorder.communicate()
    assert recorder.returncode == 0
    pids_seen = open_recording(tmp_path / "trace.dat").profile.samples.pid.tolist()
    assert sorted(pids_seen) == sorted(child.pid for child in children)


def _is_tracing(pid: int) -> bool:
    """True once that recorder has let the kernel begin."""
    switches = Path(find_tracefs(), "instances").glob(f"linscope-{pid}-*/tracing_on")
    return any(path.read_text() == "1\n" for path in switches)


def test_a_duration_ends_the_command(tmp_path: Path) -> None:
    done = events(*RECORD, "--duration", "50ms", "--", "sleep", "1000", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(open_recording(tmp_path / "trace.dat").profile.samples) > 3


def test_what_cannot_be(tmp_path: Path) -> None:
    """One sentence, the right exit code, nothing left."""
    for words, code, text in (
        (("-e", "sched:sched_switch", "--", "/no/such/command"), 2, "cannot run /no/such/command: no such file"),
        (("-e", "sched:sched_swich", "--", "true"), 2, "did you mean sched:sched_switch"),
        (("-e", "sched:sched_switch", "--filter", "nobody == 1", "--", "true"), 2, "has no field nobody"),
        (("-e", "sched:sched_switch", "--trigger", "fly", "--", "true"), 2, "does not take the trigger 'fly'"),
        (("-e", "sched:sched_switch", "-p", "999999999"), 2, "there is no process 999999999"),
        (("-e", "sched:sched_switch"), 2, "nothing to trace"),
    ):
        done = events("record", *words, cwd=tmp_path)
        assert (done.returncode, names(tmp_path)) == (code, []), done.stderr
        assert text in done.stderr


def test_nobody_may_not(tmp_path: Path) -> None:
    code = f"import os, sys\nfrom linscope.cli import run\nwords = {['events', *RECORD, '-q', '--', 'true']!r}\n"
    code += "assert run(words) == 0\n"  # loads all modules, while it can
    code += "os.setgroups([]); os.setgid(65534); os.setuid(65534)\nsys.exit(run(words))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "root" in done.stderr
    assert "Traceback" not in done.stderr


def test_restore_knows_symbols_until_the_next_boot(tmp_path: Path) -> None:
    """Stacks of a killed recording are named; a folder that another boot left has addresses."""
    child = begin(*RECORD, "-T", "-m", "64K", cwd=tmp_path, calls=2000)
    child.kill()
    child.communicate()
    shutil.copytree(tmp_path / "trace.dat.parts", tmp_path / "old.parts")
    (tmp_path / "old.parts" / "boot").write_text("of another boot\n")
    texts = []
    for name in ("trace.dat", "old"):
        assert events("restore", f"{name}.parts", "-o", name, cwd=tmp_path).returncode == 0
        words = [*LINSCOPE, "script", name, "--json"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
        texts.append(done.stdout)
        assert json.loads(done.stdout.partition("\n")[0])["event"] == "raw_syscalls:sys_enter"
    assert "do_syscall_64" in texts[0] or "el0_svc" in texts[0]
    assert "do_syscall_64" not in texts[1]
    assert subprocess.run([*LINSCOPE, "doctor", "--clean"], check=False, capture_output=True).returncode == 0


def test_a_killed_command_that_shows_leaves_a_folder_until_the_next_start(tmp_path: Path) -> None:
    """Without -o the pages lie in a folder of the temporary directory, which the next start removes."""
    where = {**os.environ, "TMPDIR": str(tmp_path)}
    libc = next(line.split()[-1] for line in open("/proc/self/maps") if "/libc.so" in line)
    words = [*LINSCOPE, "probe", "run", f"p:x {libc}:getppid", "--", sys.executable, "-c", CALLS, "3"]
    child = subprocess.Popen(words, env=where, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    assert len(names(tmp_path)) == 1
    child.kill()
    child.communicate()
    assert len(names(tmp_path)) == 1
    events("record", "-e", "raw_syscalls:sys_enter", "-o", "trace.dat", "--", "true", cwd=tmp_path, env=where)
    assert names(tmp_path) == ["trace.dat"]
