"""Recordings made here, read by perf and by us: weights, stacks, the hottest functions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import linscope
from linscope.analysis.report import ReportOptions
from linscope.recording import Recording

ROOT = Path(__file__).resolve().parents[2]
BUSY = str(ROOT / "examples" / "busy.py")
PROGRAMS = {
    "python": [sys.executable, BUSY, "1.5"],
    "kernel": ["dd", "if=/dev/zero", "of=/dev/null", "bs=512", "count=600000"],
    "processes": ["sh", "-c", "seq 60000 | sort -R | sort -n | gzip -9 >/dev/null"],
    "compiler": ["gcc", "-O3", "-c", "-o", "/dev/null", str(ROOT / "bench" / "deep.c")],
}
# Names that perf 6.1 gives to PLT stubs wrongly or not at all; see docs/decisions/0004.
PLT = re.compile(r"@plt$|^\[unknown\]$|^(0x)?[0-9a-f]{12,}$")

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.peer,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("perf") is None, reason="no perf; apt-get install linux-perf"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root; run the tests as root"),
]


@pytest.fixture(scope="module", params=[(r, p) for p in PROGRAMS for r in ("perf", "linscope")], ids="-".join)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recorder, program = request.param
    path = tmp_path_factory.mktemp(program) / "perf.data"
    start = {
        "perf": ["perf", "record", "-N"],
        "linscope": [sys.executable, "-m", "linscope", "record"],
    }[recorder]
    subprocess.run(
        [*start, "-q", "-e", "cpu-clock", "-F", "2999", "-g", "-o", str(path), "--", *PROGRAMS[program]],
        check=True,
        capture_output=True,
    )
    return path


def perf(*words: str) -> str:
    return subprocess.run(["perf", *words], capture_output=True, check=True).stdout.decode(errors="replace")


def perf_stacks(path: Path) -> Counter[tuple[str, ...]]:
    """Weight by (comm, frames from the leaf), as perf script prints them."""
    text = perf("script", "--no-inline", "-F", "comm,period,ip,sym", "-i", str(path))
    found: Counter[tuple[str, ...]] = Counter()
    for block in text.split("\n\n"):
        lines = block.strip("\n").split("\n")
        head = re.match(r"\s*(.*\S)\s+(\d+)\s*$", lines[0])
        if head:
            frames = [line.strip().partition(" ")[2] or "[unknown]" for line in lines[1:]]
            found[(head[1], *frames)] += int(head[2])
    return found


def our_stacks(recording: Recording) -> Counter[tuple[str, ...]]:
    profile, resolved = recording.profile, recording.resolved
    found: Counter[tuple[str, ...]] = Counter()
    names: dict[int, tuple[str, ...]] = {}
    rows = zip(
        profile.samples.stack.tolist(), profile.samples.comm.tolist(), profile.samples.weight.tolist(), strict=True
    )
    for stack, comm, weight in rows:
        if stack not in names:
            frames = (f for f in profile.stacks.frames_of(stack) if f < len(resolved.place))
            names[stack] = tuple(resolved.name(frame) for frame in frames)
        found[(profile.comms[comm], *names[stack])] += weight
    return found


def test_stacks_and_weights_equal_perfs(recorded: Path) -> None:
    theirs, ours = perf_stacks(recorded), our_stacks(linscope.open(recorded))
    assert ours.total() == theirs.total() > 0
    # Where a chain ends in garbage perf shows none of it; we show what was before the garbage.
    theirs = Counter({stack: weight for stack, weight in theirs.items() if len(stack) > 1})
    same = sum((theirs & ours).values())
    assert same >= 0.995 * theirs.total(), (theirs - ours).most_common(5)


def test_hottest_functions_equal_perfs(recorded: Path) -> None:
    text = perf(
        "report",
        "--no-children",
        "--stdio",
        "-g",
        "none",
        "--no-inline",
        "--percent-limit",
        "0.001",
        "-i",
        str(recorded),
    )
    theirs = [
        (match[1], match[2])
        for line in text.splitlines()
        if (match := re.match(r"\s+([\d.]+)%.*\[[k.]\] (.*\S)", line)) and not PLT.search(match[2])
    ]
    rows = linscope.open(recorded).report(ReportOptions(children=False)).rows
    ours = [(f"{row[0]:.2f}", row[-2][4:]) for row in rows if not PLT.search(row[-2][4:])]
    # Entries of equal weight may come in another order: compare as sets, cut where the weight changes.
    count = min(20, len(theirs), len(ours))
    least = theirs[count - 1][0]
    assert {entry for entry in theirs[:count] if entry[0] != least} == {e for e in ours[:count] if e[0] != least}
    assert [percent for percent, _ in theirs[:count]] == [percent for percent, _ in ours[:count]]


def test_children_equal_perfs(recorded: Path) -> None:
    """Inclusive percentages of the heaviest entries: recursion counts once."""
    text = perf("report", "--children", "--stdio", "-g", "none", "--no-inline", "-i", str(recorded))
    theirs = {
        (match[3], match[4]): (float(match[1]), float(match[2]))
        for line in text.splitlines()
        if (match := re.match(r"\s+([\d.]+)%\s+([\d.]+)%\s+(\S+)\s.*\[[k.]\] (.*\S)", line))
        and not PLT.search(match[4])
    }
    ours = {
        (row[4], row[-2][4:]): (row[0], row[1])
        for row in linscope.open(recorded).report(ReportOptions(children=True)).rows
        if not PLT.search(row[-2][4:])
    }
    heavy = sorted(theirs, key=lambda key: -theirs[key][0])[:20]
    assert heavy
    wrong = [
        (key, theirs[key], ours.get(key))
        for key in heavy
        if key not in ours or not np.allclose(theirs[key], ours[key], atol=0.011)
    ]
    assert len(wrong) <= 1, wrong


def test_source_lines_are_those_of_the_samples(tmp_path: Path) -> None:
    """Each sample counts at its own line, not all of a function at one."""
    source, program, path = tmp_path / "two.c", tmp_path / "two", tmp_path / "perf.data"
    source.write_text(
        "volatile unsigned a, b;\nint main(void) {\n for (int n = 0; n < 400; n++) {\n"
        "  for (int i = 0; i < 100000; i++)\n   a += i;\n  for (int i = 0; i < 300000; i++)\n   b ^= i;\n }\n}\n"
    )
    subprocess.run(["gcc", "-g", "-O1", "-o", program, source], check=True)
    perf("record", "-q", "-e", "cpu-clock:u", "-g", "-o", str(path), "--", str(program))
    text = perf("report", "--stdio", "--no-children", "-g", "none", "--sort", "srcline", "-i", str(path))
    theirs = {line.split()[1]: line.split()[0] for line in text.splitlines() if " two.c:" in line}
    options = ReportOptions(sort=("srcline",), children=False)
    rows = linscope.open(str(path)).report(options).rows
    ours = {row[3]: f"{row[0]:.2f}%" for row in rows if row[3].startswith("two.c:")}
    assert ours == theirs and len(ours) >= 2
