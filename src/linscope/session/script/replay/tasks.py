"""Threads and processes as time goes on: their names, and whose children they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from linscope.session.script.replay.contents import Family, Names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from linscope.columns.changes import Change

    Families = tuple[NDArray[np.uint32], Sequence[Family]]

_IDLE, _IDLE_COMM = 0, b"swapper/0"  # the parent of init and of kthreadd


class Tasks:
    """Told all changes in the order of time.

    A parent that was not recorded is taken to live as long as its children.
    """

    def __init__(self) -> None:
        self.names = Names()
        self.processes: dict[int, int] = {}  # of threads
        self._threads: dict[int, set[int]] = {}  # of processes, that have not ended
        self._parents: dict[int, tuple[int, int | None]] = {}  # of processes: (process, which of its threads)
        self._children: dict[int, set[int]] = {}
        self._families: list[Family] = []
        self._numbers: dict[Family, int] = {}

    def take(self, changes: Iterable[Change]) -> None:
        """Some of them."""
        for change in changes:
            self._change(change)

    def _change(self, change: Change) -> None:
        kind, pid, tid = change.kind, change.pid, change.tid
        if kind == "exit":
            self._ended(pid, tid)
            return
        if kind in ("comm", "exec"):
            self.names.name(tid, change.comm)
        elif kind in ("fork", "found"):
            if tid != change.parent_tid:
                self.names.fork(tid, change.parent_tid)
            if pid != change.parent_pid:
                self._born(change)
        else:
            return
        self.processes[tid] = pid
        threads = self._threads.setdefault(pid, set())
        if kind == "exec":  # ends all other threads
            threads.clear()
        threads.add(tid)
        if kind == "found" and len(threads) > 1:  # /proc knows the parent process, but not which thread
            for child in self._children.get(pid, ()):
                self._parents[child] = pid, None

    def _born(self, change: Change) -> None:
        pid, parent = change.pid, change.parent_pid
        if change.kind == "fork":
            self._gone(pid)
        is_one = change.kind == "fork" or len(self._threads.get(parent, ())) < 2
        self._parents[pid] = parent, change.parent_tid if is_one else None
        self._children.setdefault(parent, set()).add(pid)

    def _ended(self, pid: int, tid: int) -> None:
        """A thread is gone: its children are the first thread's, or, with the process, nobody tells whose."""
        threads = self._threads.get(pid, set())
        threads.discard(tid)
        if not threads:
            self._gone(pid)
        for child in self._children.get(pid, ()):
            if self._parents[child][1] == tid:
                self._parents[child] = pid, pid if pid in threads else None

    def _gone(self, pid: int) -> None:
        """A process is no more; its own parent is known until its number is another's."""
        self._threads.pop(pid, None)
        for child in self._children.pop(pid, ()):
            self._parents.pop(child, None)

    def at(
        self, time: NDArray[np.uint64], tid: NDArray[np.uint32], pid: NDArray[np.uint32], changes: Sequence[Change], *,
        names: bool = True, families: bool = False,
    ) -> tuple[NDArray[np.uint32], Families | None]:  # fmt: skip
        """What is so at each event: (number of the thread's name, the process's family).

        changes: those up to the last event, in order, which are taken in; names, families: whether they are wanted.
        """
        count = len(time)
        name, family = (np.zeros(count if asked else 0, np.uint32) for asked in (names, families))
        changes = [change for change in changes if change.kind != "map"]
        places = np.searchsorted(time, np.array([change.time_ns for change in changes], np.uint64)).tolist()
        done = 0
        for place, change in zip((*places, count), (*changes, None), strict=True):
            if place > done:
                part = slice(done, place)
                if names:
                    name[part] = self.names.at(tid[part])
                if families:
                    family[part] = self._family_numbers(pid[part])
                done = place
            if change is not None:
                self._change(change)
        return name, (family, self._families) if families else None

    def _family_numbers(self, pid: NDArray[np.uint32]) -> NDArray[np.uint32]:
        distinct, of = np.unique(pid, return_inverse=True)
        numbers = []
        for family in map(self._family, distinct.tolist()):
            number = self._numbers.get(family)
            if number is None:
                number = self._numbers[family] = len(self._families)
                self._families.append(family)
            numbers.append(number)
        return np.array(numbers, np.uint32)[of]

    def _family(self, pid: int) -> Family:
        if pid == _IDLE:  # one for each CPU, which the kernel made before anybody could look
            return Family(None, None, None)
        parent, thread = self._parents.get(pid, (None, None))
        comm = _IDLE_COMM if thread == _IDLE else self.names.text(thread) if thread is not None else None
        return Family(parent, comm, self.names.text(pid))
