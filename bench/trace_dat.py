"""trace.dat beside trace-cmd report: decoding to typed columns, printing as text; the start of a small file.

The recording: two processes that hand bytes back and forth through pipes and sleep now and then, with sched_switch,
sched_waking, raw_syscalls, irq and timer events of these processes alone; its pages, repeated later and later until
they hold three million events, are written by linscope's own writer (version 7, not compressed; and by zstd).
Prints: name, peer, ours, ratio.  CPU time of whole processes, medians.  Needs root and trace-cmd.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "formats"))

import numpy as np
from ftrace_recorder import PAGE, all_tracepoints, capture
from inputs import folder
from measure import LINSCOPE, ROOT, compare, median, run

from linscope.formats.trace_dat.parts import collect_contents
from linscope.formats.trace_dat.writer import TraceBuffer, write_trace_dat
from linscope.sys.tracefs import find_tracefs

EVENTS = ["sched/sched_switch", "sched/sched_waking", "raw_syscalls", "irq", "timer"]
WANTED = 3_000_000
_PING_PONG = """
import os, sys, time
a, b = os.pipe(), os.pipe()
child = os.fork()
r, w = (a[0], b[1]) if child else (b[0], a[1])
if child: os.write(w, b"x")
for n in range(15000):
    os.read(r, 1)
    if n % 50 == 0: time.sleep(0.0001)
    os.write(w, b"x")
"""
_DECODE = "import sys, linscope; r = linscope.open(sys.argv[1], tables=True); print(len(r.samples), r.tables)"


def recording(compression: str) -> Path:
    """Three million events."""
    path = folder() / f"trace-{compression}.dat"
    if path.exists():
        return path
    tracefs = find_tracefs()
    parts = folder() / "trace-parts"
    parts.mkdir(exist_ok=True)
    files = capture(tracefs, EVENTS, [sys.executable, "-c", _PING_PONG], parts, buffer_kb=64 << 10)
    pages = [np.fromfile(file, np.uint8).reshape(-1, PAGE) for file in files]
    first = min(int(one[0, :8].view("<u8")[0]) for one in pages if len(one))
    last = max(int(one[-1, :8].view("<u8")[0]) for one in pages if len(one)) + 10**7
    rounds = 1 + WANTED * 62 // max(1, sum(map(len, pages)) * PAGE)  # bytes of an event, with its head
    cpus: list[tuple[int, str | int, int | None]] = []
    for cpu, one in enumerate(pages):
        target = parts / f"repeated{cpu}"
        with open(target, "wb") as out:
            for number in range(rounds):
                again = one.copy()
                again[:, :8].view("<u8")[:] += np.uint64((last - first) * number)
                out.write(again.tobytes())
        cpus.append((cpu, str(target), None))
    contents = collect_contents(tracefs, all_tracepoints(tracefs))
    contents.buffers = [TraceBuffer(cpus=cpus)]
    partial = path.with_suffix(".partial")
    write_trace_dat(str(partial), contents, compression=compression)
    partial.rename(path)
    shutil.rmtree(parts)
    return path


def main() -> None:
    """Measure."""
    for compression in ("none", "zstd"):
        path = str(recording(compression))
        peer = median(["trace-cmd", "report", "-N", "-i", path], 3)
        ours = median([sys.executable, "-c", _DECODE, path], 3)
        compare(f"trace.dat ({compression}): to columns", peer, ours, "10x")
        text = median([LINSCOPE, "script", path], 3)
        compare(f"trace.dat ({compression}): as text", peer, text, "2x")
    small = ROOT.parent / "shared" / "conformance" / "trace-dat" / "raw_trace.dat"
    if small.exists():
        peer = median(["trace-cmd", "report", "-N", "-i", str(small)], 5)
        compare("trace.dat: 757 events as text", peer, median([LINSCOPE, "script", str(small)], 5), "1x")
    head = ["sh", "-c", f"{LINSCOPE} script {recording('none')} | head -n 1000"]
    print(f"trace.dat: first 1000 lines of all: {run(head).wall_s:.2f} s")


if __name__ == "__main__":
    main()
