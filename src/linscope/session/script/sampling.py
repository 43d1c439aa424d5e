"""Histograms of a script over time: how much each bucket grew from one look to the next."""

from __future__ import annotations

import time

from linscope.lang import types as t
from linscope.lang.unit import bucket_range

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from linscope.lang import ir
    from linscope.session.script.map_values import ScriptMap

    Growth = tuple[int, bytes, int, int]  # column, bytes of the key, bucket, how many more


def is_histogram(declared: ir.Map) -> bool:
    """Whether a map can be sampled: hist() or lhist()."""
    return isinstance(declared.value, t.Histogram | t.LinearHistogram)


def bucket_edges(kind: t.Histogram | t.LinearHistogram, bucket: int) -> tuple[int, int]:
    """First value of a bucket and the one behind its last; an open end is as far as a bucket is wide.

    >>> bucket_edges(t.LinearHistogram(0, 100, 10), 11)
    (100, 110)
    """
    if isinstance(kind, t.Histogram):
        return (-1, 0) if bucket == 0 else bucket_range(bucket, kind.bits)
    low = kind.least + (bucket - 1) * kind.step
    return low, low + kind.step


class Samples:
    """What one map told."""

    def __init__(self, script_map: ScriptMap) -> None:
        self.map = script_map
        self.grown: list[Growth] = []
        self.last: dict[bytes, dict[int, int]] = {}

    @property
    def kind(self) -> t.Histogram | t.LinearHistogram:
        """What the map holds."""
        kind = self.map.value
        assert isinstance(kind, t.Histogram | t.LinearHistogram)
        return kind

    def look(self, column: int, *, zeroed: bool = False) -> None:
        """Take what came since the last look; zeroed: then the map is emptied."""
        now = self.map.buckets()
        for key, counts in now.items():
            before = self.last.get(key, {})
            for bucket, count in counts.items():
                more = count - before.get(bucket, 0)
                if more:
                    self.grown.append((column, key, bucket, more if more > 0 else count))
        self.last = {} if zeroed else now


class Sampler:
    """Looks at the histograms of a session, an interval apart."""

    def __init__(self, maps: Iterable[ScriptMap], interval_ns: int) -> None:
        """maps: those of them that hold no histogram are left alone."""
        self.interval_ns = interval_ns
        self.samples = [Samples(one) for one in maps if is_histogram(one.declared)]
        for one in self.samples:
            one.map.before_emptied = self._hook(one)
        self.start()

    def _hook(self, samples: Samples) -> Callable[[], None]:
        return lambda: samples.look(self.column, zeroed=True)

    def start(self) -> None:
        """The first interval begins now."""
        self.started_ns = time.monotonic_ns()
        self.started_wall_ns = time.time_ns()
        self.column = 0

    def start_at(self, now_ns: int, wall_ns: int) -> None:
        """The first interval begins at a time of a recording; its end is told by ``end_interval``."""
        self.started_ns, self.started_wall_ns = now_ns, wall_ns
        self.column = 0

    def end_interval(self, now_ns: int) -> None:
        """Take a sample at a time of a recording; what comes now belongs to the next interval."""
        self.take()
        self.column = (now_ns - self.started_ns) // self.interval_ns

    def look(self) -> float:
        """Take a sample when it is time to; returns when the next one is due (as time.monotonic)."""
        passed = (time.monotonic_ns() - self.started_ns) // self.interval_ns
        if passed > self.column:
            self.take()
            self.column = passed
        return (self.started_ns + (self.column + 1) * self.interval_ns) / 1e9

    def take(self) -> None:
        """Take a sample now: what came since the last one belongs to the current interval."""
        for one in self.samples:
            one.look(self.column)
