"""The commands of crash over the shared dump, beside what drgn read in it with all of DWARF."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linscope.crash.session import Session
from linscope.errors import ExpressionError, MemoryFault, UsageError
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


def test_types_and_what_they_hold(session: Session) -> None:
    assert answer(session, "struct -o list_head").splitlines()[1:] == [
        "    [0] struct list_head *next;", "    [8] struct list_head *prev;", "}", "SIZE: 16"
    ]  # fmt: skip
    assert answer(session, "task_struct.pid,comm 1") == '  pid = 1,\n  comm = "init' + "\\000" * 11 + '",\n'
    assert answer(session, "struct task_struct.pid ffff8e95811fb000") == "  pid = 1,\n"
    assert answer(session, "struct rq.cpu runqueues:a") == "  cpu = 0,\n  cpu = 1,\n"
    whole = json.loads(answer(session, "struct task_struct 105", "json"))["value"]
    assert (whole["pid"], whole["comm"], whole["thread_info"]["cpu"]) == (105, "cat", 0)
    text = answer(session, "struct task_struct 105")
    assert text.startswith("struct task_struct {\n  thread_info = {\n    flags = ") and text.endswith("}\n")
    # the same member from its own address
    at = answer(session, "struct task_struct.tasks -o 105").split("[")[1].split("]")[0]
    assert answer(session, f"struct -l task_struct.tasks task_struct.pid {at}") == "  pid = 105,\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("sizeof(struct page)", "64"), ("(3+4)*2 << 1", "28"), ("-5/2", "-2"), ("-5 % 3", "-2"), ("~0x0fU >> 28", "15"),
        ("1 ? 2 : 3", "2"), ("init_task.pid == 0 && !init_task.pid", "1"), ("'a'", "97"), ("HRTIMER_RESTART", "1"),
        ("init_task.comm[1]", "119 'w'"), ("runqueues:1.cpu", "1"), ("prb->desc_ring.count_bits", "12"),
        ("&((struct task_struct *)0)->tasks", "(struct list_head *) 0x890"),
        ("((struct task_struct *)0xffff8e95811fb000)->pid", "1"), ("*&init_task.pid", "0"),
        ("((char *)&init_task.comm)[0]", "115 's'"), ("(unsigned char)300", "44 ','"),
        ("(&init_task + 1) - &init_task", "1"),
    ],
)  # fmt: skip
def test_expressions(session: Session, text: str, value: str) -> None:
    assert answer(session, f"p {text}") == f"{text} = {value}\n"


WRONG = ("1 +", "init_task.nope", "nosuch", "1 / 0", "(", "2 3", "1 $ 2", "*5", "(" * 500, "()", "09")


@pytest.mark.parametrize("text", WRONG)
def test_mistakes_in_expressions_have_their_place(session: Session, text: str) -> None:
    with pytest.raises(ExpressionError, match=r"\^"):
        answer(session, f"p {text}")


def test_memory_and_symbols(session: Session) -> None:
    assert answer(session, "rd -a linux_banner").split(":  ")[1].startswith("Linux version 6.1.0-56-cloud-amd64 (")
    lines = answer(session, "rd linux_banner 4").splitlines()
    assert lines[0].endswith("65762078756e694c 2e36206e6f697372   Linux version 6.")
    assert answer(session, "rd -8 linux_banner 5").split()[1:6] == ["4c", "69", "6e", "75", "78"]
    assert answer(session, "sym init_task") == "ffffffff9ca1aa40 (D) init_task\n"
    assert answer(session, "sym ffffffff9b16475a") == "ffffffff9b16475a (T) __crash_kexec+282\n"
    assert answer(session, "sym -m virtio_blk").count("[virtio_blk]") > 50
    assert [line.split()[2] for line in answer(session, "sym -n -p schedule").splitlines()][1] == "schedule"
    with pytest.raises(MemoryFault, match="0x10"):
        answer(session, "rd 10")


MISTAKES = ("bt nobody", "bt -c 77", "bt -c x", "nothing", "foreach", "foreach nobody bt", "ps -z", "ps '")


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes(session: Session, line: str) -> None:
    with pytest.raises(UsageError):
        answer(session, line)
