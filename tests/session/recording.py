"""What the recording tests share: how perf sees a file, a workload whose events are known."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CALLS_GETPPID = "import os\nfor _ in range(23): os.getppid()"


def perf_stats(path: Path) -> dict[str, int]:
    """Records by kind as `perf report --stats` counts them: {"SAMPLE": 23, ...}."""
    text = perf("report", "--stats", "-i", str(path))
    aggregated = text.partition("Aggregated stats:")[2].partition(" stats:\n")[0]
    return {name: int(count) for name, count in re.findall(r"(\w+) events:\s+(\d+)", aggregated)}


def perf(*arguments: str) -> str:
    """Standard output of perf; its complaints fail the test."""
    run = subprocess.run(["perf", *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python of this environment running code."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
