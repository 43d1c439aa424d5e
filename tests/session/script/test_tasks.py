"""Whose children processes are as time goes on, by what perf records."""

from __future__ import annotations

import numpy as np
import pytest

from linscope.columns.changes import Change
from linscope.session.script.replay.tasks import Tasks

Family = tuple[int | None, bytes | None, bytes | None]


def fork(pid: int, parent: int, *, kind: str = "fork", tid: int = 0, by: int = 0) -> Change:
    """tid, by: threads, when they are not the first ones."""
    return Change(0, kind, pid, tid or pid, parent, by or parent)


def comm(pid: int, name: bytes, *, kind: str = "comm", tid: int = 0) -> Change:
    """A thread gets a name."""
    return Change(0, kind, pid, tid or pid, comm=name)


def exit(pid: int, *, tid: int = 0) -> Change:
    """A thread ends."""
    return Change(0, "exit", pid, tid or pid)


SHELL = [fork(10, 1, kind="found"), comm(10, b"sh"), fork(20, 10)]
THREADS = [*SHELL[:2], fork(10, 10, tid=11, by=10), comm(10, b"two", tid=11)]
CASES: dict[str, tuple[list[Change], Family]] = {
    "a child has the name of its parent": (SHELL, (10, b"sh", b"sh")),
    "a name that comes later": ([*SHELL, comm(20, b"ls", kind="exec"), comm(10, b"bash")], (10, b"bash", b"ls")),
    "nothing was told": ([], (None, None, None)),
    "its parent has ended": ([*SHELL, exit(10)], (None, None, b"sh")),
    "a thread of its parent has ended": ([*THREADS, fork(20, 10), exit(10, tid=11)], (10, b"sh", b"sh")),
    "it was another thread's": ([*THREADS, fork(20, 10, by=11)], (10, b"two", b"two")),
    "of which it is the first one's now": ([*THREADS, fork(20, 10, by=11), exit(10, tid=11)], (10, b"sh", b"two")),
    "the first thread has ended": ([*THREADS, fork(20, 10), exit(10)], (10, None, b"sh")),
    "all threads have": ([*THREADS, fork(20, 10), exit(10), exit(10, tid=11)], (None, None, b"sh")),
    "exec ends the other threads": (
        [*THREADS, fork(20, 10), comm(10, b"x", kind="exec"), exit(10)], (None, None, b"sh"),
    ),
    "the number is another's": ([*SHELL, exit(20), fork(20, 30)], (30, None, None)),
    "its parent's is": ([*SHELL, fork(10, 30)], (None, None, b"sh")),
    "it was there before its parent": (
        [fork(20, 40, kind="found"), fork(40, 1, kind="found"), comm(40, b"late")], (40, b"late", None),
    ),
    "which thread made it is not known": (
        [*SHELL[:2], fork(20, 10, kind="found"), fork(10, 10, kind="found", tid=11, by=10)], (10, None, b"sh"),
    ),
    "which thread makes it is not known": (
        [*SHELL[:2], fork(10, 10, kind="found", tid=11, by=10), fork(20, 10, kind="found")], (10, None, b"sh"),
    ),
    "a child of the idle task": ([fork(20, 0, kind="found")], (0, b"swapper/0", None)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_family_of_process_20(name: str) -> None:
    changes, expected = CASES[name]
    tasks = Tasks()
    one = np.array([20], np.uint32)
    _, families = tasks.at(np.array([1], np.uint64), one, one, changes, families=True)
    assert families is not None
    assert tuple(families[1][int(families[0][0])]) == expected


def test_each_event_has_what_was_so_then() -> None:
    tasks = Tasks()
    times = np.array([1, 3, 5], np.uint64)
    pids = np.array([20, 20, 20], np.uint32)
    changes = [change._replace(time_ns=2) for change in SHELL] + [exit(10)._replace(time_ns=4)]
    names, families = tasks.at(times, pids, pids, changes, families=True)
    assert names.tolist() == [0, 1, 1]
    assert families is not None
    assert [families[1][number].parent for number in families[0].tolist()] == [None, 10, None]
