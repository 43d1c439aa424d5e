"""The flame graph page: CPU time to write it, its size, and how long Chromium takes to draw it again.

Prints lines "name: value (goal)".  The goals are ours (no peer writes such a page): 100,000 frames in at most
3 MB, redrawn within 50 ms, written within 0.3 s of CPU time; 1,000,000 frames written within 1 s.
Run: .venv/bin/python bench/flame_page.py
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from linscope.picture.flame_graph import FlameGraph, Kind
from linscope.render.flame_html import render_html

BENCH = Path(__file__).resolve().parent
DEEPEST = 60


def make_graph(nodes: int, functions: int) -> FlameGraph:
    """A tree grown by chance, mostly near its youngest frames, up to 60 levels deep; always the same."""
    chance = random.Random(7)
    parent, depth = [-1], [0]
    while len(parent) < nodes:
        young = max(0, len(parent) - 400) if chance.random() < 0.85 else 0
        above = chance.randrange(young, len(parent))
        if depth[above] < DEEPEST:
            parent.append(above)
            depth.append(depth[above] + 1)
    generator = np.random.default_rng(7)
    name = generator.integers(1, functions, nodes)
    name[0] = 0
    kinds = generator.choice([Kind.KERNEL, Kind.NATIVE, Kind.NATIVE, Kind.INLINED, Kind.PYTHON], functions)
    kinds[0] = Kind.ROOT
    words = ("get", "put", "scan", "flush", "poll", "merge")
    names = ["all", *(f"module::{chance.choice(words)}_{i}" for i in range(1, functions))]
    weight = generator.geometric(0.05, nodes) * 1000
    details = ["libfoo.so"] * functions
    return FlameGraph(
        f"{nodes:,} frames", "bench/flame_page.py", "ns", "task-clock", names, details, kinds,
        np.array(parent), name, weight,
    )  # fmt: skip


def cpu_seconds(graph: FlameGraph) -> tuple[float, str]:
    """Median CPU time of five times render_html, and the page."""
    times, page = [], ""
    for _ in range(5):
        begin = time.process_time()
        page = render_html(graph)
        times.append(time.process_time() - begin)
    return statistics.median(times), page


def main() -> int:
    """Print all measurements; 1 when the browser or its driver is missing."""
    seconds, page = cpu_seconds(make_graph(100_000, 6_000))
    print(f"flame page, 100k frames, CPU of render_html: {1000 * seconds:.0f} ms (goal: 300 ms)")
    print(f"flame page, 100k frames, size: {len(page.encode()) / 1e6:.2f} MB (goal: 3 MB)")
    seconds, big = cpu_seconds(make_graph(1_000_000, 50_000))
    print(f"flame page, 1M frames, CPU of render_html: {1000 * seconds:.0f} ms (goal: 1,000 ms)")
    print(f"flame page, 1M frames, size: {len(big.encode()) / 1e6:.2f} MB")
    chromium = shutil.which("chromium")
    if not chromium or not (BENCH.parent / "frontend" / "node_modules" / "playwright-core").is_dir():
        print("redraw not measured: apt install chromium npm; npm --prefix frontend ci", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flame.html"
        path.write_text(page, encoding="utf-8")
        run = subprocess.run(
            ["node", BENCH / "flame_page.mjs", chromium, path], stdout=subprocess.PIPE, check=True
        )
    times = json.loads(run.stdout)
    for what, milliseconds in times.items():
        goal = " (goal: 50 ms)" if what in ("whole", "zoom", "zoomed", "search") else ""
        print(f"flame page, 100k frames, Chromium, {what}: {milliseconds:.1f} ms{goal}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
