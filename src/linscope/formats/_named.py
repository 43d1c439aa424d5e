"""Builds a Profile from a text format, whose frames come with their names."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from linscope.abi import perf_event as pe
from linscope.binfmt.perf_records import KIND_EXACT, NO_EVENT
from linscope.columns.profile import Event, Frames, NamedFrames, Profile, Samples, Space, Stacks

NO_NUMBER = 0xFFFFFFFF  # pid, tid or cpu that the text does not tell
_CLOCKS = ("cpu-clock", "task-clock")
_U64 = (1 << 64) - 1
_REMEMBERED = 200_000  # whole stacks; more would cost memory and find little


def clean_text(raw: bytes) -> str:
    """A name of a text format; NUL cannot be kept (tables of symbols end their names with it)."""
    text = raw.decode("utf-8", "replace")
    return text.replace("\0", "\ufffd") if "\0" in text else text


class NamedProfileBuilder:
    """Takes sample after sample; ``build`` makes the columns."""

    def __init__(self) -> None:
        self._events: dict[str, int] = {}
        self._has_period: list[bool] = []
        self._comms: dict[str, int] = {}
        self._address = array("Q")
        self._kernel = array("B")
        self._symbols: list[str] = []
        self._objects: list[str] = []
        self._kinds: list[str] = []
        self._object_names: dict[str, str] = {}  # one string for all frames of an object
        self._parent, self._frame = array("I", [0]), array("I", [0])
        self._nodes: dict[int, int] = {}
        self._whole: dict[tuple[int, ...], int] = {}
        self._columns = {name: array("Q") for name in ("time_ns", "weight")} | {
            name: array("I") for name in ("cpu", "pid", "tid", "stack", "comm", "event")
        }
        names = ("comm", "pid", "tid", "cpu", "time_ns", "event", "weight", "stack")
        self._append = tuple(self._columns[name].append for name in names)

    def __len__(self) -> int:
        return len(self._columns["time_ns"])

    def event(self, name: str) -> int:
        """Number of the event of that name; NO_EVENT when there are more than a column can count."""
        found = self._events.get(name)
        if found is None:
            if len(self._events) >= NO_EVENT:
                return NO_EVENT
            found = self._events[name] = len(self._events)
            self._has_period.append(False)
        return found

    def comm(self, name: str) -> int:
        """Number of the command of that name."""
        return self._comms.setdefault(name, len(self._comms))

    def frame(self, symbol: str, place: str, kind: str, address: int = 0) -> int:
        """A new frame's number; the caller sees to it that it adds none twice."""
        self._symbols.append(symbol)
        self._objects.append(self._object_names.setdefault(place, place))
        self._kinds.append(kind)
        self._kernel.append(kind == "kernel")
        self._address.append(address & _U64)
        return len(self._symbols) - 1

    def stack(self, frames: Sequence[int]) -> int:
        """Node of a stack; frames: the sampled one first."""
        key = tuple(frames)
        node = self._whole.get(key)
        if node is None:
            nodes, node = self._nodes, 0
            for frame in reversed(key):
                pair = node << 32 | frame
                below = nodes.get(pair)
                if below is None:
                    below = nodes[pair] = len(self._parent)
                    self._parent.append(node)
                    self._frame.append(frame)
                node = below
            if len(self._whole) >= _REMEMBERED:
                self._whole.clear()
            self._whole[key] = node
        return node

    def sample(
        self, comm: int, pid: int, tid: int, cpu: int, time_ns: int, event: int, period: int | None, stack: int
    ) -> None:
        """One sample; period: None when the text tells none, which counts as 1."""
        if period is None:
            period = 1
        elif event != NO_EVENT:
            self._has_period[event] = True
        add_comm, add_pid, add_tid, add_cpu, add_time, add_event, add_weight, add_stack = self._append
        add_comm(comm)  # one by one: a loop over the columns takes twice the time
        add_pid(pid & NO_NUMBER)
        add_tid(tid & NO_NUMBER)
        add_cpu(cpu & NO_NUMBER)
        add_time(time_ns & _U64)
        add_event(event)
        add_weight(period & _U64)
        add_stack(stack)

    def build(self, where: str) -> Profile:
        """The tables of all samples."""
        events = [
            Event(n, ("ns" if n.startswith(_CLOCKS) else n) if period else "samples")
            for n, period in zip(self._events, self._has_period, strict=True)
        ]
        kernel = np.array(self._kernel, np.uint8).astype(np.bool_)
        mode = np.where(kernel, pe.PERF_RECORD_MISC_KERNEL, pe.PERF_RECORD_MISC_USER).astype(np.uint8)
        frames = Frames((~kernel).astype(np.uint32), np.array(self._address, np.uint64), mode | np.uint8(KIND_EXACT))
        frame = np.array(self._frame, np.uint32)
        frame[0] = len(frames)
        stacks = Stacks(np.array(self._parent, np.uint32), frame)
        columns: dict[str, NDArray[np.generic]] = {n: np.array(c, c.typecode) for n, c in self._columns.items()}
        leaf = frame[np.array(self._columns["stack"], np.uint32)]
        modes = np.append(mode, np.uint8(pe.PERF_RECORD_MISC_USER))[leaf]
        columns["event"] = columns["event"].astype(np.uint16)
        samples = Samples(**columns, address=np.zeros(len(self), np.uint64), mode=modes)  # type: ignore[arg-type]
        return Profile(
            events=events,
            samples=samples,
            stacks=stacks,
            frames=frames,
            spaces=[Space(-1, 0, []), Space(0, 0, [])],
            comms=list(self._comms),
            named=NamedFrames(self._symbols, self._objects, self._kinds),
            where=where,
        )
