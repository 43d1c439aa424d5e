"""`linscope events stream` beside cat of the kernel's own trace_pipe: CPU of the reader alone, events lost.

The same events (raw_syscalls, of the workload alone) in private instances with the same buffer, at 1,000, 20,000 and
250,000 events a second and as fast as they come, written to a file.  CPU is user + system time of the reader without
its workload; medians of several runs, taken in turns.  Needs root.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import LINSCOPE
from trace_recorder import BUFFER_KB, FAST, WRAP, Run, steady

from linscope.session.tracing.options import EventChoice, TraceOptions
from linscope.session.tracing.session import TraceSession

_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def measure_cat(code: str, folder: str) -> Run:
    """cat trace_pipe."""
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    workload = [sys.executable, "-S", "-c", WRAP, str(write_end), code]
    options = TraceOptions(events=(EventChoice("raw_syscalls"),), buffer_size=BUFFER_KB << 10)
    with TraceSession(workload, options, environment=_ENVIRONMENT) as session:
        with open(f"{session.instance.path}/trace_pipe", "rb") as pipe, open(f"{folder}/out", "wb") as out:
            cat = subprocess.Popen(["cat"], stdin=pipe, stdout=out)
        session.run()
        os.close(write_end)
        while any(int(one["entries"]) for one in session.instance.stats().values()):
            os.sched_yield()
        cat.terminate()
        _, _, used = os.wait4(cat.pid, 0)
        cat.returncode = 0
        lost = session.lost()
    with os.fdopen(read_end) as told:
        _, _, took = (float.fromhex(line) for line in told.read().split())
    return Run(used.ru_utime + used.ru_stime, 0, lost, lines_of(f"{folder}/out") / took)


def measure_stream(code: str, folder: str) -> Run:
    """linscope events stream."""
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    words = [LINSCOPE, "events", "stream", "-e", "raw_syscalls", "-m", f"{BUFFER_KB}K", "-o", f"{folder}/out", "--"]
    words += [sys.executable, "-S", "-c", WRAP, str(write_end), code]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    told_lost = subprocess.run(
        words, check=True, close_fds=False, stderr=subprocess.PIPE, text=True, env=_ENVIRONMENT
    ).stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    os.close(write_end)
    with os.fdopen(read_end) as told:
        _, own, took = (float.fromhex(line) for line in told.read().split())
    total = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    lost = int(told_lost.split(" events LOST")[0].split()[-1].replace(",", "")) if "LOST" in told_lost else 0
    return Run(total - own, 0, lost, lines_of(f"{folder}/out") / took)


def lines_of(path: str) -> int:
    """Lines that tell of system calls."""
    with open(path, "rb") as file:
        return sum(block.count(b" NR ") for block in iter(lambda: file.read(1 << 24), b""))


def main() -> None:
    """Run all workloads and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    print(f"{'workload':34}{'trace_pipe':>12}{'linscope':>12}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for name, code in (
            ("1,000/s", steady(4)),
            ("20,000/s", steady(80)),
            ("250,000/s", steady(1000)),
            ("as fast as it goes", FAST),
        ):
            theirs, ours = [], []
            for at in range(runs + 1):
                one, other = measure_cat(code, folder), measure_stream(code, folder)
                if at:  # the first one warms the caches
                    theirs.append(one)
                    ours.append(other)
            for index, what in ((0, "CPU s"), (2, "lost"), (3, "lines/s")):
                one, other = (statistics.median(run[index] for run in results) for results in (theirs, ours))
                ratio = f"{other / one:.2f}" if one else "-"
                label = f"{name}: {what}" if not index else f"  {what}"
                print(f"{label:34}{one:12.3f}{other:12.3f}{ratio:>8}", flush=True)


if __name__ == "__main__":
    main()
