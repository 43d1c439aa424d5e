"""The lines of trace-cmd report, in bulk: a block of events at a time becomes one piece of text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from linscope.binfmt.print_columns import CHOICE, LITERAL, ZEROS, Piece, choice, number, numbered, write_lines
from linscope.columns.profile import Loss, Profile
from linscope.views.payloads import Payloads

_FIRST, _MOST = 1_000, 50_000  # rows of the first block, which is to come soon, and of later ones
_MICROS = 10**6


class TraceLines:
    """Lines of events in time order."""

    def __init__(self, profile: Profile, payloads: Payloads) -> None:
        """payloads: of the same profile."""
        self._profile = profile
        self._payloads = payloads
        self._names = [f"{event.name.partition(':')[2] + ':':<21}" for event in profile.events]
        self._tasks: dict[tuple[int, int, int], str] = {}
        self._instances = profile.features.get("INSTANCES", [])
        widest = max((len(name) for _, name in self._instances), default=0) + 2
        self._prefixes = [(name and f"{name}: ").ljust(widest) for _, name in self._instances]
        self._decimals = "TRACE_CLOCK_TICKS" not in profile.features

    def blocks(self, order: NDArray[np.int64]) -> Iterator[str]:
        """The lines of these samples, each with its newline, many at a time."""
        drops = self._drops(order)
        begin, size = 0, _FIRST
        while begin < len(order):
            rows = order[begin : begin + size]
            yield self._block(rows, {at - begin: text for at, text in drops.items() if begin <= at < begin + size})
            begin, size = begin + size, _MOST

    def _block(self, rows: NDArray[np.int64], drops: dict[int, str]) -> str:
        samples = self._profile.samples
        pieces: list[Piece] = []
        if self._prefixes:
            first = np.array([row for row, _ in self._instances])
            pieces.append(choice((np.searchsorted(first, rows, side="right") - 1).astype(np.uint32), self._prefixes))
        if drops:
            which = np.zeros(len(rows), np.uint32)
            which[list(drops)] = np.arange(1, len(drops) + 1, dtype=np.uint32)
            pieces.append(choice(which, ["", *drops.values()]))
        pieces += [self._task(rows), *self._time(samples.time_ns[rows]), (LITERAL, b": ")]
        which, texts = self._payloads.joined_texts(rows)
        pieces.append(choice(samples.event[rows].astype(np.uint32), self._names))
        pieces.append(choice((which > 0).astype(np.uint32), ("", " ")))
        pieces += [(CHOICE, which, *texts), (LITERAL, b"\n")]
        return write_lines(pieces, len(rows)).text.decode()

    def _task(self, rows: NDArray[np.int64]) -> Piece:
        """ "bash-12    [003]" """
        samples = self._profile.samples
        comm, tid, cpu = samples.comm[rows], samples.tid[rows], samples.cpu[rows]
        which = numbered(cpu, numbered(comm, numbered(tid)))
        first = np.empty(int(which.max()) + 1, np.int64)
        first[which[::-1]] = np.arange(len(rows))[::-1]
        keys = zip(comm[first].tolist(), tid[first].tolist(), cpu[first].tolist(), strict=True)
        return choice(which, [self._task_text(*key) for key in keys])

    def _task_text(self, comm: int, tid: int, cpu: int) -> str:
        text = self._tasks.get((comm, tid, cpu))
        if text is None:
            pid = tid - (1 << 32) if tid >= 1 << 31 else tid
            text = self._tasks[comm, tid, cpu] = f"{self._profile.comms[comm]:>16}-{pid:<5} [{cpu:03d}]"
        return text

    def _time(self, time: NDArray[np.uint64]) -> list[Piece]:
        """Seconds and microseconds, rounded as trace-cmd report does; other clocks count as they do."""
        if not self._decimals:
            return [number(time, 0, 12)]
        micros = (time + np.uint64(500)) // np.uint64(1000)
        seconds = micros // np.uint64(_MICROS)
        rest = micros - seconds * np.uint64(_MICROS)
        return [(LITERAL, b" "), number(seconds, 0, 5), (LITERAL, b"."), number(rest, ZEROS, 6)]

    def _drops(self, order: NDArray[np.int64]) -> dict[int, str]:
        """Place in order -> the line before it that tells of a loss; one row tells of one, the next of the next."""
        found: dict[int, str] = {}
        samples = self._profile.samples
        for cpu, losses in _by_cpu(self._profile.losses).items():
            places = np.flatnonzero(samples.cpu[order] == cpu)
            times = samples.time_ns[order[places]]
            next_ = 0
            for loss in losses:
                at = max(next_, int(np.searchsorted(times, np.uint64(loss.time_ns))))
                if at == len(places):
                    break
                # One event: the kernel did not count.
                count = f"{loss.lost} " if loss.lost > 1 else ""
                found[int(places[at])] = f"CPU:{cpu} [{count}EVENTS DROPPED]\n"
                next_ = at + 1
        return dict(sorted(found.items()))


def _by_cpu(losses: list[Loss]) -> dict[int, list[Loss]]:
    found: dict[int, list[Loss]] = {}
    for loss in sorted(losses, key=lambda loss: loss.time_ns):
        if not loss.of_event:  # else counted at the end, without a time
            found.setdefault(loss.cpu, []).append(loss)
    return found
