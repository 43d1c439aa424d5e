"""Time stamps as a trace.dat's options want them read: synchronized with a host, scaled, shifted.

Source: trace-cmd.dat.v7(5), options DATE, OFFSET, TIME_SHIFT and TSC2NSEC; trace-cmd report 3.1.6 shows these times.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from linscope.errors import FormatError
from linscope.formats.trace_dat import options as opt
from linscope.formats.trace_dat.container import Container

_IN_NS = frozenset(("", "local", "global", "uptime", "perf", "tai", "boot", "tsc2nsec"))
_INTERPOLATE = 1  # flag of TIME_SHIFT
_MOST_CPUS = 1 << 16
_ALL = (1 << 64) - 1


class _Shifts(NamedTuple):
    """How one CPU of a guest was off its host's clock, and when."""

    time: NDArray[np.int64]
    offset: NDArray[np.int64]
    scaling: NDArray[np.int64]
    fraction: NDArray[np.int64]


class TraceClock:
    """Turns the stamps in pages into times; ``in_ns``: these are nanoseconds, not ticks or cycles."""

    def __init__(self, container: Container, name: str) -> None:
        """name: of the clock.  Raises FormatError for options that are cut off."""
        values = {number: found[-1] for number, found in container.options.items() if found}
        self._add = sum(1000 * _number(one) for one in container.options.get(opt.DATE, ()))
        self._add += sum(_number(one) for one in container.options.get(opt.OFFSET, ()))
        self._multiplier = self._shift = 0
        order = container.order()
        if len(values.get(opt.TSC2NSEC, b"")) >= 16:
            self._multiplier, self._shift = struct.unpack_from(order + "II", values[opt.TSC2NSEC])
        self._shifts: list[_Shifts] = []
        self._interpolate = False
        shift = values.get(opt.TIME_SHIFT, b"")
        if len(shift) >= 16:
            self._interpolate = bool(struct.unpack_from(order + "I", shift, 8)[0] & _INTERPOLATE)
            self._shifts = _read_shifts(shift, order)
        self.in_ns = name in _IN_NS or name.startswith("mono") or bool(self._multiplier)

    def times(self, stamps: NDArray[np.uint64], cpu: int) -> NDArray[np.uint64]:
        """The times of the stamps of a CPU; may be the same array."""
        if cpu < len(self._shifts) and len(self._shifts[cpu].time):
            stamps = self._synchronized(stamps, self._shifts[cpu])
        if self._multiplier:
            high, low = stamps >> np.uint64(32), stamps & np.uint64(0xFFFFFFFF)
            multiplier = np.uint64(self._multiplier)
            above = high * multiplier << np.uint64(32 - self._shift) if self._shift <= 32 else np.uint64(0)
            stamps = (low * multiplier >> np.uint64(self._shift & 63)) + above
        return stamps + np.uint64(self._add & _ALL) if self._add else stamps

    def _synchronized(self, stamps: NDArray[np.uint64], shifts: _Shifts) -> NDArray[np.uint64]:
        count = len(shifts.time)
        if count == 1:
            return stamps + shifts.offset.view(np.uint64)
        signed = stamps.view(np.int64)
        at = np.clip(np.searchsorted(shifts.time, signed, side="right") - 1, 0, count - 2)
        offset = shifts.offset[at]
        with np.errstate(over="ignore"):
            if self._interpolate:
                delta = shifts.time[at + 1] - shifts.time[at]
                part = (signed - shifts.time[at]) * (shifts.offset[at + 1] - offset) + delta // 2
                whole = np.abs(part) // np.abs(delta)  # as C divides: towards zero
                offset = offset + np.where((part < 0) == (delta < 0), whole, -whole)
            scaled = (signed * shifts.scaling[at]).view(np.uint64) >> (shifts.fraction[at] & 63).astype(np.uint64)
            synchronized: NDArray[np.uint64] = scaled + offset.view(np.uint64)
        return synchronized


def _number(text: bytes) -> int:
    """A number as strtoll reads it with base 0; 0 for what is none."""
    try:
        return int(text.split(b"\0", 1)[0].strip(), 0)
    except ValueError:
        return 0


def _read_shifts(value: bytes, order: str) -> list[_Shifts]:
    """One a CPU: counts and numbers as TIME_SHIFT has them; the fraction bits stand behind all CPUs."""
    at = 16
    (cpus,) = struct.unpack_from(order + "I", value, 12)
    if cpus > _MOST_CPUS:
        raise FormatError(f"time shifts of {cpus} CPUs")
    columns: list[list[NDArray[np.int64]]] = []
    for _ in range(cpus):
        if at + 4 > len(value):
            raise FormatError("the time shifts are cut off")
        (count,) = struct.unpack_from(order + "I", value, at)
        at += 4
        if at + 24 * count > len(value):
            raise FormatError("the time shifts are cut off")
        raw = np.frombuffer(value, order + "i8", 3 * count, at).astype(np.int64)
        columns.append(list(raw.reshape(3, count)))
        at += 24 * count
    found = []
    for column in columns:
        count = len(column[0])
        there = at + 8 * count <= len(value)
        fraction = np.frombuffer(value, order + "i8", count, at) if there else np.zeros(count, np.int64)
        at += 8 * count
        _, rows = np.unique(column[0], return_index=True)  # sorted by time, each time once
        time, offset, scaling = (one[rows] for one in column)
        found.append(_Shifts(time, offset, scaling, fraction.astype(np.int64)[rows]))
    return found
