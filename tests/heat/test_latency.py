"""What a heat map measures, beside the kernel's own events as perf script and trace-cmd print them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from heat_profiles import heat_profile, paired

import linscope
from linscope.analysis.latency import Question, measure
from linscope.columns.profile import Loss
from linscope.errors import UnknownNameError, UsageError
from linscope.recording import Recording


def beside_perf(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test that records with the running kernel and compares with perf."""
    ready = os.geteuid() == 0 and shutil.which("perf") is not None
    skip = pytest.mark.skipif(not ready, reason="needs root and perf: apt-get install linux-perf")
    return pytest.mark.kernel(pytest.mark.peer(skip(test)))


ROOT = Path(__file__).resolve().parents[2]
WORK = "import os,time\nfor i in range(300):\n os.getppid(); open('/dev/null').read(); i % 50 or time.sleep(0.001)"
TALK = """
import os, threading
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # from one to the other, not from an idle CPU
a, b = os.pipe(), os.pipe()
def answer():
    while os.read(a[0], 1) != b"q": os.write(b[1], b"x")
thread = threading.Thread(target=answer); thread.start()
for _ in range(300): os.write(a[1], b"x"); os.read(b[0], 1)
os.write(a[1], b"q"); thread.join()
"""


def perf_script(path: Path, fields: str) -> list[str]:
    command = ["perf", "script", "--ns", "-i", str(path), "-F", fields]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def record(folder: Path, events: str, code: str) -> Path:
    """A recording of a program of ours."""
    path = folder / "perf.data"
    command = [
        sys.executable,
        "-m",
        "linscope",
        "record",
        "-e",
        events,
        "-o",
        str(path),
        "--",
        sys.executable,
        "-c",
        code,
    ]
    subprocess.run(
        command, check=True, capture_output=True, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}
    )
    return path


def nanoseconds(text: str) -> int:
    seconds, fraction = text.split(".")
    return int(seconds) * 10**9 + int(fraction)


@beside_perf
def test_system_calls_beside_perf_script(tmp_path: Path) -> None:
    path = record(tmp_path, "raw_syscalls:sys_enter,raw_syscalls:sys_exit", WORK)
    open_calls: dict[str, int] = {}
    expected = []
    lines = [
        re.search(r"(\d+) +(\d+\.\d+): +raw_syscalls:sys_(\w+): NR (-?\d+)", line)
        for line in perf_script(path, "tid,time,event,trace")
    ]
    for match in sorted((m for m in lines if m), key=lambda m: nanoseconds(m[2])):
        tid, time, kind = match[1], nanoseconds(match[2]), match[3]
        if kind == "enter":
            open_calls[tid] = time
        elif tid in open_calls:
            expected.append((time, time - open_calls.pop(tid), int(tid)))
    points = linscope.open(path).heat("sys_enter..sys_exit").points
    found = zip(points.time_ns.tolist(), points.value.tolist(), points.tid.tolist(), strict=True)
    assert sorted(found) == sorted(expected)
    assert len(expected) > 900
    calls = linscope.open(path).heat("sys_enter..sys_exit", where="start.id == 110 && end.ret > 0").points
    assert len(calls) == 300  # getppid


@beside_perf
def test_wakeups_beside_perf_script(tmp_path: Path) -> None:
    path = record(tmp_path, "sched:sched_waking,sched:sched_switch", TALK)
    pattern = re.compile(r"(\d+\.\d+): +sched:sched_(waking|switch): (.*)")
    woken: dict[int, int] = {}
    expected = []
    lines = [pattern.search(line) for line in perf_script(path, "time,event,trace")]
    for match in sorted((m for m in lines if m), key=lambda m: nanoseconds(m[1])):
        time = nanoseconds(match[1])
        if match[2] == "waking":
            woken[int(re.search(r" pid=(\d+)", match[3])[1])] = time  # type: ignore[index]
        else:
            following = re.search(r"==> next_comm=(.+) next_pid=(\d+) ", match[3])
            assert following
            pid = int(following[2])
            if pid and pid in woken:
                expected.append((time, time - woken.pop(pid), pid, following[1]))
    points = linscope.open(path).heat("sched_waking..sched_switch").points
    names = [points.comms[i] for i in points.comm.tolist()]
    found = zip(points.time_ns.tolist(), points.value.tolist(), points.tid.tolist(), names, strict=True)
    assert sorted(found) == sorted(expected)
    assert len(expected) > 200


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("trace-cmd") is None, reason="needs trace-cmd: apt-get install trace-cmd")
def test_time_off_cpu_beside_trace_cmd(conformance: Path) -> None:
    path = str(conformance / "trace-dat" / "raw_trace.dat")
    command = ["trace-cmd", "report", "-t", "-i", path]
    for _ in range(10):  # trace-cmd 3.1 forgets the clock about one time in thirty, and prints bare nanoseconds
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if re.search(r" \d+\.\d{9}: ", text):
            break
    off: dict[int, int] = {}
    expected = []
    pattern = re.compile(r"(\d+\.\d{9}): sched_switch: +.*:(\d+) \[\d+\] \S+ ==> .*:(\d+) \[\d+\]")
    for match in pattern.finditer(text):
        time, before, after = nanoseconds(match[1]), int(match[2]), int(match[3])
        if after and after in off:
            expected.append((time, time - off.pop(after), after))
        if before:
            off[before] = time
    points = linscope.open(path).heat("sched_switch..sched_switch").points
    found = zip(points.time_ns.tolist(), points.value.tolist(), points.tid.tolist(), strict=True)
    assert sorted(found) == sorted(expected)
    assert len(expected) > 100


def test_the_default_key_is_what_both_have_and_is_told() -> None:
    points = measure(heat_profile(paired([5, 6])), Question("begin..end"))
    assert points.key_name == "id,who"
    assert any("matched by id, who" in note for note in points.notes)
    assert points.key_text(0) == "id=1 who=w1"
    assert measure(heat_profile(paired([5, 6])), Question("begin..end", key="tid")).key_name == "tid"
    assert measure(heat_profile(paired([5, 6])), Question("begin..end", key="id=bytes")).value.tolist() == []


def test_what_found_no_partner_is_counted() -> None:
    rows = [("end", 5, 1), ("begin", 10, 1), ("begin", 20, 1), ("end", 30, 1), ("begin", 40, 2)]
    points = measure(heat_profile(rows), Question("a:begin..a:end", key="id"))
    assert points.value.tolist() == [10]
    assert points.counts == {"starts": 3, "ends": 2, "repeated": 1, "open": 1, "lone_ends": 1}
    assert measure(heat_profile(rows), Question("begin..end", key="id", repeat="first")).value.tolist() == [20]


def test_a_loss_makes_an_interval_doubtful() -> None:
    profile = heat_profile(paired([100, 100]), losses=[Loss(10**9 + 50, 0, 3, -1)])
    points = measure(profile, Question("begin..end"))
    assert points.doubtful.tolist() == [True, False]
    assert any("1 intervals are doubtful" in note for note in points.notes)


def test_a_clock_that_goes_back_makes_no_negative_latency() -> None:
    rows = [("begin", 1000, 1), ("end", 900, 1), ("begin", 2000, 1), ("end", 2500, 1)]
    points = measure(heat_profile(rows), Question("begin..end"))
    assert points.value.tolist() == [500]
    assert any("the clock went back once" in note for note in points.notes)


def test_offsets_and_sizes() -> None:
    profile = heat_profile([("begin", 1_250_000_000, 3), ("begin", 90_250_000_001, 4)])
    assert measure(profile, Question("begin")).value.tolist() == [250_000_000, 250_000_001]
    sizes = measure(profile, Question("begin", by="size"))
    assert (sizes.value.tolist(), sizes.unit) == ([30, 40], "bytes")
    assert measure(profile, Question("begin", by="size", field="id", where="bytes > 30")).value.tolist() == [4]


@pytest.mark.parametrize(("question", "says"), [
    (Question("begin", by="latency"), "one event has no latency"),
    (Question("begin..end", by="size"), "is of one event"),
    (Question("begin..end", repeat="never"), "not a way to match"),
    (Question("begin..end", stack="middle"), "no such stack"),
    (Question("..end"), "not an event"),
    (Question("begin", by="colour"), "not a kind of heat map"),
    (Question("begin", by="size", field="who"), "is no number"),
    (Question("begin", key="id"), "--key is for intervals"),
    (Question("begin..end", where="nobody == 1"), "no field of these events named 'nobody'"),
    (Question("begin..end", key="nobody"), "no field of a:begin named 'nobody'"),
])  # fmt: skip
def test_questions_that_do_not_fit(question: Question, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        measure(heat_profile(paired([5])), question)


def test_an_unknown_event_offers_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean begin"):
        measure(heat_profile(paired([5])), Question("begn..end"))


def test_a_selection_is_exact_and_its_flame_graph_is_of_it() -> None:
    picture = Recording(heat_profile(paired([100, 2000, 300_000]))).heat("begin..end")
    chosen = picture.select((None, None), (100, 300_000))
    assert chosen.points.value.tolist() == [100, 2000]
    graph = chosen.flame().graph
    assert graph.total() == 2100 and graph.unit == "ns" and "begin" in graph.names
    rows = [json.loads(json.dumps(list(row))) for row in chosen.rows(texts=True).rows]
    assert [row[2] for row in rows] == [100, 2000]
    assert picture.select((0, 1)).text().rstrip().endswith("no intervals to show")
