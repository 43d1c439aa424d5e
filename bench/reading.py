"""Reading and drawing beside perf: report with call graph, flame graph, on one large recording.

perf record's file of bench/deep.c: >= 750k samples and >= 200 MB.  CPU seconds of whole processes, medians.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from inputs import deep_recording
from measure import LINSCOPE, compare, median, run


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else deep_recording(30)
    print(f"input: {path.stat().st_size / 1e6:.0f} MB")
    with tempfile.TemporaryDirectory() as folder:
        page = os.path.join(folder, "flame.html")
        script = median(["perf", "script", "--no-inline", "-i", str(path)])
        flame = median([LINSCOPE, "flame", "--no-inline", str(path), "-o", page])
        compare("flame to HTML / perf script", script, flame, ">= 8x")
        compare("script / perf script", script, run([LINSCOPE, "script", str(path)]), "none")
    report = run(["perf", "report", "--stdio", "-g", "caller", "--no-inline", "-i", str(path)])
    ours = median([LINSCOPE, "report", "-g", "caller", str(path)])
    compare("report -g caller / perf report", report, ours, ">= 10x, < 600 MB")


if __name__ == "__main__":
    main()
