"""How benchmarks measure: CPU time and peak memory of whole processes, the median of several runs, side by side."""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LINSCOPE = str(ROOT / "linscope")


class Cost(NamedTuple):
    """What one run of a process used, its children included."""

    cpu_s: float
    wall_s: float
    peak_mb: float


def run(words: Sequence[str], *, output: str = os.devnull) -> Cost:
    """Run to the end; standard output goes to a file.  Raises CalledProcessError when it fails."""
    import time

    with open(output, "wb") as out, open(os.devnull, "wb") as errors:
        begin = time.monotonic()
        child = subprocess.Popen(words, stdout=out, stderr=errors, cwd=ROOT)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - begin
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, list(words))
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024)


def median(words: Sequence[str], runs: int = 3) -> Cost:
    """The median of each figure over some runs, after one that warms the caches."""
    costs = [run(words) for _ in range(runs + 1)][1:]
    return Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))


def compare(name: str, peer: Cost, ours: Cost, goal: str) -> None:
    """One line: name, peer, ours, ratio, memory, goal."""
    print(
        f"{name:<34} peer {peer.cpu_s:7.2f} s {peer.peak_mb:7.0f} MB   "
        f"ours {ours.cpu_s:6.2f} s {ours.peak_mb:6.0f} MB   "
        f"CPU ratio {peer.cpu_s / max(ours.cpu_s, 1e-9):6.1f}x   goal {goal}",
        flush=True,
    )
