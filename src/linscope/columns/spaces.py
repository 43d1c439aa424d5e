"""Address spaces and task names over time, built from side-band records in time order.

A process's address space has epochs: an exec and a change of a mapping start a new one, a fork a copy of the
parent's.  So "which mapping was it" has one answer for an (epoch, address).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from linscope.columns.profile import Mapping, Space

KERNEL_SPACE = 0
_BLOCK = 1 << 19  # samples that are looked up at once
# Mappings copied for epochs in all: real recordings copy thousands.  Beyond it, as only a made-up file comes, mappings
# replace one another without a new epoch, so that memory stays bounded.
_MAX_COPIED = 20_000_000


def _same_content(old: Mapping, new: Mapping) -> bool:
    """True if an address has the same meaning in both (the kernel repeats a mapping on mprotect)."""
    if old.path != new.path or old.build_id != new.build_id:
        return False
    if old.path.startswith(("//anon", "[", "/memfd:", "/dev/zero", "/SYSV")) and old.path != "[vdso]":
        return True  # names of code there are by address, not by offset
    return old.start - old.page_offset == new.start - new.page_offset


class SpaceBuilder:
    """Feed it side-band events sorted by time, then ask which space a sample was in."""

    def __init__(self) -> None:
        self.spaces = [Space(-1, 0, [])]
        self._history: dict[int, list[tuple[int, int]]] = {}  # pid -> [(since_ns, space number)]
        self._shared: set[int] = set()  # spaces whose list of mappings another one also uses
        self._copied = 0  # mappings that were copied for a new epoch

    def current(self, pid: int, time_ns: int) -> int:
        """Number of the pid's space now; makes an empty one for a pid never seen."""
        history = self._history.get(pid)
        if history:
            return history[-1][1]
        return self._begin(pid, 0, [])

    def _begin(self, pid: int, time_ns: int, mappings: list[Mapping]) -> int:
        number = len(self.spaces)
        self.spaces.append(Space(pid, time_ns, mappings))
        self._history.setdefault(pid, []).append((time_ns, number))
        return number

    def exec(self, pid: int, time_ns: int) -> None:
        """The process starts a new program.

        What was mapped stays until something new lies over it: while the kernel is still inside of execve, the
        process's stack is that of the old program, and the addresses of the two hardly ever collide.
        """
        self._share(self.current(pid, time_ns), pid, time_ns)

    def fork(self, pid: int, parent_pid: int, time_ns: int) -> None:
        """A new process with a copy of its parent's mappings."""
        self._share(self.current(parent_pid, time_ns), pid, time_ns)

    def _share(self, number: int, pid: int, time_ns: int) -> int:
        """A new epoch of the pid with the mappings of space number, copied when one of the two changes."""
        new = self._begin(pid, time_ns, self.spaces[number].mappings)
        self._shared.update((number, new))
        return new

    def kernel_map(self, mapping: Mapping) -> None:
        """Kernel text, a module or a BPF program."""
        self._insert(self.spaces[KERNEL_SPACE].mappings, mapping)

    def map(self, pid: int, time_ns: int, mapping: Mapping) -> None:
        """A new mapping; replaces what it overlaps."""
        number = self.current(pid, time_ns)
        space = self.spaces[number]
        overlapped = self._overlapping(space.mappings, mapping)
        if overlapped and all(
            _same_content(old, mapping) and old.start <= mapping.start and mapping.end <= old.end
            for old in overlapped
        ):
            return
        if (
            overlapped
            and not all(_same_content(old, mapping) for old in overlapped)
            and time_ns > space.since_ns
        ):
            number = self._share(number, pid, time_ns) if self._copied < _MAX_COPIED else number
            space = self.spaces[number]
        if number in self._shared and self._copied < _MAX_COPIED:
            self._copied += len(space.mappings)
            space.mappings = list(space.mappings)
            self._shared.discard(number)
        self._insert(space.mappings, mapping)

    @staticmethod
    def _overlapping(mappings: list[Mapping], new: Mapping) -> list[Mapping]:
        first = bisect.bisect_right(mappings, new.start, key=lambda m: m.end)
        last = bisect.bisect_left(mappings, new.end, key=lambda m: m.start)
        return mappings[first:last]

    @classmethod
    def _insert(cls, mappings: list[Mapping], new: Mapping) -> None:
        first = bisect.bisect_right(mappings, new.start, key=lambda m: m.end)
        last = bisect.bisect_left(mappings, new.end, key=lambda m: m.start)
        kept = []
        for old in mappings[first:last]:
            if old.start < new.start:
                kept.append(old._replace(end=new.start))
        kept.append(new)
        for old in mappings[first:last]:
            if old.end > new.end:
                moved = old.page_offset + (new.end - old.start)
                kept.append(old._replace(start=new.end, page_offset=moved))
        mappings[first:last] = kept

    def spaces_at(self, pid: NDArray[np.uint32], time_ns: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """The space of each (pid, time); a new, empty one for pids never seen."""
        return _timeline(pid, time_ns, lambda p: self._history.get(p) or [(0, self.current(p, 0))])


class CommBuilder:
    """Names of threads over time; feed it in time order."""

    def __init__(self) -> None:
        self.comms: list[str] = []
        self._numbers: dict[str, int] = {}
        self._history: dict[int, list[tuple[int, int]]] = {}

    def number(self, comm: str) -> int:
        """The comm's index in ``comms``."""
        found = self._numbers.get(comm)
        if found is None:
            found = self._numbers[comm] = len(self.comms)
            self.comms.append(comm)
        return found

    def name(self, tid: int, time_ns: int, comm: str) -> None:
        """The thread is called comm from now on."""
        self._history.setdefault(tid, []).append((time_ns, self.number(comm)))

    def fork(self, tid: int, parent_tid: int, time_ns: int) -> None:
        """A new thread with its parent's name."""
        parent = self._history.get(parent_tid)
        if parent:
            self._history.setdefault(tid, []).append((time_ns, parent[-1][1]))

    def _of(self, tid: int) -> list[tuple[int, int]]:
        history = self._history.get(tid)
        if history:
            return history
        return [(0, self.number("swapper" if tid == 0 else f":{_signed(tid)}"))]

    def comms_at(self, tid: NDArray[np.uint32], time_ns: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """The comm (index) of each (tid, time); ":TID" for a thread never named, as perf shows it."""
        return _timeline(tid, time_ns, self._of)


def _signed(tid: int) -> int:
    return tid - (1 << 32) if tid >= 1 << 31 else tid


def _timeline(key: NDArray[np.uint32], time_ns: NDArray[np.uint64], history_of: object) -> NDArray[np.uint32]:
    """For each (key, time), the value of the key's history [(since, value)] that holds then; the first before it."""
    parts = [
        _timeline_part(key[at : at + _BLOCK], time_ns[at : at + _BLOCK], history_of)
        for at in range(0, len(key), _BLOCK)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.uint32)


def _timeline_part(
    key: NDArray[np.uint32], time_ns: NDArray[np.uint64], history_of: object
) -> NDArray[np.uint32]:
    """``_timeline`` of a block of rows, which bounds what sorting takes."""
    result = np.empty(len(key), np.uint32)
    order = np.argsort(key, kind="stable")
    sorted_keys = key[order]
    starts = (
        np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]])
        if len(key)
        else np.empty(0, np.int64)
    )
    ends = np.r_[starts[1:], len(key)]
    for start, end in zip(starts.tolist(), ends.tolist(), strict=False):  # none of no rows
        history: Iterable[tuple[int, int]] = history_of(int(sorted_keys[start]))  # type: ignore[operator]
        since, values = zip(*history, strict=True)
        rows = order[start:end]
        if len(values) == 1:
            result[rows] = values[0]
            continue
        times = np.maximum.accumulate(np.array(since, np.uint64))
        at = np.searchsorted(times, time_ns[rows], side="right") - 1
        result[rows] = np.array(values, np.uint32)[np.maximum(at, 0)]
    return result
