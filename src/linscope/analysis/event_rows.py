"""The events of one name or glob as columns: their fields, and what every sample has besides."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linscope.analysis.event_filter import is_numbers, text_codes
from linscope.binfmt.perf_records import NO_CPU
from linscope.columns.profile import Profile
from linscope.errors import UnknownNameError

# Fields that every sample has, also in the words of the kernel's filters; a field of the event itself goes first.
_OF_SAMPLES = {"tid": "tid", "common_pid": "tid", "pid": "pid", "cpu": "cpu", "CPU": "cpu"}
_COMM = ("comm", "COMM", "common_comm")


def find_events(profile: Profile, pattern: str) -> list[int]:
    """Numbers of the events of that name: whole, without its system, or as a glob.  Raises UnknownNameError."""
    names = [event.name for event in profile.events]
    found = [i for i, name in enumerate(names) if fnmatchcase(name, pattern)]
    found = found or [i for i, name in enumerate(names) if fnmatchcase(name.partition(":")[2], pattern)]
    found = found or [i for i, name in enumerate(names) if name.partition(":")[0] == pattern]  # cycles:u
    if not found:
        raise UnknownNameError(
            "event in this recording", pattern, [*names, *(n.partition(":")[2] for n in names)],
            next_step=f"it has: {', '.join(names)}",
        )  # fmt: skip
    return found


class EventRows:
    """All samples of some events, in the order of the file."""

    def __init__(self, profile: Profile, events: list[int]) -> None:
        """events: numbers of events; samples that were cut short, without fields, are left out."""
        self.profile = profile
        names = [profile.events[number].name for number in events]  # events of one name share a table
        events = [n for i, n in enumerate(events) if names[i] not in profile.tables or names[i] not in names[:i]]
        self.events = events
        self._tables = [profile.tables.get(profile.events[number].name) for number in events]
        parts = []
        for number, table in zip(events, self._tables, strict=True):
            mine = np.flatnonzero(profile.samples.event == number)
            parts.append(mine if table is None else table.rows)
        joined = np.concatenate(parts) if parts else np.empty(0, np.int64)
        self._order = np.argsort(joined, kind="stable") if len(parts) > 1 else None
        self.samples: NDArray[np.int64] = joined if self._order is None else joined[self._order]

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def names(self) -> list[str]:
        """Names of the events."""
        return [self.profile.events[number].name for number in self.events]

    @property
    def fields(self) -> list[str]:
        """The events' own fields that all of them have."""
        filled = [table for table in self._tables if table is None or len(table)] or self._tables
        found = [list(table.columns) if table is not None else [] for table in filled]
        return [name for name in found[0] if all(name in other for other in found)] if found else []

    def has(self, name: str) -> bool:
        """True if ``column`` knows the name."""
        return name in self.fields or name in _OF_SAMPLES or name in _COMM

    def own(self, name: str) -> Any:
        """Column of a field of the events themselves.  Raises UnknownNameError."""
        if name not in self.fields:
            raise UnknownNameError(
                f"field of {self.names[0]}", name, [*self.fields, *_OF_SAMPLES, "comm"],
                next_step=f"it has: {', '.join([*self.fields, 'comm', 'pid', 'tid', 'cpu'])}",
            )  # fmt: skip
        tables = [table for table in self._tables if table is not None]
        columns = [table.columns[name] for table in tables if len(table)] or [tables[0].columns[name]]
        if self._order is None:
            return columns[0]
        if all(isinstance(column, np.ndarray) for column in columns):
            return np.concatenate(columns)[self._order]
        texts = [text for column in columns for text in _as_texts(column)]
        return [texts[i] for i in self._order.tolist()]

    def column(self, name: str) -> Any:
        """Column of a field, else of what every sample has: tid, pid, cpu, comm.  Raises UnknownNameError."""
        if name not in self.fields:
            if name in _OF_SAMPLES:
                return getattr(self.profile.samples, _OF_SAMPLES[name])[self.samples]
            if name in _COMM:
                comms = self.profile.comms
                return [comms[i] for i in self.profile.samples.comm[self.samples].tolist()]
        return self.own(name)

    def numeric_fields(self) -> list[str]:
        """The events' own fields that are plain numbers."""
        return [name for name in self.fields if is_numbers(self.own(name))]

    def times(self) -> NDArray[np.int64]:
        """Nanoseconds of the recording's clock."""
        return self.profile.samples.time_ns[self.samples].astype(np.int64)


def _as_texts(column: Any) -> list[str]:
    if isinstance(column, np.ndarray):
        codes, texts = text_codes(column)
        return [texts[i] for i in codes.tolist()]
    return list(column)


def backward_steps(profile: Profile) -> int:
    """How often the clock of a CPU went back from one sample to the next in the file."""
    samples = profile.samples
    order = np.argsort(samples.cpu, kind="stable")
    time, cpu = samples.time_ns[order], samples.cpu[order]
    return int(np.count_nonzero((time[1:] < time[:-1]) & (cpu[1:] == cpu[:-1]) & (cpu[1:] != NO_CPU)))
