"""Scripts of the bpftrace language, beside bpftrace in the same run; needs root.

Time until the kernel tells of a program of the child's, peak memory then, and time to the end on Ctrl-C; one program on
Time until the kernel tells of a program of the child, peak memory then, and time to the end on Ctrl-C; one program on
are started here are traced.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bpf_load import start
from measure import LINSCOPE

RUNS = 7
EVENTS = 1_000_000
# nobody has pid 0: the programs run, and count nothing of other processes
STARTS = {
    "count": "tracepoint:raw_syscalls:sys_enter /pid == 0/ {{ @ = count(); }}",
    "strings by key": "tracepoint:syscalls:sys_enter_openat /pid == 0/ {{ @[str(args{0}filename)] = count(); }}",
    "latency of disks": "tracepoint:block:block_rq_issue /pid == 0/ {{ @start[args{0}dev, args{0}sector] = nsecs; }} "
    "tracepoint:block:block_rq_complete /@start[args{0}dev, args{0}sector]/ {{ @us = hist((nsecs - "
    "@start[args{0}dev, args{0}sector]) / 1000); delete(@start[args{0}dev, args{0}sector]); }}",
}
ALL = "tracepoint:syscalls:sys_enter_* /pid == 0/ { @[probe] = count(); } interval:ms:200 { exit(); }"
PRINTF = 'tracepoint:syscalls:sys_enter_getppid /pid == cpid/ { printf("%d %s %llu\\n", pid, comm, nsecs); }'
SOURCE = """#include <sys/syscall.h>
#include <unistd.h>
int main(void) { for (long i = 0; i < %d; i++) syscall(SYS_getppid); return 0; }
"""


def commands() -> dict[str, list[str]]:
    """Ours, and the peer when it is there."""
    found = {"linscope": [LINSCOPE, "trace"]}
    if shutil.which("bpftrace"):
        found["bpftrace"] = ["bpftrace"]
    return found


def ratio(name: str, values: dict[str, float], unit: str, goal: str) -> None:
    """One line: peer, ours, ratio."""
    ours, peer = values["linscope"], values.get("bpftrace", float("nan"))
    print(
        f"{name:<40} peer {peer:9.1f} {unit:<3} ours {ours:9.1f} {unit:<3} {ours / peer:6.3f}x   goal {goal}",
        flush=True,
    )


def starts() -> None:
    """Start, memory, end."""
    for name, script in STARTS.items():
        found = {}
        for which, words in commands().items():
            text = script.format("->" if which == "bpftrace" else ".")
            start([*words, "-e", text])
            runs = [start([*words, "-e", text]) for _ in range(RUNS)]
            found[which] = [statistics.median(values) for values in zip(*runs, strict=True)]
        for place, (what, unit, goal) in enumerate(
            (("attached", "ms", "<= 0.5"), ("memory", "MB", "<= 0.3"), ("end", "ms", "-"))
        ):
            ratio(f"{name}: {what}", {which: values[place] for which, values in found.items()}, unit, goal)


def all_system_calls() -> None:
    """From start to exit."""
    found = {}
    for which, words in commands().items():
        times = []
        for _ in range(3 if which == "linscope" else 1):
            begin = time.perf_counter()
            subprocess.run([*words, "-q", "-e", ALL], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            times.append(1e3 * (time.perf_counter() - begin))
        found[which] = statistics.median(times)
    ratio("sys_enter_*: start to exit", found, "ms", "<= 0.1")


def printing() -> None:
    """A million events."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "calls.c").write_text(SOURCE % EVENTS)
        subprocess.run(["gcc", "-O2", "-o", str(folder / "calls"), str(folder / "calls.c")], check=True)
        wall, cpu, lines = {}, {}, {}
        for which, words in commands().items():
            with (folder / "out").open("wb") as out:
                begin = time.perf_counter()
                child = subprocess.Popen(
                    [*words, "-q", "-e", PRINTF, "-c", str(folder / "calls")], stdout=out, stderr=subprocess.DEVNULL
                )
                _, status, usage = os.wait4(child.pid, 0)
                child.returncode = os.waitstatus_to_exitcode(status)
            wall[which] = 1e3 * (time.perf_counter() - begin)
            cpu[which] = 1e3 * (usage.ru_utime + usage.ru_stime)
            lines[which] = float(sum(line.count(b" calls ") for line in (folder / "out").open("rb")))
        ratio("1M printf: wall", wall, "ms", "-")
        ratio("1M printf: CPU", cpu, "ms", "-")
        ratio("1M printf: lines", lines, "", "none lost")
        print(f"{'1M printf: events a second':<40} {EVENTS / wall['linscope'] * 1e3:,.0f}   goal >= 200,000")


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("needs root")
    starts()
    all_system_calls()
    printing()


if __name__ == "__main__":
    main()
