"""Scripts in the running kernel, from load to the last map."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from linscope.lang.probes.kernel_names import has_kprobes

Run = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.kernel
LOAD = f"{sys.executable} -c import_os"  # a word list: -c takes no quotes


def rows(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def test_begin_events_and_end(run: Run) -> None:
    program = 'begin { printf("%s %d\\n", comm, 3); @x = 1; @y[1, "b"] = 2; exit(3); } end { printf("end\\n"); }'
    code, out, _ = run("-e", program)
    assert code == 3
    assert out == "Attached 2 probes\nbpftrace 3\nend\n\n\n@x: 1\n@y[1, b]: 2\n"
    assert Path("/proc/self/comm").read_text().strip() != "bpftrace"


def test_quiet_and_json(run: Run) -> None:
    program = 'begin { printf("a\\"%d", 5); print((1, "x")); @h = hist(3); @s = stats(2); @c = count(); exit(); }'
    _, out, _ = run("-q", "-f", "json", "-e", program)
    assert rows(out) == [
        {"type": "printf", "data": 'a"5'},
        {"type": "value", "data": [1, "x"]},
        {"type": "map", "data": {"@c": 1}},
        {"type": "hist", "data": {"@h": [{"min": 2, "max": 3, "count": 1}]}},
        {"type": "stats", "data": {"@s": {"count": 1, "average": 2, "total": 2}}},
    ]


def test_a_tracepoint_of_a_command(run: Run) -> None:
    program = "tracepoint:syscalls:sys_enter_getppid /pid == cpid/ { @[comm] = count(); }"
    script = "import os\nfor _ in range(500): os.getppid()\n"
    path = Path("/tmp") / f"linscope-test-{os.getpid()}.py"
    path.write_text(script)
    try:
        code, out, _ = run("-e", program, "-c", f"{sys.executable} {path}")
    finally:
        path.unlink()
    assert code == 0
    assert out.splitlines()[-1].endswith("]: 500")


def test_interval_and_profile(run: Run) -> None:
    _, out, _ = run("-q", "-e", "profile:hz:500 { @p[cpu] = count(); } interval:ms:200 { exit(); }")
    assert "@p[" in out


def test_actions(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("0123456789\n")
    program = (
        f'begin {{ system("echo %s", "from the shell"); cat("{tmp_path}/file"); time("%Y\\n"); @a[1] = 5; @b = 7;'
        ' print(@a); clear(@a); zero(@b); print(@b); cat("/nonexistent"); }'
    )
    _, out, err = run("-q", "--unsafe", "-e", program)
    assert out == f"from the shell\n0123456789\n{time.strftime('%Y')}\n@a[1]: 5\n@b: 0\n\n\n@b: 0\n"
    assert err == "ERROR: failed to open file '/nonexistent' (No such file or directory)\n"


def test_places_of_mistakes(run: Run) -> None:
    _, out, err = run("-q", "-e", 'let @a = hash(1); begin { @a[1] = 1; @a[2] = 2; errorf("bad %d", 3); warnf("so"); }')
    assert "stdin:1:38-47: WARNING: Map full; can't update element." in err
    assert "stdin:1:49-68: ERROR: bad 3\n" in err and "WARNING: so\n" in err
    assert "@a[1]: 1" in out
    _, _, err = run("-q", "--no-warnings", "-e", 'begin { warnf("so"); }')
    assert err == ""


def test_output_goes_to_a_file(run: Run, tmp_path: Path) -> None:
    _, out, _ = run("-o", str(tmp_path / "out"), "-e", 'begin { printf("hi\\n"); }')
    assert out == "" and (tmp_path / "out").read_text() == "Attached 1 probe\nhi\n\n\n"


def test_many_places_of_a_file_get_one_link(run: Run) -> None:
    libc = next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/libc.so" in line)
    places = ",".join(f"uprobe:{libc}:{name}" for name in ("getppid", "getpid", "getuid", "geteuid"))
    _, out, err = run("-e", f"{places} {{ @ = count(); }} i:ms:1 {{ exit(); }}")
    assert out.startswith("Attached 5 probes\n") and err == ""


def test_a_probe_that_cannot_be_attached(run: Run) -> None:
    program = "hardware:cpu-cycles:1000000 { @ = count(); } begin { exit(); }"
    code, _, err = run("-e", program)
    if code == 0:
        pytest.skip("this machine counts cycles")
    assert code == 1 and err.startswith("stdin:1:1-28: ERROR: Unable to attach probe: hardware:cpu-cycles")
    assert "HINT: this machine has no counters of its own" in err
    code, out, err = run("-e", f"config = {{ missing_probes = warn }} {program}")
    assert code == 0 and out.startswith("Attached 1 probe\n") and "WARNING: Unable to attach probe: hardware:" in err
    code, _, err = run("-e", f"config = {{ missing_probes = ignore }} {program}")
    assert code == 0 and err == ""


def test_where_no_function_takes_a_probe_a_tracepoint_of_the_same_meaning_is_offered(run: Run) -> None:
    if has_kprobes():
        pytest.skip("this kernel has kprobes; without them it is tested in the cloud")
    for program, hint in (
        ("fentry:vfs_read { }", "tracepoint:syscalls:sys_enter_read tells the same"),
        ("fexit:vmlinux:ksys_write { }", "tracepoint:syscalls:sys_exit_write tells the same"),
        ("kprobe:__schedule { }", "CONFIG_KPROBE_EVENTS are off; tracepoint:sched:sched_switch tells the same"),
    ):
        code, _, err = run("-e", program)
        assert code == 1 and err.startswith("stdin:1:1-") and hint in err
    code, out, err = run("-e", "config = { missing_probes = warn } fentry:vfs_read { } begin { exit(); }")
    assert code == 0 and out.startswith("Attached 1 probe\n") and "WARNING: fentry:vmlinux:vfs_read: the kernel" in err


def trace(*words: str) -> subprocess.Popen[str]:
    """A tracer in a process of its own, which says when it is ready."""
    environment = {**os.environ, "__BPFTRACE_NOTIFY_PROBES_ATTACHED": "1"}
    tracer = subprocess.Popen(
        [sys.executable, "-m", "linscope", "trace", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    assert tracer.stdout is not None
    for line in tracer.stdout:
        if line == "__BPFTRACE_NOTIFY_PROBES_ATTACHED\n":
            break
    return tracer


def test_ctrl_c_ends_it_in_order(run: Run) -> None:
    tracer = trace("-e", 'i:ms:10 { @ = count(); } end { printf("bye\\n"); }')
    time.sleep(0.1)
    tracer.send_signal(signal.SIGINT)
    out, err = tracer.communicate(timeout=20)
    assert tracer.returncode == 0 and out.startswith("bye\n\n\n@: ") and err == ""


def test_a_signal_runs_its_probe(run: Run) -> None:
    tracer = trace("-e", 'self:signal:SIGUSR1 { printf("signal\\n"); exit(); } i:s:20 { exit(); }')
    tracer.send_signal(signal.SIGUSR1)
    out, _ = tracer.communicate(timeout=20)
    assert out.startswith("signal\n")


def test_the_end_of_a_process_ends_it(run: Run) -> None:
    traced = subprocess.Popen(["sleep", "30"])
    try:
        tracer = trace("-p", str(traced.pid), "-e", "i:s:20 { exit(); }")
        traced.terminate()
        traced.wait()
        tracer.communicate(timeout=20)
        assert tracer.returncode == 0
    finally:
        traced.kill()


def test_names_of_processes_that_are_gone(run: Run, tmp_path: Path) -> None:
    """Stacks in maps are named after the end of their process: its mappings were kept."""
    if not Path("/usr/bin/gcc").exists():
        pytest.skip("apt install gcc")
    (tmp_path / "a.c").write_text(
        "#include <unistd.h>\n#include <sys/syscall.h>\n"
        "__attribute__((noinline)) void ask(void){ syscall(SYS_getppid); usleep(1000); }\n"
        "int main(){ for(int i=0;i<700;i++) ask(); return 0; }\n"
    )
    subprocess.run(["gcc", "-O0", "-fno-omit-frame-pointer", "-o", tmp_path / "a", tmp_path / "a.c"], check=True)
    program = "tracepoint:syscalls:sys_enter_getppid { @[ustack(3)] = count(); } i:s:2 { exit(); }"
    tracer = trace("-e", program)
    subprocess.run([tmp_path / "a"], check=True)
    out, _ = tracer.communicate(timeout=30)
    assert "        syscall+" in out and "        main+" in out  # syscall() has no frame: ask() is left out


def test_lost_events_are_told(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "load.py"
    script.write_text("import os\nfor _ in range(60000): os.getppid()\n")
    program = 'config = { perf_rb_pages = 1 } tracepoint:syscalls:sys_enter_getppid { printf("%d\\n", pid); }'
    _, out, err = run("-q", "-e", program, "-c", f"{sys.executable} {script}")
    lost = sum(int(line.split()[1]) for line in err.splitlines() if line.startswith("Lost "))
    printed = sum(line.strip().isdigit() for line in out.splitlines())
    assert printed + lost >= 60000


WATCHED = """
import ctypes, sys
value = ctypes.c_uint64(0)
print(ctypes.addressof(value), flush=True)
for line in sys.stdin:
    value.value += 1
    print(value.value, flush=True)
"""


def test_unwatch_ends_a_watchpoint(run: Run) -> None:
    """What is written after that is not seen."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", WATCHED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    address = int(process.stdout.readline())
    script = f"""
        watchpoint:{address}:8:w {{ @n++; printf("hit\\n"); if (@n == 2) {{ unwatch({address}) }} }}
        interval:ms:20 {{ printf("tick\\n") }}
    """
    command = [sys.executable, "-m", "linscope", "trace", "-q", "-e", script, "-p", str(process.pid)]
    tracer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert tracer.stdout is not None

    def wait_for(word: str, times: int) -> None:
        for _ in range(times):
            while tracer.stdout.readline() != f"{word}\n":
                pass

    wait_for("tick", 1)
    for hits in (1, 1, 0, 0):
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        wait_for("hit", hits)
        wait_for("tick", 3)
    process.stdin.close()
    assert process.wait() == 0
    rest = tracer.stdout.read()
    assert tracer.wait() == 0
    assert "hit" not in rest
    assert rest.endswith("@n: 2\n")
