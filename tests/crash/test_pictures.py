"""Pictures of a dump: what they hold adds up."""

from __future__ import annotations

from pathlib import Path

import pytest

from linscope.cli import run
from linscope.commands._crash_pictures import processes, stacks
from linscope.crash.session import Session
from linscope.kernel.task import iter_processes, rss_pages

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


@pytest.mark.skipif(not DUMP.exists(), reason="no ../shared/dumps beside the checkout; clone it there")
def test_files_of_every_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flame, tree = tmp_path / "tasks.svg", tmp_path / "tree.txt"
    assert run(["crash", str(DUMP), "--flame", str(flame), "--processes", str(tree), "-c", "set"]) == 0
    assert flame.read_text().startswith("<svg") or "<svg" in flame.read_text()
    assert "init (1)" in tree.read_text()
    assert 'COMMAND: "init"' in capsys.readouterr().out
    assert run(["crash", str(DUMP), "--flame", str(tmp_path / "x.png")]) == 2
