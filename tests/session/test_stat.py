"""Counting against the running kernel, beside perf stat."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from recording import CALLS_GETPPID, run_python

from linscope.errors import NotInKernel, UnknownNameError, UsageError
from linscope.session.stat import DEFAULT_EVENTS, StatOptions, derive, iter_stat, stat

GETPPID = "syscalls:sys_enter_getppid"
COMMAND = [sys.executable, "-S", "-c", CALLS_GETPPID]

kernel = pytest.mark.kernel
pytestmark = pytest.mark.usefixtures("needs_root")


@kernel
def test_known_events_are_counted() -> None:
    result = stat(COMMAND, StatOptions(events=(GETPPID, "page-faults")))
    first, second = result.counts
    assert (first.event, first.value, first.running, first.note) == (GETPPID, 23, 1.0, "")
    assert second.value is not None and second.value > 100
    assert result.exit_status == 0 and result.elapsed_ns > 0


@kernel
@pytest.mark.peer
@pytest.mark.usefixtures("needs_perf")
def test_counts_equal_perfs() -> None:
    events = f"{GETPPID},page-faults,major-faults,cpu-migrations"
    run = subprocess.run(
        ["perf", "stat", "-x,", "-e", events, "--", *COMMAND], capture_output=True, text=True, check=True
    )
    theirs = {m[2]: int(m[1]) for m in re.finditer(r"^(\d+),,([\w:-]+),", run.stderr, re.M)}
    ours = {count.event: count.value for count in stat(COMMAND, StatOptions(events=(events,))).counts}
    assert ours[GETPPID] == theirs[GETPPID] == 23
    assert ours["page-faults"] == pytest.approx(theirs["page-faults"], rel=0.05)


@kernel
def test_default_events_all_have_a_row() -> None:
    result = stat(COMMAND, StatOptions())
    assert [count.event for count in result.counts] == list(DEFAULT_EVENTS)
    clock = result.counts[0]
    assert clock.unit == "msec" and clock.derived.endswith("CPUs utilized")
    assert all(count.note == "not supported" for count in result.counts if count.value is None)


@kernel
def test_repeats_have_a_deviation() -> None:
    result = stat(COMMAND, StatOptions(events=(GETPPID,), repeat=3))
    assert (result.counts[0].value, result.counts[0].deviation) == (23, 0.0)


@kernel
def test_intervals_add_up() -> None:
    code = "import os, time\nfor _ in range(23):\n  os.getppid()\n  time.sleep(0.01)"
    options = StatOptions(events=(GETPPID,), interval_ms=50)
    intervals = list(iter_stat([sys.executable, "-S", "-c", code], options))
    assert len(intervals) >= 3
    assert sum(counts[0].value or 0 for counts in intervals) == 23
    times = [counts[0].time_ns for counts in intervals]
    assert times == sorted(times)


@kernel
def test_system_wide_by_cpu() -> None:
    result = stat(COMMAND, StatOptions(events=(GETPPID,), system_wide=True, per_cpu=True))
    assert sum(count.value or 0 for count in result.counts) >= 23
    cpus = [count.cpu for count in result.counts]
    assert cpus == sorted(set(cpus)) and cpus[0] >= 0


@kernel
def test_exit_status_and_groups() -> None:
    result = stat(["sh", "-c", "exit 4"], StatOptions(events=("{page-faults,context-switches}",)))
    assert result.exit_status == 4 and len(result.counts) == 2


@kernel
def test_errors() -> None:
    with pytest.raises(UsageError, match="nothing to count"):
        stat(None, StatOptions())
    with pytest.raises(UnknownNameError):
        stat(COMMAND, StatOptions(events=("page-fault",)))
    with pytest.raises((NotInKernel, UsageError)):
        stat(COMMAND, StatOptions(events=("rffffff",)))
    assert (
        run_python("import linscope.session.stat, sys; raise SystemExit('numpy' in sys.modules)").returncode
        == 0
    )


def test_derived_figures() -> None:
    means = {"task-clock": 2e9, "cycles": 6e9, "branches": 1e9}
    assert derive("task-clock", 2e9, means, 4_000_000_000) == "0.500 CPUs utilized"
    assert derive("cycles", 6e9, means, 1) == "3.000 GHz"
    assert derive("instructions", 9e9, means, 1) == "1.50 insn per cycle"
    assert derive("branch-misses", 1e7, means, 1) == "1.00% of all branches"
    assert derive("page-faults", 3000, means, 1) == "1.500 K/sec"
