"""`linscope crash --flame`, `--processes`, `--memory`: tasks, processes and memory of a kernel as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from linscope.errors import LinscopeError
from linscope.kernel.memory_owners import owners
from linscope.kernel.task import is_kthread, iter_processes, iter_tasks, rss_pages, task_state
from linscope.picture.tree_map import Area, TreeMap
from linscope.pictures import FlamePicture, TreeMapPicture
from linscope.views.stacks import Frame, stacks_graph

if TYPE_CHECKING:
    from linscope.crash.session import Session
    from linscope.target.objects import Object

_PAGE = 4096
_STATES = {
    "R": "running or waiting for a CPU (R)", "S": "sleeping (S)", "D": "blocked (D)", "I": "idle (I)",
    "T": "stopped (T)", "t": "traced (t)", "Z": "ended, not waited for (Z)", "X": "ended (X)", "P": "parked (P)",
}  # fmt: skip
_MOST_DEPTH = 200  # of a tree of processes


def _subtitle(session: Session) -> str:
    release = session.kernel.variable("init_uts_ns").name.release.string_()
    return " · ".join(part for part in (release, session.kernel.where) if part)


def stacks(session: Session) -> FlamePicture:
    """The stacks of all tasks, by state; each task is one.  Raises UsageError when there is none."""
    kernel = session.kernel
    rows: list[tuple[Sequence[Frame], int]] = []
    for task in iter_tasks(kernel):
        try:
            state = task_state(task)
        except LinscopeError as error:
            session.problems.append(f"task at {task.address_:#x}: {error}")
            continue
        frames: list[Frame] = [(_STATES.get(state, state), "", "label")]
        for frame in reversed(session.stacks.of(task).frames):
            place = kernel.place_of(frame.pc) if kernel.is_text(frame.pc) else None
            if place is not None:
                frames.append((place.symbol, f"[{place.module}]" if place.module else "[kernel]", "kernel"))
        frames.append((task.comm.string_(), f"PID {int(task.pid)}", "label"))
        rows.append((frames, 1))
    graph = stacks_graph(
        rows, title="Stacks of all tasks", subtitle=_subtitle(session), unit="tasks", event="tasks", notes=[]
    )
    return FlamePicture(graph)


def processes(session: Session) -> FlamePicture:
    """The tree of processes, each as wide as the memory that it and its children have.

    Threads of the kernel, which have none, count one page each, so that they are seen.
    """
    kernel = session.kernel
    found = {task.address_: task for task in iter_processes(kernel)}
    rows: list[tuple[Sequence[Frame], int]] = []
    for task in found.values():
        try:
            pages = rss_pages(kernel, task)
            rows.append((_ancestry(task), max(pages, 1) * _PAGE))
        except LinscopeError as error:
            session.problems.append(f"process at {task.address_:#x}: {error}")
    graph = stacks_graph(
        rows, title="Processes by memory", subtitle=_subtitle(session), unit="bytes", event="resident memory", notes=[]
    )
    return FlamePicture(graph)


def memory(session: Session) -> TreeMapPicture:
    """Who has the memory."""
    areas = []
    for owner in owners(session.kernel):
        areas.append(Area(owner.name, owner.size, [Area(name, size) for name, size in owner.parts]))
    return TreeMapPicture(TreeMap("Memory by owner", _subtitle(session), "bytes", areas))


def _ancestry(task: Object) -> list[Frame]:
    """From the first process to one."""
    path: list[Frame] = []
    at = task
    while len(path) < _MOST_DEPTH and int(at.pid):
        kind = "kernel" if is_kthread(at) else "native"
        path.append((f"{at.comm.string_()} ({int(at.pid)})", "", kind))
        parent = at.real_parent.group_leader.deref_()
        if parent.address_ == at.address_:
            break
        at = parent
    path.reverse()
    return path
