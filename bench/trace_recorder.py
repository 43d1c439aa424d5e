"""The trace recorder beside trace-cmd record: CPU of the recorder alone, start to workload, events lost.

Two workloads with the same events (sched and raw_syscalls, of the workload and its children alone), the same buffer
of each CPU, no compression: one at about 250,000 events a second, one as fast as it goes.  CPU is user + system time
of the recorder and its helpers without the workload, which tells its own; medians of several runs, taken in turns.
trace-cmd traces in the top-level buffer, whose knobs it resets; it runs in a private mount namespace, so that the
tracefs that it mounts is gone at the end.  Where a kernel forbids to write to the files of the function tracer, which
trace-cmd does although it traces no function, files stand in for them.  Needs root and trace-cmd.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import LINSCOPE

BUFFER_KB = 8192
EVENTS = ("sched", "raw_syscalls")
FAST = "import os\nf = os.getppid\nfor _ in range(1_500_000): f()"
# the workload: tell when it began and, at its end, what it used itself and how long it took
WRAP = """import os, resource, sys, time
begin = time.monotonic()
os.write(int(sys.argv[1]), begin.hex().encode() + b"\\n")
exec(sys.argv[2])
u = resource.getrusage(resource.RUSAGE_SELF)
told = u.ru_utime + u.ru_stime, time.monotonic() - begin
os.write(int(sys.argv[1]), b"".join(one.hex().encode() + b"\\n" for one in told))
"""
# Where the kernel refuses these, the peer meets plain files.
PREPARE = """
mount -t tracefs nodev /sys/kernel/tracing 2>/dev/null
enabled=/proc/sys/kernel/ftrace_enabled
echo 1 2>/dev/null >$enabled || { echo 1 >$0/on; mount --bind $0/on $enabled; }
for name in set_ftrace_filter set_ftrace_notrace set_graph_function set_graph_notrace set_ftrace_pid \\
    set_ftrace_notrace_pid; do
    file=/sys/kernel/tracing/$name
    [ ! -e $file ] || (: >>$file) 2>/dev/null || { : >$0/$name; mount --bind $0/$name $file; }
done
size=/sys/kernel/tracing/buffer_size_kb
was=$(sed 's/.*expanded: \\([0-9]*\\).*/\\1/' $size)
"$@"
status=$?
[ $1 != trace-cmd ] || echo $was >$size  # which trace-cmd leaves
exit $status
"""


def steady(calls: int) -> str:
    """Code that makes so many calls, of two events each, every 8 ms, for 4.8 s."""
    return f"""import os, time
f, now = os.getppid, time.monotonic
begin = now()
for n in range(600):
    for _ in range({calls}): f()
    time.sleep(max(0, begin + (n + 1) * 0.008 - now()))
"""


class Run(NamedTuple):
    """One recording."""

    cpu_s: float
    start_s: float
    lost: int
    rate: float  # events a second


def measure(recorder: str, code: str) -> Run:
    """Record the workload once."""
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/trace.dat"
        read_end, write_end = os.pipe()
        os.set_inheritable(write_end, True)
        workload = [sys.executable, "-S", "-c", WRAP, str(write_end), code]
        events = [word for name in EVENTS for word in ("-e", name)]
        if recorder == "trace-cmd":
            words = ["trace-cmd", "record", "-q", *events, "-b", str(BUFFER_KB), "-F", "-c"]
            words += ["--compression", "none", "-o", data, *workload]
        else:
            words = [LINSCOPE, "events", "record", "-q", *events, "-m", f"{BUFFER_KB}K"]
            words += ["-z", "none", "-o", data, "--", *workload]
        words = ["unshare", "-m", "--propagation", "private", "sh", "-c", PREPARE, folder, *words]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.monotonic()
        subprocess.run(
            words,
            check=True,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        os.close(write_end)
        with os.fdopen(read_end) as told:
            started, own, took = (float.fromhex(line) for line in told.read().split())
        total = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        recorded, lost = statistics_of(data)
        return Run(total - own, started - begin, lost, (recorded + lost) / took)


def statistics_of(data: str) -> tuple[int, int]:
    """(events recorded, events lost) on all CPUs, as the kernel counted them when the recording ended."""
    words = ["unshare", "-m", "--propagation", "private", "trace-cmd", "report", "--stat", "-i", data]  # mounts, too
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    counts = re.findall(r"^(entries|read events|overrun|commit overrun|dropped events): (\d+)", text, re.MULTILINE)
    recorded = sum(int(count) for name, count in counts if name in ("entries", "read events"))
    return recorded, sum(int(count) for _, count in counts) - recorded


def main() -> None:
    """Run all workloads and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    recorders = ("trace-cmd", "linscope")
    print(f"{'workload':34}{recorders[0]:>12}{recorders[1]:>12}{'ratio':>8}")
    for name, code in (("steady", steady(1000)), ("as fast as it goes", FAST)):
        results: dict[str, list[Run]] = {recorder: [] for recorder in recorders}
        for at in range(runs + 1):
            for recorder in recorders:
                run = measure(recorder, code)
                if at:  # the first one warms the caches
                    results[recorder].append(run)
        for index, what in enumerate(("CPU s", "start to workload s", "lost", "events/s")):
            theirs, ours = (statistics.median(run[index] for run in results[one]) for one in recorders)
            ratio = f"{ours / theirs:.2f}" if theirs else "-"
            label = f"  {what}" if index else f"{name}: {what}"
            print(f"{label:34}{theirs:12.3f}{ours:12.3f}{ratio:>8}", flush=True)


if __name__ == "__main__":
    main()
