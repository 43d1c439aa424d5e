"""`linscope trace --flame` and `--heat`: pictures of a script's maps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from linscope.errors import UsageError
from linscope.lang import ir
from linscope.lang import types as t
from linscope.session.script.sampling import Sampler, bucket_edges
from linscope.views.buckets import BucketCounts, bucket_heat
from linscope.views.stacks import stacks_graph

Run = Callable[..., tuple[int, str, str]]
BUSY = "import os,time\nend=time.time()+0.6\nwhile time.time()<end: os.getppid()\n"


@pytest.fixture
def busy(tmp_path: Path) -> str:
    """A command that makes system calls for a moment."""
    path = tmp_path / "busy.py"
    path.write_text(BUSY)
    return f"{sys.executable} {path}"


def test_stacks_become_a_tree() -> None:
    rows = [
        ([("cat", "", "label"), ("main", "/bin/cat\tcat.c:3", "native"), ("vfs_read", "kernel", "kernel")], 3),
        ([("cat", "", "label"), ("main", "/bin/cat\tcat.c:9", "native")], 2),
        ([], 1),
    ]
    graph = stacks_graph(rows, title="t", subtitle="", unit="events", event="@", notes=[])
    assert [graph.names[number] for number in graph.name.tolist()] == ["all", "cat", "main", "vfs_read"]
    assert graph.totals().tolist() == [6, 5, 5, 3]
    assert graph.details[2] == "/bin/cat"


def test_counts_become_a_heat_map() -> None:
    counts = BucketCounts(
        np.array([1, 2, 4, 8]), np.array([0, 1, 2]), np.array([0, 2, 2]), np.array([0, 0, 1]), np.array([5, 1, 2]),
        ["a", "b"], columns=4, start_ns=10, step_ns=100, log=True, unit="ns", what="@ns",
    )  # fmt: skip
    picture, details = bucket_heat(counts, title="t", subtitle="", notes=[], columns=2)
    assert picture.counts.tolist() == [[5, 0], [0, 0], [1, 2]]
    assert picture.x_step_ns == 200
    assert dict(picture.summary)["p50"] == 1
    assert details.count.tolist() == [5, 1, 2]
    assert details.value.tolist() == [1, 5, 5]
    with pytest.raises(UsageError, match="stayed empty"):
        none = np.empty(0, np.int64)
        BucketCounts(np.array([1, 2]), none, none, none, none, [], 1, 0, 1, True, "", "@")


def test_bucket_edges() -> None:
    assert bucket_edges(t.Histogram(0), 4) == (4, 8)
    assert bucket_edges(t.Histogram(0), 0) == (-1, 0)
    assert bucket_edges(t.LinearHistogram(0, 100, 10), 0) == (-10, 0)


class Counted:
    """A histogram map by hand."""

    def __init__(self) -> None:
        self.declared = ir.Map("@", None, t.Histogram(0))
        self.value = t.Histogram(0)
        self.before_emptied: Callable[[], None] | None = None
        self.now: dict[bytes, dict[int, int]] = {}

    def buckets(self) -> dict[bytes, dict[int, int]]:
        return {key: dict(counts) for key, counts in self.now.items()}


def test_samples_are_what_came_since_even_when_the_map_is_emptied() -> None:
    one = Counted()
    sampler = Sampler([one], 3600 * 10**9)  # type: ignore[list-item]
    one.now = {b"a": {3: 2}}
    sampler.take()
    one.now = {b"a": {3: 5, 4: 1}}
    assert one.before_emptied is not None
    one.before_emptied()
    one.now = {b"a": {3: 1}}
    sampler.take()
    assert sampler.samples[0].grown == [(0, b"a", 3, 2), (0, b"a", 3, 3), (0, b"a", 4, 1), (0, b"a", 3, 1)]


@pytest.mark.kernel
@pytest.mark.parametrize("form", (".html", ".svg", ".txt"))
def test_flame_of_kernel_and_user_stacks(run: Run, tmp_path: Path, busy: str, form: str) -> None:
    program = "tracepoint:syscalls:sys_enter_getppid /pid == cpid/ { @n[comm, kstack, ustack] = count(); }"
    code, out, err = run("--flame", str(tmp_path / f"f{form}"), "-e", program, "-c", busy)
    assert code == 0
    assert f"@n is drawn in {tmp_path}/f{form}" in err
    assert "@n[" not in out  # what is drawn is not printed
    text = (tmp_path / f"f{form}").read_text()
    if form == ".txt":
        assert "events of @n" in text
        assert "getppid" in text or "syscall_trace_enter" in text
        assert "bpf_prog" not in text


@pytest.mark.kernel
@pytest.mark.parametrize("form", (".html", ".svg", ".txt"))
def test_heat_of_histograms(run: Run, tmp_path: Path, busy: str, form: str) -> None:
    program = (
        "tracepoint:syscalls:sys_enter_getppid /pid == cpid/ { @a_ns[comm] = hist(nsecs % 1000);"
        " @b = lhist(nsecs % 100, 0, 100, 10); }"
    )
    path = tmp_path / f"heat{form}"
    code, out, _ = run("-q", "--heat", str(path), "--heat-interval", "100ms", "-e", program, "-c", busy)
    assert code == 0
    assert "@b:" in out
    for name in ("a_ns", "b"):
        assert (tmp_path / f"heat-{name}{form}").stat().st_size > 500
    if form == ".txt":
        assert "a column is 100 ms" in (tmp_path / "heat-b.txt").read_text()


@pytest.mark.kernel
def test_what_cannot_be_drawn_is_said_before_anything_runs(run: Run, tmp_path: Path) -> None:
    program = 'begin { printf("ran\\n"); @x = 1; exit(); }'
    cases = [
        (("--flame", str(tmp_path / "f.svg")), "no map of the script has a stack in its key"),
        (("--heat", str(tmp_path / "f.svg")), "no map of the script has histograms"),
        (("--heat", str(tmp_path / "f.png")), "end it in .html, .svg or .txt"),
        (("--flame", "/nonexistent/f.svg"), "no such folder"),
        (("--heat-interval", "1s"), "is for --heat"),
        (("--heat", "h.svg", "--heat-interval", "1us"), "too short"),
    ]
    for words, problem in cases:
        code, out, err = run(*words, "-e", program)
        assert code == 1
        assert problem in err
        assert "ran" not in out
