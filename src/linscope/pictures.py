"""Pictures that can be saved, printed, or shown in a notebook."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from linscope.errors import OutputError, UsageError

if TYPE_CHECKING:
    from linscope.analysis.frames import ResolvedFrames
    from linscope.analysis.latency import Points
    from linscope.columns.profile import Profile
    from linscope.picture.flame_graph import FlameGraph
    from linscope.picture.heat_map import HeatDetails, HeatMap
    from linscope.picture.rows import Rows
    from linscope.picture.tree_map import TreeMap
    from linscope.views.buckets import BucketCounts

PICTURE_FORMS = (".html", ".svg", ".txt")
Limits = tuple[int | None, int | None]


def form_of(path: str | os.PathLike[str]) -> str:
    """The ending that says the form of a picture; raises UsageError for one that says none."""
    form = Path(path).suffix
    if form not in PICTURE_FORMS:
        raise UsageError(
            f"cannot tell the form of the picture from {os.fspath(path)!r}",
            next_step=f"end it in {', '.join(PICTURE_FORMS)}",
        )
    return form


def _write(path: str | os.PathLike[str], made: str) -> None:
    try:
        Path(path).write_text(made, encoding="utf-8", errors="replace")
    except OSError as error:
        raise OutputError("cannot write the picture", where=os.fspath(path), why=error.strerror or "") from None


class TreeMapPicture:
    """A tree map; ``tree_map`` holds the areas."""

    def __init__(self, tree_map: TreeMap) -> None:
        self.tree_map = tree_map

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the form that the name ends in: .html, .svg or .txt.  Raises UsageError, OutputError."""
        from linscope.render.tree_map_svg import render_html, render_svg, render_text

        make = {".html": render_html, ".svg": render_svg, ".txt": render_text}[form_of(path)]
        _write(path, make(self.tree_map))


def _framed(page: str, height: int) -> str:
    import html

    return f'<iframe srcdoc="{html.escape(page, quote=True)}" style="width:100%;height:{height}px;border:0"></iframe>'


class FlamePicture:
    """A flame graph; ``graph`` holds the tree itself."""

    def __init__(self, graph: FlameGraph) -> None:
        self.graph = graph

    def __repr__(self) -> str:
        return f"<{self.graph.title}: {len(self.graph):,} frames>"

    def _repr_html_(self) -> str:
        return _framed(self.html(), 640)

    def html(self, *, inverted: bool = False, reverse: bool = False) -> str:
        """One self-contained page; inverted (root on top) and reverse (merged from the leaves): how it opens."""
        from linscope.render.flame_html import render_html

        return render_html(self.graph, icicle=inverted, reverse=reverse)

    def svg(self, *, width: int = 1200, inverted: bool = False, reverse: bool = False) -> str:
        """An SVG image of that many pixels."""
        from linscope.render.flame_svg import render_svg

        return render_svg(self.graph.reversed() if reverse else self.graph, width, icicle=inverted)

    def text(self, *, width: int = 80, color: bool = False, reverse: bool = False, encoding: str = "utf-8") -> str:
        """The heaviest part of the tree and the hottest functions, in lines of that many columns."""
        from linscope.render.flame_text import render_text

        shown = self.graph.reversed() if reverse else self.graph
        return render_text(shown, width, color=color, encoding=encoding)

    def save(
        self, path: str | os.PathLike[str], *, width: int | None = None, inverted: bool = False, reverse: bool = False
    ) -> None:
        """Write the form that the name ends in: .html, .svg or .txt.

        width: of SVG in pixels (1200), of text in columns (80).  Raises UsageError, OutputError.
        """
        form = form_of(path)
        if form == ".html":
            made = self.html(inverted=inverted, reverse=reverse)
        elif form == ".svg":
            made = self.svg(width=width or 1200, inverted=inverted, reverse=reverse)
        else:
            made = self.text(width=width or 80, reverse=reverse)
        _write(path, made)


@dataclass(frozen=True)
class HeatTexts:
    """What is written around a heat map."""

    title: str
    subtitle: str
    notes: tuple[str, ...]
    command: str = ""  # prints the events of a selection, when --select is added


class HeatPicture:
    """A heat map; ``points`` holds what was measured, one row an interval or event."""

    def __init__(
        self,
        points: Points,
        profile: Profile,
        resolved: Callable[[], ResolvedFrames],
        texts: HeatTexts,
        *,
        scale: str = "auto",
        limits: Limits = (None, None),
        weight: str = "period",
    ) -> None:
        """resolved: called when frames are to be named.  weight: of flame graphs: "period" (time) or "samples"."""
        self.points = points
        self._profile = profile
        self._resolved = resolved
        self._texts = texts
        self._scale = scale
        self._limits = limits
        self._weight = weight

    def __repr__(self) -> str:
        return f"<{self._texts.title}: {len(self.points):,} points>"

    def _repr_html_(self) -> str:
        return _framed(self.html(), 900)

    def map(self, columns: int = 240, rows: int = 100) -> HeatMap:
        """The picture itself, of at most that many columns and about that many rows."""
        return self._map(columns, rows)[0]

    def _map(self, columns: int, rows: int) -> tuple[HeatMap, NDArray[np.int64]]:
        from linscope.views.heat import heat_map

        return heat_map(
            self.points,
            self._profile,
            title=self._texts.title,
            subtitle=self._texts.subtitle,
            notes=[*self._texts.notes, *self.points.notes],
            columns=columns,
            rows=rows,
            scale=self._scale,
            limits=self._limits,
        )

    def html(self) -> str:
        """One self-contained page, where a selection shows its flame graph and its events."""
        from linscope.render.heat_html import render_html
        from linscope.views.heat_details import heat_details

        picture, cell = self._map(240, 100)
        graph_of = self._graph if self.has_stacks() else None
        details = heat_details(self.points, cell, self._profile, self._resolved, graph_of, self._texts.command)
        return render_html(picture, details)

    def svg(self, *, width: int = 1200) -> str:
        """An SVG image of that many pixels."""
        from linscope.render.heat_svg import plot_cells, render_svg

        return render_svg(self.map(*plot_cells(width)), width)

    def text(self, *, width: int = 80, color: str = "", encoding: str = "utf-8") -> str:
        """The map and a table of percentiles in lines of that many columns; color: "", "256" or "truecolor"."""
        from linscope.render.heat_text import plot_cells, render_text

        return render_text(self.map(*plot_cells(width, color)), width, color=color, encoding=encoding)

    def save(self, path: str | os.PathLike[str], *, width: int | None = None) -> None:
        """Write the form that the name ends in: .html, .svg or .txt.

        width: of SVG in pixels (1200), of text in columns (80).  Raises UsageError, OutputError.
        """
        form = form_of(path)
        if form == ".html":
            made = self.html()
        else:
            made = self.svg(width=width or 1200) if form == ".svg" else self.text(width=width or 80)
        _write(path, made)

    def select(self, time_ns: Limits = (None, None), value: Limits = (None, None)) -> HeatPicture:
        """The points from time_ns[0] and value[0] on, before time_ns[1] and value[1]; None: no limit."""
        points = self.points
        mask = np.ones(len(points), np.bool_)
        for column, (low, high) in ((points.time_ns, time_ns), (points.value, value)):
            if low is not None:
                mask &= column >= low
            if high is not None:
                mask &= column < high
        return HeatPicture(
            points.take(mask), self._profile, self._resolved, self._texts,
            scale=self._scale, limits=self._limits, weight=self._weight,
        )  # fmt: skip

    def rows(self, *, texts: bool = False) -> Rows:
        """The table of the points, in time order; texts: with the raw events."""
        from linscope.views.heat_details import interval_rows

        return interval_rows(self.points, self._profile, self._resolved, texts=texts)

    def has_stacks(self) -> bool:
        """True if any point has a call chain."""
        return bool(self._profile.samples.stack[self.points.stack_sample].any())

    def flame(self) -> FlamePicture:
        """The flame graph of exactly these points."""
        return FlamePicture(self._graph(None))

    def _graph(self, group: NDArray[np.int64] | None) -> FlameGraph:
        from linscope.views.heat_details import points_graph

        points = self.points
        if self._weight == "samples":
            weight, unit = np.ones(len(points), np.int64), "intervals" if points.by == "latency" else "events"
        elif points.by == "latency":
            weight, unit = points.value, "ns"
        elif points.by == "size":
            weight, unit = points.value, points.unit or points.what
        else:
            weight = self._profile.samples.weight[points.start].astype(np.int64)
            numbers = np.unique(self._profile.samples.event[points.start])
            unit = self._profile.events[int(numbers[0])].period_unit if len(numbers) == 1 else "events"
        return points_graph(
            points, self._profile, self._resolved(), weight,
            title=self._texts.title, subtitle=self._texts.subtitle, unit=unit, notes=list(points.notes), group=group,
        )  # fmt: skip


class BucketPicture:
    """A heat map of histograms that were looked at again and again; ``counts`` holds how they grew."""

    def __init__(self, counts: BucketCounts, texts: HeatTexts) -> None:
        self.counts = counts
        self._texts = texts

    def __repr__(self) -> str:
        return f"<{self._texts.title}: {int(self.counts.count.sum()):,} values>"

    def _repr_html_(self) -> str:
        return _framed(self.html(), 900)

    def map(self, columns: int = 240) -> HeatMap:
        """The picture itself, of at most that many columns; a row is a bucket."""
        return self._map(columns)[0]

    def _map(self, columns: int) -> tuple[HeatMap, HeatDetails]:
        from linscope.views.buckets import bucket_heat

        texts = self._texts
        return bucket_heat(
            self.counts, title=texts.title, subtitle=texts.subtitle, notes=list(texts.notes), columns=columns
        )

    def html(self) -> str:
        """One self-contained page, where a selection shows which keys it is of."""
        from linscope.render.heat_html import render_html

        return render_html(*self._map(240))

    def svg(self, *, width: int = 1200) -> str:
        """An SVG image of that many pixels."""
        from linscope.render.heat_svg import plot_cells, render_svg

        return render_svg(self.map(plot_cells(width)[0]), width)

    def text(self, *, width: int = 80, color: str = "", encoding: str = "utf-8") -> str:
        """The map and a table of percentiles in lines of that many columns; color: "", "256" or "truecolor"."""
        from linscope.render.heat_text import plot_cells, render_text

        return render_text(self.map(plot_cells(width, color)[0]), width, color=color, encoding=encoding)

    def save(self, path: str | os.PathLike[str], *, width: int | None = None) -> None:
        """Write the form that the name ends in: .html, .svg or .txt.

        width: of SVG in pixels (1200), of text in columns (80).  Raises UsageError, OutputError.
        """
        form = form_of(path)
        if form == ".html":
            made = self.html()
        else:
            made = self.svg(width=width or 1200) if form == ".svg" else self.text(width=width or 80)
        _write(path, made)
