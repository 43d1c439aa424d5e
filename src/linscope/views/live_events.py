"""Events while they happen: the lines of `linscope script`, or one object an event, batch after batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from linscope.columns.profile import Loss, Profile
from linscope.picture.rows import Column, Rows
from linscope.symbols.objects import Symbolizer
from linscope.views.payloads import Payloads
from linscope.views.trace_lines import TraceLines

LOST = "lost"  # the event of a row that tells of events that found no room


def live_event_rows(batches: Callable[[], Iterable[Profile]], exit_code: Callable[[], int]) -> Rows:
    """The rows of what comes.  batches: begins to trace; gives one profile again and again, refilled.

    Each row is typed in data: ``fields`` has the event's own.  A loss is a row whose event is "lost".
    """
    shown = _Live(batches)
    columns = [
        *(Column(name) for name in ("comm", "pid", "tid", "cpu", "time_ns", "event")),
        Column("fields", value=shown.fields),
    ]
    return Rows(
        columns,
        shown.rows(),
        streaming=True,
        headings=False,
        live=True,
        waits=lambda: shown.waits,
        text=shown.text,
        exit_code=exit_code,
    )


class _Live:
    """Walks the batches once, as text or as rows."""

    def __init__(self, batches: Callable[[], Iterable[Profile]]) -> None:
        self._batches = batches
        self._profile: Profile | None = None
        self.waits = True  # the next row has yet to happen

    def text(self) -> Iterator[str]:
        """Lines, some or many at a time."""
        payloads: Payloads | None = None
        for profile in self._batches():
            if payloads is None:
                payloads = Payloads(profile, Symbolizer())
                lines = TraceLines(profile, payloads)
            else:
                payloads.update()
            yield from lines.blocks(_order(profile))

    def rows(self) -> Iterator[Sequence[Any]]:
        """One row an event, and one a loss before the next event of its CPU."""
        for profile in self._batches():
            self._profile = profile
            samples = profile.samples
            order = _order(profile)
            columns = (samples.comm, samples.tid, samples.cpu, samples.time_ns, samples.event)
            losses = sorted(profile.losses, key=lambda loss: loss.time_ns)
            self.waits = False
            for at, (row, *cells) in enumerate(
                zip(order.tolist(), *(column[order].tolist() for column in columns), strict=True)
            ):
                comm, tid, cpu, time, event = cells
                while losses and losses[0].time_ns <= time:
                    loss = losses.pop(0)
                    yield None, None, None, loss.cpu, loss.time_ns, LOST, loss
                self.waits = at == len(order) - 1
                pid = tid - (1 << 32) if tid >= 1 << 31 else tid
                yield profile.comms[comm], pid, pid, cpu, time, profile.events[event].name, row

    def fields(self, cell: int | Loss) -> dict[str, Any] | None:
        """Fields of an event by its row, of a loss by itself."""
        if isinstance(cell, Loss):
            return {"lost": cell.lost}
        assert self._profile is not None
        return self._profile.payload(cell)


def _order(profile: Profile) -> Any:
    """Rows of known events in time order."""
    samples = profile.samples
    known = np.flatnonzero(samples.event < len(profile.events))
    return known[np.argsort(samples.time_ns[known], kind="stable")]
