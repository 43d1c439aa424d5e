"""Trace events in the lab: filters, triggers, snapshots and options beside the same thing by hand and by trace-cmd."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.kernel

_EXECVE = 59
_SHOW = 'cd $T/instances/linscope*; for f in %s; do echo "[$f]"; grep -v "^#" $f | sed s/:unlimited//; done'


def test_settings_are_those_made_by_hand(clean) -> None:
    """Filters, triggers, options, clock, CPU mask and buffer size of the instance, as the kernel shows them."""
    switch, read = "events/sched/sched_switch", "events/syscalls/sys_enter_read"
    files = f"{switch}/enable {switch}/filter {switch}/trigger {read}/filter {read}/enable options/sym-offset"
    files += " options/overwrite options/event-fork trace_clock tracing_cpumask"
    clean.out(
        f"""mkdir $T/instances/linscope-byhand; cd $T/instances/linscope-byhand
        echo 'prev_comm ~ "l*" || next_prio < 100' > {switch}/filter; echo 'stacktrace:5' > {switch}/trigger
        echo 'traceoff if next_prio == 1' >> {switch}/trigger
        echo 'enable_event:sched:sched_waking' >> {switch}/trigger
        echo 1 > {switch}/enable; echo 'count >= 4096 && !(fd == 0)' > {read}/filter; echo 1 > {read}/enable
        echo 1 > options/sym-offset; echo 0 > options/overwrite; echo 1 > options/event-fork; echo mono > trace_clock
        cd $OLDPWD; sh -c '{_SHOW % files}' > byhand
        for t in 'enable_event:sched:sched_waking' 'traceoff if next_prio == 1' stacktrace:5; do
            echo "!$t" > $T/instances/linscope-byhand/{switch}/trigger; done
        rmdir $T/instances/linscope-byhand
        $linscope events record -q -e sched:sched_switch --filter 'prev_comm ~ "l*" || next_prio < 100' \\
            --trigger stacktrace:5 --trigger 'traceoff if next_prio == 1' --trigger enable_event:sched:sched_waking \\
            -e sys_enter_read --filter 'count >= 4096 && !(fd == 0)' -O sym-offset -O nooverwrite --clock mono \\
            -- sh -c '{_SHOW % files}' > ours"""
    )
    assert (clean.folder / "ours").read_text() == (clean.folder / "byhand").read_text()
    assert "stacktrace" in (clean.folder / "ours").read_text()


def test_events_are_those_of_trace_cmd(clean) -> None:
    """The same command under both recorders: the same system calls; both files read alike by both."""
    clean.out(
        """$linscope events record -q -e raw_syscalls:sys_enter -o ours.dat -- cat /etc/passwd > /dev/null
        trace-cmd record -q -e raw_syscalls:sys_enter -o theirs.dat -F cat /etc/passwd > /dev/null
        for f in ours theirs; do
            trace-cmd report -N $f.dat 2>/dev/null > $f.txt; $linscope script $f.dat > $f.linscope
        done"""
    )
    calls = {}
    for name in ("ours", "theirs"):
        report = (clean.folder / f"{name}.txt").read_text().splitlines()
        lines = (clean.folder / f"{name}.linscope").read_text().splitlines()
        assert lines == [line for line in report if not line.startswith(("cpus=", "version"))]
        numbers = [int(found[1]) for line in report if (found := re.search(r"sys_enter: +NR (\d+)", line))]
        begin = len(numbers) - numbers[::-1].index(_EXECVE) if _EXECVE in numbers else 0
        calls[name] = numbers[begin:]  # behind the exec, which trace-cmd tries in each folder of PATH
    assert len(calls["ours"]) > 20
    assert calls["ours"] == calls["theirs"]


def test_a_trigger_stops_the_recording(clean) -> None:
    """traceoff at the third read: nothing is recorded behind it."""
    clean.out(
        """$linscope events record -q -e sys_enter_read --trigger traceoff:1 -e sys_enter_openat -o off.dat \\
            -- cat /etc/passwd > /dev/null; $linscope script off.dat > off.txt"""
    )
    lines = (clean.folder / "off.txt").read_text().splitlines()
    assert "sys_enter_openat" in lines[0]
    assert not any("sys_read" in line or "sys_enter_read" in line for line in lines[:-1])


def test_filters_that_cannot_work_are_explained_before_the_kernel_sees_them(clean) -> None:
    result = clean.sh(
        """for f in 'prev_pidd == 1' 'prev_comm == 1' 'prev_pid ~ "1*"' 'prev_pid == ' '(prev_pid == 1'; do
            $linscope events record -o none.dat -e sched:sched_switch --filter "$f" -- true; echo $?
        done; ls"""
    )
    assert result.stdout.split()[:5] == ["2"] * 5
    assert "none.dat" not in result.stdout
    for words in ("did you mean prev_pid", "text stands in quotes", "is a number", "expected a value", "expected )"):
        assert words in result.stderr
