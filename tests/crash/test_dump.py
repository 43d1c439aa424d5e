"""The commands of crash over the shared dump, beside what drgn read in it with all of DWARF."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linscope.crash.session import Session
from linscope.errors import UsageError
from linscope.kernel.printk import iter_messages
from linscope.kernel.task import iter_tasks, task_state
from linscope.render.rows import write_rows
from linscope.target.kernel import open_kernel

DUMP = Path(__file__).resolve().parents[3] / "shared" / "dumps" / "debian-6.1-lzo.kdump"
pytestmark = pytest.mark.skipif(not DUMP.exists(), reason="no ../shared/dumps beside the checkout; clone it there")


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with open_kernel(str(DUMP)) as kernel:
        yield Session(kernel)


@pytest.fixture(scope="module")
def expected() -> Any:
    return json.loads(DUMP.with_suffix(".expected.json").read_text())


def answer(session: Session, line: str, form: str = "text") -> str:
    """What a line prints."""
    out = io.StringIO()
    for rows in session.run(line):
        write_rows(rows, form, out)
    return out.getvalue()


def test_tasks_and_their_states(session: Session, expected: Any) -> None:
    found = [
        (int(task.pid), int(task.tgid), task.comm.string_(), task_state(task), f"{task.address_:#x}")
        for task in iter_tasks(session.kernel)
    ]
    wanted = [(one["pid"], one["tgid"], one["comm"], one["state"], one["address"]) for one in expected["tasks"]]
    assert sorted(found) == sorted(wanted)
    assert not session.problems


def test_all_stacks_to_the_address(session: Session, expected: Any) -> None:
    wanted = {one["address"]: one for one in expected["tasks"]}
    for task in iter_tasks(session.kernel):
        one = wanted.pop(f"{task.address_:#x}")
        stack = session.stacks.of(task)
        assert [f"{frame.pc:#x}" for frame in stack.frames] == one["pcs"], one["comm"]
        names = [session.kernel.place_of(frame.pc) for frame in stack.frames if session.kernel.is_text(frame.pc)]
        for place, name in zip(names, one["stack"], strict=False):
            assert place is not None
            # DWARF has the name that is in the source; a part of a function that was moved away keeps it there
            assert place.symbol.split(".")[0] in (name, f"{name}_after_hwframe")
    assert not wanted


def test_structs_lie_as_dwarf_has_them(session: Session, expected: Any) -> None:
    types = session.kernel.types
    for name, struct in expected["structs"].items():
        kind = types.find(f"struct {name}") or types.get(name)
        assert kind.size == struct["size"]
        for member, bits in struct["members"].items():
            assert types.place(kind, member).bit_offset == bits, (name, member)


def test_log_and_modules(session: Session, expected: Any) -> None:
    lines = answer(session, "log").splitlines()
    assert len(lines) + 1 == expected["log_lines"]  # the other text ends with an empty line
    assert lines[-3:] == expected["log_last"][:-1]
    assert sorted(one.name for one in session.kernel.modules) == expected["modules"]
    assert [message.seq for message in iter_messages(session.kernel)] == list(range(386))


def test_text_and_data_say_the_same(session: Session) -> None:
    text = answer(session, "ps")
    rows = [json.loads(line) for line in answer(session, "ps", "json").splitlines()]
    assert len(text.splitlines()) == len(rows) + 1 == 69
    assert ">       1       0   1  ffff8e95811fb000  RU   0.6     2260     1796  init" in text.splitlines()
    assert {row["comm"] for row in rows if row["runs"]} == {"cat", "init"}
    frames = [json.loads(line) for line in answer(session, "bt 1", "json").splitlines()]
    assert [frame["function"] for frame in frames[:3]] == ["__crash_kexec", "panic", "sysrq_handle_crash"]
    assert [frame["reliable"] for frame in frames[:3]] == [True, False, True]


def test_one_task_and_many(session: Session) -> None:
    assert answer(session, "bt").startswith("PID: 1 ")  # it crashed the kernel
    assert answer(session, "set 105").splitlines()[1] == 'COMMAND: "cat"'
    assert answer(session, "bt").startswith("PID: 105 ")
    assert answer(session, "set -p").splitlines()[0] == "    PID: 1"
    assert answer(session, "foreach bt").count("PID: ") == 68
    assert answer(session, "foreach RU user bt").count("PID: ") == 3
    assert answer(session, "bt -c 0").startswith("PID: 105 ")
    assert answer(session, "bt ffff8e95811fb000") == answer(session, "bt 1")
    assert "sysrq triggered crash" in answer(session, "sys")


MISTAKES = ("bt nobody", "bt -c 77", "bt -c x", "nothing", "foreach", "foreach nobody bt", "ps -z", "'")


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes(session: Session, line: str) -> None:
    with pytest.raises(UsageError):
        answer(session, line)
