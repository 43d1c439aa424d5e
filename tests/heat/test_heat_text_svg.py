"""Heat maps as text and SVG: every point is drawn, inside the width, well formed whatever the names are."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from heat_profiles import heat_profile, paired
from hypothesis import given
from hypothesis import strategies as st

from linscope.columns.profile import Loss
from linscope.errors import UsageError
from linscope.picture.heat_map import HeatMap, format_value, time_step
from linscope.recording import Recording

SVG = "{http://www.w3.org/2000/svg}"
ANSI = re.compile(r"\x1b\[[0-9;]*m")
HOSTILE = ["</script><img src=x onerror=alert(1)>", "turned \u202e around\x1b[31m", "日本語 ]]>"]
latencies = st.lists(st.one_of(st.integers(0, 20), st.integers(0, 10**11), st.just(777)), min_size=1, max_size=60)


def picture_of(values: list[int], **options: object):  # type: ignore[no-untyped-def]
    return Recording(heat_profile(paired(values))).heat("begin..end", **options)  # type: ignore[arg-type]


@given(latencies, st.sampled_from(["auto", "log", "linear"]), st.integers(2, 300), st.integers(2, 120))
def test_every_point_is_in_its_cell(values: list[int], scale: str, columns: int, rows: int) -> None:
    picture = picture_of(values, scale=scale)
    made = picture.map(columns, rows)
    assert made.counts.shape[1] <= columns
    assert made.total() == len(values)
    edges = made.y_edges.tolist()
    by_row = [sum(low <= value < high for value in values) for low, high in pairwise(edges)]
    assert made.counts.sum(axis=1).tolist() == by_row
    starts = [made.cell_times(column)[0] for column in range(made.counts.shape[1])]
    by_column = [sum(start <= time < start + made.x_step_ns for time in picture.points.time_ns) for start in starts]
    assert made.counts.sum(axis=0).tolist() == by_column


@given(latencies)
def test_percentiles_are_of_the_nearest_rank(values: list[int]) -> None:
    found = dict(picture_of(values).map().summary)
    ordered = sorted(values)
    for name, part in (("min", 0.0), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)):
        smallest = next(v for v in ordered if sum(other <= v for other in ordered) >= part * len(ordered) - 1e-9)
        assert found[name] == smallest


def test_a_line_takes_columns_together_until_there_are_enough_points() -> None:
    made = picture_of([1000] * 1000 + [50_000] * 50).map(200, 40)
    assert made.line_columns > 1
    for line in made.lines.values():
        known = line[~np.isnan(line)]
        assert set(known.tolist()) <= {1000.0, 50_000.0}


@given(latencies, st.integers(40, 200), st.sampled_from(["", "256", "truecolor"]))
def test_text_stays_inside_its_width(values: list[int], width: int, color: str) -> None:
    text = picture_of(values).text(width=width, color=color)
    for line in text.splitlines():
        assert len(ANSI.sub("", line)) <= width
    assert ("\x1b" in text) == bool(color)


def test_text_in_ascii() -> None:
    text = picture_of([1000, 2000, 400_000] * 30).text(encoding="ascii")
    assert text.isascii() and "#" in text


def test_text_of_a_real_looking_map() -> None:
    lines = picture_of([5_000] * 300 + [900_000] * 3).text(width=80).splitlines()
    assert lines[0] == "Latency"
    assert any(line.lstrip().startswith("100 us │") for line in lines)
    assert lines[-2].split() == ["count", "rate", "min", "p50", "p90", "p99", "p99.9", "max"]
    assert lines[-1].split()[2:] == ["k/s", "5", "us", "5", "us", "5", "us", "5", "us", "900", "us", "900", "us"]


def test_losses_are_marked() -> None:
    profile = heat_profile(paired([1000] * 200), losses=[Loss(10**9 + 101_500, 0, 7, -1)])
    picture = Recording(profile).heat("begin..end")
    assert "! events were lost: 7" in picture.text()
    assert "7 events lost</title>" in picture.svg()
    assert picture.map().lost.sum() == 7


def test_values_outside_of_the_range_have_rows_of_their_own() -> None:
    made = picture_of([100] * 3 + [2000] * 5 + [300_000] * 7, limits=(1000, 10_000)).map()
    assert made.counts[0].sum() == 3 and made.counts[-1].sum() == 7
    assert made.y_edges[0] == 0 and made.y_edges[1] == 1000 and made.y_edges[-1] == 300_001


@given(latencies, st.sampled_from([300, 800, 1600]))
def test_svg_is_well_formed_and_inside(values: list[int], width: int) -> None:
    tree = ElementTree.fromstring(picture_of(values).svg(width=width).encode())
    assert int(tree.get("width", "0")) == width
    cells = [rect for rect in tree.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    counts = [re.search(r": ([\d,]+), ", rect.find(f"{SVG}title").text or "") for rect in cells]  # type: ignore[union-attr]
    assert sum(int(count[1].replace(",", "")) for count in counts if count) == len(values)
    for rect in tree.iter(f"{SVG}rect"):
        assert float(rect.get("x", "0")) + float(rect.get("width", "0")) <= width + 0.2


def test_hostile_names_stay_text() -> None:
    rows = [(kind, time + 10 * key, key) for key in range(3) for kind, time, _ in paired([500, 900])]
    picture = Recording(heat_profile(sorted(rows, key=lambda row: row[1]), comms=HOSTILE)).heat(
        "begin..end", title=HOSTILE[0]
    )
    ElementTree.fromstring(picture.svg().encode())
    assert "\x1b" not in picture.text()
    page = picture.html()
    assert "<img" not in page and "{{" not in page
    assert page.count("</script>") == 3


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="rows and edges"):
        HeatMap("", "", "", "ns", 0, 1, np.array([0, 1]), np.zeros((2, 2), np.int64))


def test_units() -> None:
    assert [format_value(v, "ns") for v in (0, 999, 4930, 22_000, 561_720_480)] == [
        "0",
        "999 ns",
        "4.93 us",
        "22 us",
        "562 ms",
    ]
    assert [format_value(v, "bytes") for v in (512, 65536, 1_500_000)] == ["512 B", "64 KiB", "1.43 MiB"]
    assert [time_step(v) for v in (0, 3, 1e6, 1.1e6, 3e9, 12e9, 61e9)] == [
        1,
        5,
        10**6,
        2 * 10**6,
        5 * 10**9,
        15 * 10**9,
        120 * 10**9,
    ]
