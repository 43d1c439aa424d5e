"""Decoding perf.data: MB/s of one core, from a warm file: the scan alone, and all tables of a Profile.

Prints: name, ours, goal.  Medians of several runs; CPU time of this process.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from inputs import deep_recording

from linscope.formats.perf_data.reader import open_perf_data

GOAL_MB_PER_S = 300


def scan_only(path: str) -> int:
    """Records to columns and interned stacks; the columns of each chunk are dropped."""
    with open_perf_data(path) as opened:
        return sum(item.scanned.sample_records for item in opened.records() if hasattr(item, "scanned"))


def whole(path: str) -> int:
    """All tables."""
    with open_perf_data(path) as opened:
        return len(opened.read().samples)


def rate(work: Callable[[str], int], path: Path, runs: int = 5) -> tuple[float, int]:
    """(MB per CPU second, samples)."""
    seconds = []
    samples = work(str(path))
    for _ in range(runs):
        begin = time.process_time()
        work(str(path))
        seconds.append(time.process_time() - begin)
    return path.stat().st_size / 1e6 / statistics.median(seconds), samples


def main() -> None:
    """Measure the file named, or the one of bench/inputs.py."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else deep_recording(30)
    print(f"input: {path.stat().st_size / 1e6:.0f} MB")
    for name, work in (("decode: scan", scan_only), ("decode: all tables", whole)):
        speed, samples = rate(work, path)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{name:<24} ours {speed:7.0f} MB/s {samples:>9,} samples, peak {peak:5.0f} MB   "
            f"goal {GOAL_MB_PER_S} MB/s"
        )


if __name__ == "__main__":
    main()
