"""files, mount, net, dev, swap, ipcs over the shared dump, beside what crash 8.0.2 said of it with the kernel's vmlinux
(answers_of_crash_files.txt).  Paths are those of /proc/PID/fd, where crash has less.
"""

from __future__ import annotations

import json

import pytest
from peer_answers import Ask, answers, words

from linscope.errors import MemoryFault, UsageError

ANSWERS = answers("answers_of_crash_files.txt")
DIFFERENT = {"files 105", "net"}


@pytest.mark.parametrize("line", [line for line in ANSWERS if line not in DIFFERENT])
def test_the_same_as_crash(ask: Ask, line: str) -> None:
    assert words(ask(line)) == ANSWERS[line]


def test_pipes_have_their_number(ask: Ask) -> None:
    """crash shows no path for a pipe; the number is that of its inode in drgn."""
    assert words(ask("files 105")) == [
        line + " pipe:[11159]" if line.endswith("FIFO") else line for line in ANSWERS["files 105"]
    ]


def test_files_as_data(ask: Ask) -> None:
    rows = [json.loads(line) for line in ask("files 1", "json").splitlines()]
    assert rows[0] == {"pid": 1, "task": "0xffff8e95811fb000", "cpu": 1, "comm": "init"}
    assert rows[1] == {"pid": 1, "root": "/", "working_directory": "/"}
    assert rows[5] == {
        "pid": 1, "fd": 10, "file": "0xffff8e9582332400", "dentry": "0xffff8e9581416780", "inode": "0xffff8e9582002e80",
        "mapping": "0xffff8e9582002ff8", "cached_pages": 1, "kind": "REG", "path": "/init", "protocol": "",
        "position": 1580, "flags": 0o100000,
    }  # fmt: skip


def test_files_of_many_tasks(ask: Ask) -> None:
    """All tasks that crash does not find are there: drgn's for_each_file over for_each_task has 14 with files."""
    text = ask("foreach files")
    assert text.count("PID: ") == 68
    assert text.count("No open files") == 68 - 14
    assert [line.split()[1] for line in ask("foreach files -R sysrq").splitlines() if line.startswith("PID")] == ["1"]
    assert "SOCK TCP" in ask("files 113")


def test_mounts_that_are_meant(ask: Ask) -> None:
    """crash 8.0.2 refuses arguments of mount on this kernel."""
    lines = ask("mount").splitlines()
    assert ask("mount /proc").splitlines() == [lines[0], lines[2]]
    assert ask("mount ffff8e9581cf50f8") == ask("mount ffff8e9593713a00") == ask("mount p") == ask("mount /proc")
    assert ask("mount -n 113") == ask("mount")


def test_devices_as_data(ask: Ask) -> None:
    rows = [json.loads(line) for line in ask("dev", "json").splitlines()]
    assert {"major": 10, "first_minor": 0, "minors": 256, "name": "misc", "cdev": "0xffff8e95813ebe00",
            "operations": "misc_fops"} in rows  # fmt: skip
    assert rows[-1]["disk"] == "vda" and rows[-1]["sectors"] == 1310720  # drgn: part0.bd_nr_sectors
    assert json.loads(ask("dev -d", "json"))["reads"] == 1  # drgn: part0.bd_stats of both CPUs
    assert ask("dev -D").count("\n") == 1
    outer = [json.loads(line) for line in ask("dev -i", "json").splitlines()]
    assert [row["depth"] for row in outer[:4]] == [0, 1, 2, 2]


@pytest.mark.parametrize(
    "line", ["ipcs 7", "ipcs x", "dev -i -d", "files nobody", "files -d x", "mount /nowhere", "mount -n nobody"]
)
def test_mistakes(ask: Ask, line: str) -> None:
    with pytest.raises(UsageError):
        ask(line)


def test_places_that_hold_nothing(ask: Ask) -> None:
    with pytest.raises(MemoryFault, match="no virtual memory at 0x70"):
        ask("files -d 10")
