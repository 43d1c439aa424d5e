"""The page: one file that nothing can break out of, and what it does in a real browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flame_graphs import HOSTILE, busy, graphs, hostile, make
from hypothesis import given

from linscope.picture.flame_graph import FlameGraph
from linscope.render import flame_html
from linscope.render.flame_html import render_html

ROOT = Path(__file__).resolve().parents[2]
FRONTEND = ROOT / "frontend"


def in_browser(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test that uses the page in Chromium."""
    return pytest.mark.peer(pytest.mark.slow(test))


class Page(HTMLParser):
    """Collects what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.cells: list[str] = []
        self.inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts.append(data)
        elif self.inside == "style":
            self.styles.append(data)
        elif self.inside == "td":
            self.cells[-1] += data


def unpack(text: str) -> tuple[dict[str, Any], bytes]:
    """Header and arrays of a page."""
    packed = base64.b64decode(Page(text).scripts[0], validate=True)
    data = zlib.decompress(packed, wbits=-15)
    (length,) = struct.unpack_from("<I", data)
    return json.loads(data[4 : 4 + length]), data[4 + length :]


def planes(data: bytes, at: int, count: int, width: int) -> list[int]:
    """The slow twin of the page's decoder."""
    return [sum(data[at + plane * count + i] << 8 * plane for plane in range(width)) for i in range(count)]


@given(graphs)
def test_the_data_come_out_as_they_went_in(graph: FlameGraph) -> None:
    shown = graph.pruned(len(graph))  # without what weighs nothing
    header, data = unpack(render_html(graph))
    count = header["nodes"]
    assert header["names"] == graph.names
    assert header["details"] == graph.details
    assert count == len(shown)
    assert [i - up if i else -1 for i, up in enumerate(planes(data, 0, count, 4))] == shown.parent.tolist()
    assert planes(data, 4 * count, count, 4) == shown.name.tolist()
    assert planes(data, 8 * count, count, 8) == shown.self_weight.tolist()


def test_splits_are_in_the_data() -> None:
    graph = busy()
    header, data = unpack(render_html(graph))
    split = graph.splits["thread"]
    assert header["splits"] == [{"title": "thread", "labels": split.labels, "entries": len(split.node)}]
    at, count = 16 * header["nodes"], len(split.node)
    assert planes(data, at + 4 * count, count, 4) == split.label.tolist()
    assert planes(data, at + 8 * count, count, 8) == split.weight.tolist()


def test_names_cannot_break_out_of_the_page() -> None:
    plain, bad = Page(render_html(busy())), Page(render_html(hostile()))
    structure = {"html", "head", "meta", "title", "link", "style", "body", "script", "noscript"}
    assert [tag for tag, _ in bad.tags if tag in structure] == [
        tag for tag, _ in plain.tags if tag in structure
    ]
    assert {tag for tag, _ in bad.tags} == {tag for tag, _ in plain.tags}
    assert not any(key.startswith("on") for _, attributes in bad.tags for key in attributes)
    assert HOSTILE[0] in bad.cells and "{{data}} {{script}}" in bad.cells
    assert bad.scripts[1] == plain.scripts[1]
    header, _ = unpack(render_html(hostile()))
    assert header["names"][1:] == HOSTILE
    render_html(hostile()).encode()  # no lone surrogate is left in the text


def test_the_policy_allows_this_script_and_style_and_no_network() -> None:
    text = render_html(busy())
    page = Page(text)
    policies = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    policy = dict(part.split(" ", 1) for part in (policies[0] or "").split("; "))
    for directive, content in (("script-src", page.scripts[1]), ("style-src", page.styles[0])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", re.sub(r"(?s)<script.*?</script>", "", text))
    assert "</script" not in page.scripts[1].lower()


def test_the_table_without_scripts_has_the_top_functions() -> None:
    cells = Page(render_html(busy())).cells
    assert cells[:4] == [
        "49.0 %",
        "49.0 %",
        "longest_match",
        busy().details[busy().names.index("longest_match")][:7],
    ]


def test_too_many_nodes_are_counted_in_their_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flame_html, "MAX_NODES", 10)
    text = render_html(busy())
    header, data = unpack(text)
    assert header["nodes"] == 10
    assert sum(planes(data, 80, 10, 8)) == 1000
    assert f"{len(busy()) - 10} of {len(busy())} frames are too small to draw" in text


def test_an_empty_graph_is_a_page() -> None:
    header, _ = unpack(render_html(make([])))
    assert header["nodes"] == 1


@pytest.mark.peer
def test_the_built_files_are_those_of_the_sources(tmp_path: Path) -> None:
    """Sources that were changed but not built would ship the old page."""
    node = shutil.which("node")
    if not node or not (FRONTEND / "node_modules/esbuild").is_dir():
        pytest.skip("needs the bundler: apt install npm; npm --prefix frontend ci")
    run = subprocess.run([node, FRONTEND / "build.mjs", tmp_path], check=False, timeout=60)
    assert run.returncode == 0
    assets = ROOT / "src/linscope/render/assets"
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in assets.iterdir()}
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (assets / path.name).read_bytes(), f"{path.name}: run make frontend"


def test_the_lock_file_names_no_host() -> None:
    assert "://" not in (FRONTEND / "package-lock.json").read_text(encoding="utf-8").replace(
        "https://opencollective.com/", ""
    )


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the browser saw while flame_page.mjs used the page."""
    chromium, node = shutil.which("chromium"), shutil.which("node")
    if not chromium or not node:
        pytest.skip("needs a browser: apt install chromium npm")
    if not (FRONTEND / "node_modules/playwright-core").is_dir():
        pytest.skip("needs the browser's driver: npm --prefix frontend ci")
    folder = tmp_path_factory.mktemp("page")
    big = busy()
    big.self_weight = big.self_weight * np.int64(2**33)  # 53 bits in all
    pages = {
        "busy": busy(),
        "hostile": hostile(),
        "empty": make([]),
        "deep": make([(";".join("ab" * 600), 5)]),
    }
    for name, graph in {**pages, "big": big}.items():
        (folder / f"{name}.html").write_text(render_html(graph), encoding="utf-8")
    script = Path(__file__).with_name("flame_page.mjs")
    run = subprocess.run([node, script, chromium, folder], stdout=subprocess.PIPE, timeout=120, check=True)
    result: dict[str, Any] = json.loads(run.stdout)
    return result


@in_browser
def test_nothing_went_wrong_and_nothing_was_fetched(facts: dict[str, Any]) -> None:
    assert facts["problems"] == []
    assert facts["requests"] == []


@in_browser
def test_the_numbers_shown(facts: dict[str, Any]) -> None:
    assert facts["total"] == "1,000 samples of cpu-clock"
    assert facts["legend"].split() == ["kernel", "11.9", "%", "native", "86.0", "%", "JIT", "2.1", "%"]
    assert facts["whole"] == ["all", "1,000 samples, 100 % of all  ·  self 0".replace("  ", " ")]
    assert facts["tip"].splitlines()[2:] == ["700 samples, 70.0 % of all", "70.0 % of its parent", "self 0"]
    assert facts["hovered"][0] == "main_[g]"
    assert facts["big"]["total"] == "8.59 T samples of cpu-clock"
    assert facts["empty"]["total"] == "0 samples of cpu-clock"


@in_browser
def test_zoom_by_click_back_and_reset(facts: dict[str, Any]) -> None:
    zoomed = facts["zoomed"]
    assert zoomed["width"] == 1160  # 1,200 without the margins
    assert zoomed["path"].split("\n") == ["Reset zoom", "all", "›", "python3_[g]", "›", "main_[g]"]
    assert zoomed["details"][0] == "main_[g]"
    assert facts["deeper"][1].startswith("440 samples, 44.0 % of all · 62.9 % of its parent")
    assert facts["back"] == "main_[g]"
    assert facts["reset"] == {"path": "all", "hash": {}}


@in_browser
def test_search_counts_nested_matches_once(facts: dict[str, Any]) -> None:
    assert facts["search"] == "16.0 % matched, in 4 frames"
    assert facts["searchCase"] == "16.0 % matched, in 2 frames"
    assert facts["searchPlain"] == "0.30 % matched, in 1 frame"  # not a pattern: taken as plain text
    assert facts["searchCleared"] == ["", ""]
    assert facts["matchColor"] == [0xD9, 0x48, 0xC8, 255]
    assert facts["fadedColor"][3] < 128


@in_browser
def test_keyboard(facts: dict[str, Any]) -> None:
    assert facts["focus"] == "picture"
    assert [facts["root"], facts["moved"], facts["down"]] == ["python3_[g]", "clone3", "worker_[g]"]
    assert facts["spoken"].startswith("clone3, native · ")
    assert facts["entered"] == "clone3"
    assert facts["escaped"] == "all"
    assert facts["help"] is True


@in_browser
def test_icicle_reversed_groups_order_and_colors(facts: dict[str, Any]) -> None:
    assert facts["icicle"]["above"] is True
    assert facts["icicle"]["hash"]["icicle"] == "1"
    assert facts["reversed"] == {"first": True, "numbers": facts["legend"]}
    assert facts["group"]["total"] == "300 samples of cpu-clock, 30.0 % of all"
    assert facts["group"]["main"] == 0
    assert facts["group"]["hash"]["group"] == "thread:worker 11"
    assert facts["heaviestLeft"] is True
    assert facts["objects"].split()[::3] == ["lib2.so", "lib0.so", "lib1.so"]


@in_browser
def test_table_sorts_and_leads_to_the_search(facts: dict[str, Any]) -> None:
    table = facts["table"]
    assert table["sorted"] == "descending"
    assert table["names"][:3] == ["longest_match", "sha256_block_data_order", "deflate"]
    assert table["self"][:4] == ["60.0 %", "32.3 %", "6.7 %", "1.0 %"]
    assert not {"all", "python3_[g]", "worker_[g]"} & set(table["names"])
    assert facts["tableByName"] == sorted(table["names"])
    assert facts["tableChosen"]["search"] == "^PyEval$"


@in_browser
def test_a_link_brings_the_same_view(facts: dict[str, Any]) -> None:
    assert facts["linked"][0] == facts["tableChosen"]
    assert facts["linked"][1:] == ["300 samples of cpu-clock, 30.0 % of all", "100 % matched, in 1 frame"]
    assert facts["linkedZoom"] == "main_[g]"


@in_browser
def test_nothing_is_cut_off_and_the_picture_is_sharp(facts: dict[str, Any]) -> None:
    assert len(facts["fits"]) == 4
    for fit in facts["fits"]:
        assert fit["cut"] == []
        assert fit["scroll"] <= 0
        assert fit["sharp"] is True
        assert fit["height"] >= 150


@in_browser
def test_hostile_and_deep_graphs(facts: dict[str, Any]) -> None:
    assert facts["hostile"]["title"] == HOSTILE[0]
    assert facts["hostile"]["elements"] == 0
    content, picture = facts["deepRows"]
    assert content == 1201 * 19
    assert picture < 800  # only the visible part is a bitmap
    assert facts["deepPixel"][3] == 255  # and the far end is drawn when scrolled to


@in_browser
def test_without_scripts_there_is_the_table(facts: dict[str, Any]) -> None:
    assert "49.0 %\t49.0 %\tlongest_match\tlib2.so" in facts["noScript"]
