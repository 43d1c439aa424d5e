"""Events a second of scripts over a recording of 1 GB, beside what perf script takes to print it.

    python bench/replay.py [--size MB] [--perf]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import inputs
import replay_input

SCRIPTS = (
    ("count by a field", "tracepoint:raw_syscalls:sys_enter { @[args.id] = count(); }"),
    ("count by name", "tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }"),
    ("histogram", "tracepoint:raw_syscalls:sys_enter { @[args.id] = hist(args.args[2]); }"),
    ("printed each second", "tracepoint:raw_syscalls:sys_enter { @[args.id] = count(); } interval:s:1 { print(@); }"),
    ("filter and printf", 'tracepoint:raw_syscalls:sys_enter /args.id == 257/ { printf("%d %s\\n", pid, comm); }'),
    ("printf", 'tracepoint:raw_syscalls:sys_enter { printf("%d %d %s\\n", pid, args.id, comm); }'),
)


def cpu_seconds() -> float:
    """That children used which have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print a line for each script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=1024, metavar="MB")
    parser.add_argument("--perf", action="store_true", help="perf script, too")
    options = parser.parse_args()
    path = replay_input.large_recording(inputs.folder(), options.size << 20)
    size = path.stat().st_size
    events = replay_input.count_events(path)
    print(f"{path}: {size / 1e6:.0f} MB, {events:,} events")
    for name, script in SCRIPTS:
        command = [sys.executable, "-m", "linscope", "trace", "--replay", str(path), "-q", "-e", script]
        took, used = [], []
        for _ in range(3):
            begin, before = time.perf_counter(), cpu_seconds()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            took.append(time.perf_counter() - begin)
            used.append(cpu_seconds() - before)
        best, least = min(took), min(used)
        speed = f"{events / best / 1e6:6.2f} M events/s"
        print(f"{name:20} {best:6.2f} s  {speed}  {least / events * 1e9:6.0f} ns of CPU an event")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(f"memory {peak} MB, with what is mapped of the file")
    if options.perf:
        begin = time.perf_counter()
        subprocess.run(["perf", "script", "-i", str(path)], check=True, stdout=subprocess.DEVNULL)
        print(f"{'perf script':20} {time.perf_counter() - begin:6.2f} s")


if __name__ == "__main__":
    main()
