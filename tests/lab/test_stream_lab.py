"""Live events and snapshots in the lab, beside the kernel's own trace_pipe and trace-cmd report."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.kernel


def test_a_snapshot_is_the_second_buffer_of_the_file(clean) -> None:
    """What was before the snapshot is in it, the rest in the file's own buffer; trace-cmd reads the same lines."""
    clean.out(
        """$linscope events record -q -e sched:sched_process_exec -e sched:sched_process_exit --trigger snapshot:1 \\
            -o snap.dat -- sh -c 'echo before > $LINSCOPE_TRACE_MARKER; true $(cat /dev/null); cat /dev/null; exit 0'
        $linscope script snap.dat > snap.ours; trace-cmd report -N snap.dat 2>/dev/null > snap.theirs"""
    )
    ours = (clean.folder / "snap.ours").read_text()
    assert ours == (clean.folder / "snap.theirs").read_text().partition("\n")[2]
    kind = [(line.startswith("snapshot:"), re.search(r": (\w+): ", line)[1]) for line in ours.splitlines()]
    first_exit = kind.index((True, "sched_process_exit")) if (True, "sched_process_exit") in kind else None
    put_aside = [name for aside, name in kind if aside]
    assert "print" in put_aside and "sched_process_exec" in put_aside
    assert first_exit is None or put_aside.count("sched_process_exit") == 1  # the one that took it
    assert [name for aside, name in kind if not aside].count("sched_process_exit") >= 1


def test_no_snapshot_no_buffer(clean) -> None:
    clean.out(
        """$linscope events record -q -e sched:sched_process_exec --trigger 'snapshot if pid == 1' -o none.dat -- true
        $linscope script none.dat > none.txt"""
    )
    assert "snapshot" not in (clean.folder / "none.txt").read_text()


def test_the_stream_shows_what_trace_pipe_shows(clean) -> None:
    """Two instances that see the same command: the same events with the same fields, in the same order."""
    clean.out(
        """mkdir $T/instances/linscope-byhand; I=$T/instances/linscope-byhand; export I
        echo 1 > $I/options/event-fork
        cat > run <<'END'
echo $$ > $I/set_event_pid; echo 1 > $I/events/sched/sched_process_exec/enable
echo 1 > $I/events/syscalls/sys_enter_openat/enable
cat /etc/hostname >/dev/null; /bin/true; cat /etc/passwd >/dev/null
END
        $linscope events stream -e sched:sched_process_exec -e syscalls:sys_enter_openat -- sh run > stream.txt
        echo 0 > $I/events/enable
        timeout 2 cat $I/trace_pipe > pipe.txt || true; rmdir $I"""
    )
    ours = re.findall(r"-(\d+) +\[\d+\] .*?: (\w+): +(.*)", (clean.folder / "stream.txt").read_text())
    theirs = re.findall(r"-(\d+) +\[\d+\] .*?: (\w+)[:(] ?(.*)", (clean.folder / "pipe.txt").read_text())
    execs = [[(pid, text) for pid, name, text in lines if name == "sched_process_exec"] for lines in (ours, theirs)]
    assert len(execs[1]) == 3
    assert execs[0][-len(execs[1]) :] == execs[1]
    opens = [[pid for pid, name, _ in lines if "openat" in name] for lines in (ours, theirs)]
    assert len(opens[1]) > 3
    assert opens[0][-len(opens[1]) :] == opens[1]
