"""The recorder beside perf record: CPU of the recorder alone, start to workload, losses.

Each line: name, peer, ours, ratio.  CPU is user + system time of the recorder without its workload (which
tells its own); medians of several runs, taken in turns.  Needs root and perf.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BUSY = "import time\nend = time.process_time() + 2\nwhile time.process_time() < end: sum(range(10000))"
CALLS = "import os\nf = os.getppid\nfor _ in range(600000): f()"
# the workload: tell when it began and, at its end, what it used itself
WRAP = """import os, resource, sys, time
os.write(int(sys.argv[1]), time.monotonic().hex().encode() + b"\\n")
exec(sys.argv[2])
u = resource.getrusage(resource.RUSAGE_SELF)
os.write(int(sys.argv[1]), (u.ru_utime + u.ru_stime).hex().encode() + b"\\n")
"""


def measure(recorder: list[str], options: list[str], code: str) -> tuple[float, float, int]:
    """(CPU seconds of the recorder, seconds from its start to the workload's first line, records lost)."""
    with tempfile.TemporaryDirectory() as folder:
        data = folder + "/perf.data"
        read_end, write_end = os.pipe()
        os.set_inheritable(write_end, True)
        command = [
            *recorder,
            *options,
            "-o",
            data,
            "--",
            sys.executable,
            "-S",
            "-c",
            WRAP,
            str(write_end),
            code,
        ]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.monotonic()
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        subprocess.run(
            command,
            check=True,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        os.close(write_end)
        with os.fdopen(read_end) as told:
            started, own = (float.fromhex(line) for line in told.read().split())
        total = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return total - own, started - begin, lost_records(Path(data))


def lost_records(path: Path) -> int:
    """Sum of the LOST records of a file (its data section walked record by record)."""
    blob = path.read_bytes()
    offset, size = struct.unpack_from("=QQ", blob, 40)
    end, lost = offset + size, 0
    while offset < end:
        kind, _misc, length = struct.unpack_from("=IHH", blob, offset)
        if kind == 2:
            lost += struct.unpack_from("=Q", blob, offset + 16)[0]
        offset += length
    return lost


def main() -> None:
    """Run all workloads and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    linscope = str(Path(__file__).resolve().parent.parent / "linscope")
    recorders = {"perf": ["perf", "record", "-q"], "linscope": [linscope, "record", "-q"]}
    tracepoint = ["-e", "syscalls:sys_enter_getppid"]
    print(f"{'workload':34}{'perf':>12}{'linscope':>12}{'ratio':>8}")
    for name, options, code in (
        ("record 99 Hz, 2 s busy", ["-F", "99", "-g"], BUSY),
        ("record 999 Hz, 2 s busy", ["-F", "999", "-g"], BUSY),
        ("record 600k tracepoint events", tracepoint, CALLS),
    ):
        results: dict[str, list[tuple[float, float, int]]] = {key: [] for key in recorders}
        for _ in range(runs):
            for key, recorder in recorders.items():
                results[key].append(measure(recorder, options, code))
        for index, what in enumerate(("CPU s", "start to workload s", "lost")):
            theirs, ours = (statistics.median(r[index] for r in results[key]) for key in ("perf", "linscope"))
            ratio = f"{ours / theirs:.2f}" if theirs else "-"
            print(
                f"{name + ': ' + what if not index else '  ' + what:34}{theirs:12.3f}{ours:12.3f}{ratio:>8}"
            )


if __name__ == "__main__":
    main()
