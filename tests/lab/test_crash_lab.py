"""linscope crash over a guest: while it runs, from inside and outside; and what it finds in tasks that are stuck."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linscope.crash.findings import iter_findings
from linscope.crash.session import Session
from linscope.kernel.locks import iter_waits
from linscope.kernel.stacks import Stack
from linscope.kernel.task import iter_tasks, task_state
from linscope.target.kernel import open_kernel

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
HERE = Path(__file__).parent
# processes that come and go as fast as they can, until the file is there
CHURN = "setsid sh -c 'while ! [ -e {stop} ]; do /bin/true & wait; done' >/dev/null 2>&1 </dev/null &"
ASKED = ("ps", "foreach bt", "log", "mod", "runq", "timer", "timer -r", "irq -s", "foreach task -R pid", "findings")


def asked(*where: str) -> list[str]:
    """The words of a command that asks all."""
    return ["-m", "linscope", "crash", *where, *(word for line in ASKED for word in ("-c", line))]


@pytest.fixture
def churn(debian: Any) -> Iterator[str]:
    """A guest in which processes come and go; gives nothing that is needed."""
    stop = str(debian.folder / "churn-ends")
    debian.out(CHURN.format(stop=stop))
    yield stop
    debian.out(f"touch {stop}")


def check(text: str, errors: str) -> None:
    """All were answered; what changed meanwhile is told, and is no traceback."""
    assert "Traceback" not in errors
    assert "[kthreadd]" in text and "kthreadd at " in text and "Linux version" in text and "TIMER_BASES" in text
    assert all(line.startswith(("linscope: ", "  ")) for line in errors.splitlines()), errors


def test_a_guest_that_runs_from_outside(debian: Any, churn: str) -> None:
    for _ in range(5):
        words = [sys.executable, *asked(f"qemu:{debian.guest.machine.pid}")]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        check(done.stdout, done.stderr)


def test_the_running_kernel_from_inside(debian: Any, churn: str) -> None:
    for _ in range(2):
        done = debian.sh(" ".join([sys.executable, *(f"'{word}'" for word in asked("/proc/kcore"))]))
        check(done.stdout, done.stderr)
    tasks = debian.out("$linscope crash /proc/kcore -c ps --json")
    pids = {json.loads(line)["pid"] for line in tasks.splitlines()}
    assert {1, 2} <= pids


@pytest.fixture(scope="module")
def stuck(debian: Any) -> tuple[Path, dict[str, int]]:
    """A dump with stuck tasks, and their numbers by what they do."""
    said = debian.out(f"{sys.executable} {HERE / 'stuck_guest.py'} /tmp/stuck")
    path = debian.folder / "stuck"
    debian.guest.dump(str(path))
    return path, {name: int(pid) for name, pid in (word.split("=") for word in said.split())}


@pytest.fixture(scope="module")
def session(stuck: tuple[Path, dict[str, int]]) -> Iterator[Session]:
    with open_kernel(str(stuck[0])) as kernel:
        yield Session(kernel)


def test_who_holds_what_others_wait_for(session: Session, stuck: tuple[Path, dict[str, int]]) -> None:
    pids = stuck[1]
    stacks = [(task, session.stacks.of(task)) for task in iter_tasks(session.kernel)]
    waits = {int(wait.task.pid): wait for wait in iter_waits(session.kernel, stacks)}
    mutex, pi = waits[pids["second"]], waits[pids["waiter"]]
    assert (mutex.kind, mutex.owner is not None and int(mutex.owner.pid)) == ("mutex", pids["holder"])
    assert (pi.kind, pi.owner is not None and int(pi.owner.pid)) == ("rt_mutex", pids["owner"])
    writer, reader = waits[pids["writer"]], waits[pids["reader"]]
    assert (writer.kind, reader.kind) == ("rw_semaphore to write", "rw_semaphore to read")
    assert writer.lock == reader.lock and writer.is_reader and writer.owner is not None
    assert int(writer.owner.pid) in (pids["holder"], pids["second"])
    states = {int(task.pid): task_state(task) for task, _ in stacks}
    assert [states[pids[name]] for name in ("holder", "second", "writer", "reader")] == ["S", "D", "D", "D"]


def test_findings_name_them(session: Session, stuck: tuple[Path, dict[str, int]]) -> None:
    pids = stuck[1]
    found = {one.text: one for one in iter_findings(session)}
    assert not session.problems
    mutex = next(one for text, one in found.items() if text.startswith("1 task waits for the mutex"))
    assert f"waiting: stat (PID {pids['second']}) " in mutex.details[0]
    assert mutex.details[1].startswith(f"held by stat (PID {pids['holder']}), state S: ")
    assert mutex.details[1].endswith("request_wait_answer")
    assert mutex.commands == [f"bt {pids['second']}", f"bt {pids['holder']}"]
    both = next(one for text, one in found.items() if text.startswith("2 tasks wait for the rw_semaphore to write and"))
    assert f"mkdir (PID {pids['writer']})" in both.details[0] and f"stat (PID {pids['reader']})" in both.details[0]
    assert any(text.startswith("1 task waits for the rt_mutex") for text in found)


def test_no_wait_is_invented(session: Session) -> None:
    """Tasks that wait for no lock, with any stack."""
    every = [(task, Stack([], "", -1)) for task in iter_tasks(session.kernel) if task_state(task) != "D"]
    kinds = {wait.kind for wait in iter_waits(session.kernel, every)}
    assert kinds == {"rt_mutex"}


@pytest.mark.parametrize("which", ["ps", "foreach bt", "log", "mod", "sys", "mach", "irq -u", "runq", "timer"])
def test_nothing_is_unreadable_in_a_whole_dump(session: Session, which: str, capsys: Any) -> None:
    rows: Callable[[str], Any] = session.run
    before = len(session.problems)
    assert [list(one.text()) if one.text is not None else list(one.rows) for one in rows(which)]
    assert session.problems[before:] == []
