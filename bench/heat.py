"""Heat maps of a million system calls, beside perf script, whose text FlameScope and trace2heatmap read."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from inputs import folder
from measure import LINSCOPE, compare, median

ROUNDS = 350_000  # of three system calls, two events each
WORK = f"""
import os
with open("/dev/null", "rb", buffering=0) as source:
    for _ in range({ROUNDS}):
        os.getppid(); source.read(1); os.getppid()
"""


def recording() -> Path:
    """A recording of the system calls of one program, without call chains."""
    path = folder() / "calls.data"
    if not path.exists():
        partial = path.with_suffix(".partial")
        events = "raw_syscalls:sys_enter,raw_syscalls:sys_exit"
        command = [LINSCOPE, "record", "-e", events, "-m", "64M", "-o", str(partial), "--", sys.executable, "-c", WORK]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        partial.rename(path)
    return path


def main() -> None:
    path = str(recording())
    with tempfile.TemporaryDirectory() as scratch:
        script = median(["perf", "script", "-i", path])
        for form in ("txt", "svg", "html"):
            ours = median([LINSCOPE, "heat", path, "--event", "sys_enter..sys_exit", "-o", f"{scratch}/heat.{form}"])
            size = Path(f"{scratch}/heat.{form}").stat().st_size / 1e6
            compare(f"heat.{form} ({size:.1f} MB), perf script", script, ours, "2.5x")
        where = ["--where", "id == 110", "-f", "csv"]
        ours = median([LINSCOPE, "heat", path, "--event", "sys_enter..sys_exit", *where])
        compare("1,050,000 intervals as CSV", script, ours, "0.5x")


if __name__ == "__main__":
    main()
