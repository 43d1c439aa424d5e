"""Scripts of the bpftrace language, beside bpftrace in the same run; needs root.

Time until the kernel tells of a program of the child's, peak memory then, and time to the end on Ctrl-C, each with what
linscope compiled before and for the first time; one program on all system calls; printf at given rates: lines that
came, and CPU.  Only processes that are started here are traced.
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
RATES = (250_000, 1_000_000, 0)  # events a second; 0: as fast as it goes
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
SOURCE = """#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + 1e-9 * t.tv_nsec; }
int main(int argc, char **argv) {
    long count = atol(argv[1]), rate = atol(argv[2]);
    double begin = now();
    for (long i = 0; i < count; i++) {
        while (rate && i > (now() - begin) * rate) ;
        syscall(SYS_getppid);
    }
    return 0;
}
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
    with tempfile.TemporaryDirectory() as cache:
        for name, script in STARTS.items():
            first = {}
            for which, words in commands().items():
                text = script.format("->" if which == "bpftrace" else ".")
                runs = []
                for _ in range(RUNS):
                    shutil.rmtree(cache, ignore_errors=True)
                    runs.append(start([*words, "-e", text], {"XDG_CACHE_HOME": cache}).attached_ms)
                first[which] = statistics.median(runs)
            ratio(f"{name}: attached, first time", first, "ms", "<= 0.5")
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
    """A million events, at some rates."""
    with tempfile.TemporaryDirectory() as name:
        calls, source = f"{name}/calls", Path(name, "calls.c")
        source.write_text(SOURCE)
        subprocess.run(["gcc", "-O2", "-o", calls, str(source)], check=True)
        for rate in RATES:
            cpu, lost = {}, {}
            for which, words in commands().items():
                runs = [_print(words, f"{calls} {EVENTS} {rate}", Path(name, "out")) for _ in range(3)]
                cpu[which] = statistics.median(one[0] for one in runs)
                lost[which] = statistics.median(one[1] for one in runs)
            what = f"1M printf at {rate // 1000}k/s" if rate else "1M printf at full speed"
            ratio(f"{what}: CPU", cpu, "ms", "-")
            ratio(f"{what}: lost", lost, "", "0" if rate == RATES[0] else "-")


def _print(words: list[str], command: str, path: Path) -> tuple[float, float]:
    """CPU of the tracer in ms, and how many lines did not come."""
    with path.open("wb") as out:
        child = subprocess.Popen([*words, "-q", "-e", PRINTF, "-c", command], stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    with path.open("rb") as lines:
        came = sum(line.count(b" calls ") for line in lines)
    return 1e3 * (usage.ru_utime + usage.ru_stime), float(EVENTS - came)


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("needs root")
    starts()
    all_system_calls()
    printing()


if __name__ == "__main__":
    main()
