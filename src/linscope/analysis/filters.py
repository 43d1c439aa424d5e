"""Which samples count: filters on task, CPU, time, event, object and symbol."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from linscope.columns.profile import Profile
from linscope.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from linscope.analysis.frames import ResolvedFrames

_NOT_SAMPLING = ("dummy",)  # events that only carry side-band records


@dataclass(frozen=True)
class Filter:
    """What to keep; None keeps everything.  comm, dso and symbol are regular expressions that may match anywhere."""

    comm: str | None = None
    pid: frozenset[int] | None = None
    tid: frozenset[int] | None = None
    cpu: frozenset[int] | None = None
    time: tuple[int | None, int | None] = (
        None,
        None,
    )  # ns, both ends included; as the recording's clock has them
    event: str | None = None
    dso: str | None = None  # of the sampled frame
    symbol: str | None = None  # of the sampled frame

    def rows(self, profile: Profile, resolved: ResolvedFrames | None = None) -> NDArray[np.bool_]:
        """True for the samples to keep.  resolved is needed for dso and symbol only.

        Raises UsageError for a pattern that is no regular expression, UnknownNameError for an event that is not there.
        """
        samples = profile.samples
        keep = np.ones(len(samples), np.bool_)
        if self.comm is not None:
            keep &= _matching(self.comm, profile.comms)[samples.comm]
        for wanted, column in ((self.pid, samples.pid), (self.tid, samples.tid), (self.cpu, samples.cpu)):
            if wanted is not None:
                keep &= np.isin(column, np.array(sorted(wanted), np.uint32))
        start, end = self.time
        if start is not None:
            keep &= samples.time_ns >= start
        if end is not None:
            keep &= samples.time_ns <= end
        if self.event is not None:
            keep &= samples.event == find_event(profile, self.event)
        if resolved is not None and (self.dso is not None or self.symbol is not None):
            keep &= self._by_leaf(profile, resolved)
        return keep

    def _by_leaf(self, profile: Profile, resolved: ResolvedFrames) -> NDArray[np.bool_]:
        labels = resolved.symbol_labels()
        wanted = np.ones(len(labels) + 1, np.bool_)
        wanted[-1] = False  # samples without a frame
        for pattern, text in (
            (self.dso, lambda n: labels.place(n).path),
            (self.symbol, labels.name),
        ):
            if pattern is not None:
                wanted[:-1] &= _matching(pattern, [text(n) for n in range(len(labels))])
        of_frame = np.append(labels.of_frame, np.uint32(len(labels)))
        leaf = np.minimum(profile.stacks.frame[profile.samples.stack], len(labels.of_frame))
        kept: NDArray[np.bool_] = wanted[of_frame[leaf]]
        return kept


def compile_pattern(pattern: str) -> Callable[[str], object]:
    """Search function of a regular expression; raises UsageError."""
    try:
        return re.compile(pattern).search
    except re.error as error:
        raise UsageError(f"not a regular expression: {pattern!r}", why=str(error)) from None


def _matching(pattern: str, texts: list[str]) -> NDArray[np.bool_]:
    search = compile_pattern(pattern)
    return np.array([search(text) is not None for text in texts], np.bool_)


def find_event(profile: Profile, name: str) -> int:
    """Number of the event of that name (with or without its modifiers), or at that place; raises UnknownNameError."""
    names = [event.name for event in profile.events]
    if name in names:
        return names.index(name)
    bare = [n.partition(":")[0] for n in names if n.count(":") < 2]
    if name in bare:
        return bare.index(name)
    if name.isdigit() and int(name) < len(names):
        return int(name)
    raise UnknownNameError("event in this recording", name, names, next_step=f"it has: {', '.join(names)}")


def main_event(profile: Profile) -> int:
    """Number of the event to show when none is asked for: the first one that was sampled; 0 without any."""
    counts = np.bincount(profile.samples.event[profile.samples.event < len(profile.events)], minlength=1)
    for number, event in enumerate(profile.events):
        if number < len(counts) and counts[number] and not event.name.startswith(_NOT_SAMPLING):
            return number
    return 0
