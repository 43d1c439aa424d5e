"""Pictures of a dump: what they hold adds up."""

from __future__ import annotations

from pathlib import Path

import pytest

from linscope.cli import run
from linscope.commands._crash_pictures import memory, processes, stacks
from linscope.crash.session import Session
from linscope.kernel.memory_owners import owners
from linscope.kernel.task import iter_processes, rss_pages
from linscope.picture.tree_map import Area, lay_out
from linscope.render.tree_map_svg import render_html, render_text

DUMP = Path(__file__).resolve().parents[3] / "shared" / "dumps" / "debian-6.1-lzo.kdump"


def test_stacks_of_all_tasks_by_state(session: Session) -> None:
    graph = stacks(session).graph
    assert int(graph.self_weight.sum()) == 66
    states = {graph.names[int(graph.name[node])] for node in range(len(graph)) if graph.parent[node] == 0}
    assert states == {"idle (I)", "running or waiting for a CPU (R)", "sleeping (S)"}
    assert {"worker_thread", "sysrq_handle_crash", "init"} <= set(graph.names)


def test_processes_by_memory(session: Session) -> None:
    graph = processes(session).graph
    wanted = sum(max(rss_pages(session.kernel, task), 1) * 4096 for task in iter_processes(session.kernel))
    assert int(graph.self_weight.sum()) == wanted
    names = [graph.names[int(graph.name[node])] for node in range(len(graph))]
    at = names.index("cat (105)")
    path = []
    while at > 0:
        path.append(names[at])
        at = int(graph.parent[at])
    assert path == ["cat (105)", "init (102)", "init (1)"]


def test_memory_by_owner(session: Session) -> None:
    """Each page has one owner: the sum is what the kernel manages.  Free pages as crash 8.0.2 has them (kmem -i)."""
    found = {owner.name: owner for owner in owners(session.kernel)}
    assert sum(owner.size for owner in found.values()) == 79300 * 4096
    assert found["free"].size == 66428 * 4096
    assert sum(size for _, size in found["slab caches"].parts) == found["slab caches"].size
    assert found["slab caches"].parts[0][0] == "inode_cache"
    assert found["anonymous memory of processes"].parts[0][0] == "work (101)"
    picture = memory(session).tree_map
    assert "free" in render_text(picture) and "<svg" in render_html(picture)


def test_areas_of_a_tree_map_fill_it() -> None:
    sizes = [500, 300, 100, 60, 30, 9, 1, 0]
    boxes = list(lay_out([Area(str(size), size) for size in sizes], 10, 20, 300, 200))
    assert len(boxes) == 7
    for box in boxes:
        assert box.width * box.height == pytest.approx(60000 * box.area.size / 1000)
        assert box.left >= 10 and box.left + box.width <= 310.001
        assert box.top >= 20 and box.top + box.height <= 220.001
    for one in boxes:
        for other in boxes:
            apart = (
                one.left + one.width <= other.left + 1e-6 or other.left + other.width <= one.left + 1e-6
                or one.top + one.height <= other.top + 1e-6 or other.top + other.height <= one.top + 1e-6
            )  # fmt: skip
            assert one is other or apart


@pytest.mark.skipif(not DUMP.exists(), reason="no ../shared/dumps beside the checkout; clone it there")
def test_files_of_every_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flame, tree = tmp_path / "tasks.svg", tmp_path / "tree.txt"
    assert run(["crash", str(DUMP), "--flame", str(flame), "--processes", str(tree), "-c", "set"]) == 0
    assert flame.read_text().startswith("<svg") or "<svg" in flame.read_text()
    assert "init (1)" in tree.read_text()
    assert 'COMMAND: "init"' in capsys.readouterr().out
    assert run(["crash", str(DUMP), "--flame", str(tmp_path / "x.png")]) == 2
