"""A script that runs live while it is recorded: its replay prints the same, byte for byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="programs are loaded into the kernel: run as root"),
]
WORKLOAD = [sys.executable, "-S", "-E", str(Path(__file__).with_name("workload.py"))]
TOOLS = Path("/usr/sbin")
OPEN = "tracepoint:syscalls:sys_enter_openat /pid == cpid/ "
OPENED = "tracepoint:syscalls:sys_exit_openat "
FORK = "tracepoint:sched:sched_process_fork /pid == cpid/ "
SCRIPTS = {
    "strings": OPEN + r'{ printf("%s %s %x\n", comm, str(args.filename), args.flags); @[str(args.filename)]++ }',
    "times": OPEN + "{ @s[tid] = nsecs } " + OPENED + "/@s[tid]/ { @h = hist(nsecs - @s[tid]); @e = stats(elapsed); "
    "@r[args.ret < 0] = count(); delete(@s, tid) } END { clear(@s) }",
    "words": r'tracepoint:syscalls:sys_enter_execve /ppid == cpid/ { printf("%d ", uid); join(args.argv, "|") }',
    "structs": "tracepoint:syscalls:sys_enter_clock_nanosleep /pid == cpid/ "
    r'{ printf("%ld %ld\n", args.rqtp->tv_sec, args.rqtp->tv_nsec); @ = sum(args.rqtp->tv_nsec); '
    "$a = args.rqtp->tv_nsec; @v[tid, $a] = $a + 1 }",
    "tasks": FORK + r'{ printf("%d %s %d %d %s\n", ppid, pcomm, uid, gid, comm); @[args.child_comm, cgroup] = count(); '
    "print((uid, curtask->tgid == pid, username)) }",
    "threads": "tracepoint:syscalls:sys_enter_newfstatat,tracepoint:syscalls:sys_enter_statx /pid == cpid/ "
    "{ @[comm, tid != pid, probe] = count() }",
    "kernel stacks": "tracepoint:sched:sched_process_fork,tracepoint:sched:sched_process_exit /pid == cpid/ "
    "{ @[kstack] = count(); @p[kstack(perf, 3)] = count() }",
    "user stacks": OPEN + "{ @[ustack] = count(); @r[ustack(raw, 2)] = count() }",
    "samples": "profile:hz:499 /pid == cpid/ { @[comm, usermode] = count(); @c = count(); @n = max(nsecs) }",
    "stacks of samples": "profile:hz:199 /pid == cpid/ { @[kstack(4)] = count(); @u[ustack(4)] = count(); "
    "@w[ustack(perf, 4)] = count() }",
    "intervals": FORK + "{ @n = count(); @m = max(nsecs) } interval:ms:40 "
    r'{ printf("tick %d: %d %d %s\n", @i++, (int64)@n, (int64)@m, comm); @c[cpu] = count() }',
    "faults": "software:page-faults:1 /pid == cpid/ { @[comm] = count(); @k[kstack(1)] = count() }",
    "buffers": OPEN + r'{ printf("%r %rx\n", buf(args.filename, 16), buf(args.filename, 4)); '
    "@b[buf(args.filename, 8)] = count(); @l[strlen(str(args.filename))] = count() }",
    "variables": OPEN + '{ $n = str(args.filename); @f[tid] = args.filename; if ($n == "/etc/hostname") '
    "{ @same = count() } else { @other = count() } } " + OPENED
    + r'/@f[tid]/ { printf("%s %d\n", str(@f[tid]), args.ret); delete(@f, tid) }',
    "begin and end": r'BEGIN { printf("%s %d %d %llu\n", comm, cpid, uid, nsecs) } ' + OPEN
    + r'{ @a = avg(args.flags) } END { printf("%d %llu\n", pid, nsecs) }',
    "exit": OPEN + r'{ @n++; printf("%d\n", @n); if (@n == 3) { exit(3) } }',
}  # fmt: skip
SHIPPED = ("opensnoop", "execsnoop", "statsnoop", "killsnoop", "setuids", "naptime", "syncsnoop")


def trace(*words: str, expected: int = 0) -> str:
    """What linscope trace prints."""
    done = subprocess.run(
        [sys.executable, "-m", "linscope", "trace", *words], capture_output=True, text=True, errors="surrogateescape",
        check=False,
    )  # fmt: skip
    assert done.returncode == expected, done.stderr
    assert "not recorded" not in done.stderr, done.stderr
    return done.stdout


def compare(path: Path, folder: Path, *, expected: int = 0, ordered: bool = True) -> str:
    """Run a script live and again; returns what both print.

    ordered: it is about one thread at a time; else lines of two CPUs in the same microsecond may change places.
    """
    data = folder / "recorded.data"
    live = trace("--record-for", str(path), "-o", str(data), "--", *WORKLOAD, expected=expected)
    again = trace("--replay", str(data), str(path), expected=expected)
    if ordered:
        assert again == live
    else:
        assert sorted(again.splitlines()) == sorted(live.splitlines())
    return live


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_replay_is_equal_to_the_live_run(name: str, tmp_path: Path) -> None:
    path = tmp_path / "script.bt"
    path.write_text(SCRIPTS[name])
    live = compare(path, tmp_path, expected=3 if name == "exit" else 0)
    assert "<not recorded>" not in live
    assert len(live.splitlines()) > 3


@pytest.mark.parametrize("name", SHIPPED)
def test_tools_that_people_have(name: str, tmp_path: Path) -> None:
    path = TOOLS / f"{name}.bt"
    if not path.exists():
        pytest.skip("needs the package bpftrace")
    text = path.read_text()
    own = tmp_path / path.name
    own.write_text(text)
    compare(own, tmp_path, ordered=False)


def test_the_recording_is_one_of_perf(tmp_path: Path) -> None:
    if shutil.which("perf") is None:
        pytest.skip("needs perf")
    path, data = tmp_path / "script.bt", tmp_path / "recorded.data"
    path.write_text(SCRIPTS["strings"])
    trace("--record-for", str(path), "-o", str(data), "--", *WORKLOAD)
    found = subprocess.run(["perf", "script", "-i", str(data)], capture_output=True, check=True).stdout
    assert b"syscalls:sys_enter_openat" in found
    assert b"BPF output" in found


def test_what_cannot_be_recorded_is_said_first(tmp_path: Path) -> None:
    path = tmp_path / "script.bt"
    path.write_text("kprobe:vfs_read { exit() }")
    done = subprocess.run(
        [sys.executable, "-m", "linscope", "trace", "--record-for", str(path), "--", "true"], capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot be recorded" in done.stderr


FAMILIES = r"""
import ctypes, os, sys, threading

def start(*words, after=None):
    pid = os.fork()
    if not pid:
        if after is not None:
            after()
        os.execv(sys.argv[1], ["true", *words])
    return pid

def in_a_thread():
    ctypes.CDLL(None).prctl(15, b"helper", 0, 0, 0)
    os.waitpid(start("thread"), 0)

def orphan():
    while os.getppid() == middle:
        os.sched_yield()

os.waitpid(start("child"), 0)
thread = threading.Thread(target=in_a_thread)
thread.start()
thread.join()
ended, end = os.pipe()
if not (middle := os.fork()):
    middle = os.getpid()
    start("orphan", after=orphan)
    os._exit(0)
os.close(end)
os.waitpid(middle, 0)
os.read(ended, 1)  # until the orphan has ended, too
"""


def test_parents_of_a_recording_are_those_of_the_live_run(tmp_path: Path) -> None:
    """Recorded from outside while a script runs live; who takes in an orphan is in no record."""
    data, tables = tmp_path / "recorded.data", tmp_path / "tables"
    program = tmp_path / "families.py"
    program.write_text(FAMILIES)
    child = tmp_path / f"kin{os.getpid()}"  # a name that nobody else has
    child.symlink_to("/bin/true")
    values = "pid, leader_tid, ppid, pcomm, leader_comm"
    condition = f'/comm == "{child.name}"/'
    script = f'tracepoint:sched:sched_process_exec {condition} {{ printf("%d %d %d %s %s\\n", {values}) }}'
    linscope = [sys.executable, "-m", "linscope"]
    done = subprocess.run(
        [*linscope, "record", "-e", "sched:sched_process_exec", "-o", str(data), "--", *linscope, "trace", "-q", "-e",
         script, "-c", f"{sys.executable} -S -E {program} {child}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    live = [line.split() for line in done.stdout.splitlines() if line.endswith(child.name)]
    assert [words[3] for words in live[:2]] == [Path(sys.executable).name, "helper"], done
    live[2][2:4] = ["<not", "recorded>"] * 2
    subprocess.run([*linscope, "export", "--to", "parquet", str(data), "-o", str(tables)], check=True)
    for recording in (data, tables):
        again = subprocess.run(
            [*linscope, "trace", "-q", "--replay", str(recording), "-e", script], capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        assert [line.split() for line in again.stdout.splitlines() if line] == live
        assert "2 values were not recorded: parents (2)" in again.stderr
