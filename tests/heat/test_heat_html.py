"""The heat map's page in a real browser: what a selection shows is exactly what lies in it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from heat_profiles import Row, heat_profile, paired

from linscope.recording import Recording

ROOT = Path(__file__).resolve().parents[2]

FRONTEND = ROOT / "frontend"
HOSTILE = ["</script><img src=x onerror=alert(1)>", "turned \u202e around", "日本語"]
FAST, SLOW = 2_000, 400_000
pytestmark = [pytest.mark.peer, pytest.mark.slow]


def two_kinds() -> list[Row]:
    """90 fast and 10 slow intervals of key 1, interleaved with one slow interval of key 2."""
    rows = paired([SLOW + i if i % 10 == 9 else FAST for i in range(100)])
    return sorted([*rows, ("begin", 10**9 + 55, 2), ("end", 10**9 + 55 + 2 * SLOW, 2)], key=lambda row: row[1])


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the browser saw while heat_page.mjs used the pages."""
    chromium, node = shutil.which("chromium"), shutil.which("node")
    if not chromium or not node:
        pytest.skip("needs a browser: apt install chromium npm")
    if not (FRONTEND / "node_modules/playwright-core").is_dir():
        pytest.skip("needs the browser's driver: npm --prefix frontend ci")
    folder = tmp_path_factory.mktemp("heat")
    names = ["one", "two", "three"]
    hostile = [(kind, time + key, key) for key in range(3) for kind, time, _ in paired([500, 90_000])]
    pages = {
        "two": (heat_profile(two_kinds(), comms=names), "begin..end"),
        "hostile": (heat_profile(sorted(hostile, key=lambda row: row[1]), comms=HOSTILE), "begin..end"),
        "empty": (heat_profile([]), "begin..end"),
        "offset": (heat_profile(two_kinds()), "begin"),
        "many": (heat_profile(paired([FAST + i % 7 for i in range(30_000)])), "begin..end"),
    }
    for name, (profile, event) in pages.items():
        command = f"linscope heat x.data --event {event}"
        page = Recording(profile).heat(event, key="id" if ".." in event else None, command=command).html()
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    script = Path(__file__).with_name("heat_page.mjs")
    run = subprocess.run([node, script, chromium, folder], stdout=subprocess.PIPE, timeout=120, check=True)
    result: dict[str, Any] = json.loads(run.stdout)
    return result


def test_nothing_went_wrong_and_nothing_was_fetched(facts: dict[str, Any]) -> None:
    assert facts["problems"] == []
    assert facts["requests"] == []


def test_all_at_first(facts: dict[str, Any]) -> None:
    count, percentiles, total = facts["all"]
    assert count == "101 intervals · all of them"
    assert percentiles.split("\n")[0] == "min 2 µs" and "max 800 µs" in percentiles
    assert total.startswith("4.98 ms of a:begin..a:end")  # 90 x 2 us + 10 x 400 us and a bit + 800 us


def test_a_selection_holds_exactly_what_lies_in_it(facts: dict[str, Any]) -> None:
    count, percentiles, total = facts["slow"]
    assert count.startswith("11 intervals · 10.9 %")
    assert "min 400 µs" in percentiles
    assert total.startswith("4.80 ms of")  # the flame graph: 10 x 400 us and a bit, and 800 us
    assert len(facts["events"]) == 11 and facts["caption"] == "11 intervals"
    keys = [row[4] for row in facts["events"]]
    assert keys.count("id=1") == 10 and keys.count("id=2") == 1
    assert facts["largest"][0] == "800 µs"
    assert [(row[0], row[1]) for row in facts["tasks"]] == [("two (101)", "10"), ("three (102)", "1")]
    assert facts["box"] is True


def test_the_command_selects_the_same(facts: dict[str, Any]) -> None:
    prefix, _, rectangle = facts["command"].partition(" --select ")
    assert prefix == "linscope heat x.data --event begin..end"
    first, last, low, high = rectangle.split(",")
    time = tuple(int(part.replace(".", "")) for part in (first, last))
    picture = Recording(heat_profile(two_kinds())).heat("begin..end", key="id")
    assert len(picture.select((time[0], time[1]), (int(low), int(high))).points) == 11


def test_a_link_brings_the_selection_also_beside_a_search(facts: dict[str, Any]) -> None:
    assert facts["linked"][0].startswith("11 intervals") and facts["linked"][1].startswith("4.80 ms")
    assert "select=" in facts["together"] and "search=begin" in facts["together"]


def test_keyboard(facts: dict[str, Any]) -> None:
    assert facts["escaped"] == "101 intervals · all of them"
    assert facts["cell"].split(" ")[1] in ("interval", "intervals")
    assert facts["keyHash"] == "0-1-0-1"
    assert facts["tab"] == "tab-events"


def test_hover(facts: dict[str, Any]) -> None:
    assert "of the column" in facts["tip"] or "0 intervals" in facts["tip"]


def test_what_is_cut_is_told(facts: dict[str, Any]) -> None:
    assert facts["many"]["count"] == "30,000 intervals · all of them"
    assert "of the 30,000 intervals, at most" in facts["many"]["caption"]
    assert facts["empty"]["count"] == "0 intervals · all of them"
    assert facts["offset"]["count"] == "101 events · all of them"


def test_hostile_names_are_text(facts: dict[str, Any]) -> None:
    assert facts["hostile"]["elements"] == 0
    assert "</script><img src=x onerror=alert(1)> (100)" in facts["hostile"]["tasks"]


def test_no_page_is_wider_than_its_window(facts: dict[str, Any]) -> None:
    assert max(facts["cut"]) <= 0


def test_without_scripts_there_are_the_percentiles(facts: dict[str, Any]) -> None:
    assert "101 intervals" in facts["noScript"] and "p99\t" in facts["noScript"]
