"""SVG and terminal text: well formed whatever the names are, inside their width, equal to the golden files.

UPDATE_GOLDEN=1 in the environment rewrites the files in ``golden/``; look at the difference then.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from flame_graphs import HOSTILE, busy, graphs, hostile, make
from hypothesis import given
from hypothesis import strategies as st

from linscope.picture.flame_graph import FlameGraph
from linscope.render.flame_svg import render_svg
from linscope.render.flame_text import render_text

GOLDEN = Path(__file__).with_name("golden")
SVG = "{http://www.w3.org/2000/svg}"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def check_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def columns(line: str) -> int:
    """An upper bound of the columns that a terminal needs for the line."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line
    )


def svg_frames(graph: FlameGraph, **options: bool | int) -> dict[str, ElementTree.Element]:
    """The rectangles by their title."""
    tree = ElementTree.fromstring(render_svg(graph, **options).encode())  # type: ignore[arg-type]
    found = {}
    for group in tree.iter(f"{SVG}g"):
        title, rect = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        if title is not None and rect is not None:
            found[title.text or ""] = rect
    return found


@pytest.mark.parametrize("width", [60, 80, 120])
def test_text_as_in_the_golden_file(width: int) -> None:
    check_golden(f"busy-{width}.txt", render_text(busy(), width))


def test_text_in_ascii_as_in_the_golden_file() -> None:
    check_golden("busy-80-ascii.txt", render_text(busy(), 80, encoding="ascii", max_rows=12))


@pytest.mark.parametrize("width", [400, 800, 1600])
def test_svg_as_in_the_golden_file(width: int) -> None:
    check_golden(f"busy-{width}.svg", render_svg(busy(), width))


@given(graphs, st.integers(40, 200), st.sampled_from(["utf-8", "ascii", "latin-1", "no-such-encoding"]))
def test_text_never_leaves_its_width(graph: FlameGraph, width: int, encoding: str) -> None:
    text = render_text(graph, width, encoding=encoding)
    assert all(columns(line) <= width for line in text.splitlines())
    assert text.endswith("\n")
    if encoding != "utf-8":
        text.encode("ascii" if encoding == "no-such-encoding" else encoding)
    assert ANSI.sub("", render_text(graph, width, color=True, encoding=encoding)) == text


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_hostile_names_do_not_reach_the_terminal(encoding: str) -> None:
    text = render_text(hostile(), 80, encoding=encoding)
    text.encode(encoding)
    assert all(columns(line) <= 80 for line in text.splitlines())
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_rows_are_the_heaviest_and_the_rest_is_said() -> None:
    text = render_text(busy(), 80, max_rows=3)
    tree = text.split("call tree\n")[1].split("\nnot shown")[0]
    assert len(tree.splitlines()) == 3
    assert "hash_[p]" not in tree
    assert re.search(r"^not shown: \d+ frames of up to [\d.]+ % each, [\d.]+ % in all$", text, re.MULTILINE)


def test_a_chain_is_one_line() -> None:
    text = render_text(make([("a;b;c;d;e", 10)]), 80)
    assert "100.0% 100.0% ████████ all → a → b → c → d → e\n" in text


def test_a_chain_of_100_000_frames_is_one_line() -> None:
    count = 100_000
    parent, weight = np.arange(-1, count - 1), np.zeros(count)
    weight[-1] = 1
    graph = FlameGraph("", "", "ns", "", ["f"], [""], np.array([3]), parent, np.zeros(count), weight)
    assert "100.0% 100.0% ████████ f → (99989 more) → f → f" in render_text(graph, 80)


@given(graphs, st.booleans())
def test_svg_frames_have_the_width_of_their_weight(graph: FlameGraph, icicle: bool) -> None:
    frames = svg_frames(graph, width=1024, icicle=icicle)
    for title, rect in frames.items():
        assert float(rect.attrib["x"]) >= 12
        assert float(rect.attrib["x"]) + float(rect.attrib["width"]) <= 1012.01
        if title.startswith("all:"):
            assert float(rect.attrib["width"]) == pytest.approx(1000, abs=0.6)


def test_svg_leaves_out_what_is_below_a_tenth_of_a_pixel() -> None:
    graph = make([("wide", 999_950), ("thin", 49), ("seen", 101)])
    text = render_svg(graph, 1024)
    titles = [title.split(" ")[0] for title in svg_frames(graph, width=1024)]
    assert sorted(titles) == ["all:", "seen", "wide"]
    assert "1 of 4 frames are narrower than 0.1 pixels: not drawn" in text


def test_svg_icicle_has_the_root_at_the_top() -> None:
    for icicle in (False, True):
        tops = {
            title.split(" ")[0]: int(rect.attrib["y"])
            for title, rect in svg_frames(busy(), icicle=icicle).items()
        }
        assert (tops["all:"] < tops["_start"] < tops["deflate"]) is icicle


def test_svg_survives_hostile_names() -> None:
    text = render_svg(hostile())
    tree = ElementTree.fromstring(text.encode())
    tags = {element.tag.removeprefix(SVG) for element in tree.iter()}
    assert tags == {"svg", "title", "style", "rect", "text", "g"}
    titles = " ".join(element.text or "" for element in tree.iter(f"{SVG}title"))
    assert HOSTILE[0] in titles and "lone \ufffd surrogate \ufffd" in titles
    assert len(text) < 100_000


@pytest.mark.parametrize("weight", [0, 1])
def test_the_smallest_graphs(weight: int) -> None:
    graph = make([("", weight)])
    assert render_text(graph).endswith("\n")
    ElementTree.fromstring(render_svg(graph, 1).encode())
    assert graph.reversed().total() == weight
    assert np.array_equal(graph.totals(), [weight])
