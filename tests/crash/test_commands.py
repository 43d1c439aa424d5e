"""Commands over the shared dump beside what crash 8.0.2 said of it with the kernel's vmlinux (answers_of_crash.txt).

crash finds 4 of the dump's 68 tasks, so that lists of tasks are compared with drgn's instead (test_dump.py).
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from peer_answers import Ask, answers, words

from linscope.cli import run
from linscope.crash.session import Session
from linscope.errors import LinscopeError, UsageError

DUMP = Path(__file__).resolve().parents[3] / "shared" / "dumps" / "debian-6.1-lzo.kdump"


ANSWERS = answers("answers_of_crash.txt")
DIFFERENT = {"mach", "bt 1"}


@pytest.mark.parametrize("line", [line for line in ANSWERS if line not in DIFFERENT])
def test_the_same_as_crash(ask: Ask, line: str) -> None:
    assert words(ask(line)) == ANSWERS[line]


def test_the_machine(ask: Ask) -> None:
    """crash calls the machine check stack unknown, and shows one that the kernel does not have."""
    known = ANSWERS["mach"][: ANSWERS["mach"].index("(unknown) STACK SIZE: 0")]
    assert words(ask("mach"))[: len(known)] == known


def test_frames_and_their_words(ask: Ask) -> None:
    """crash has two frames more that only old words on the stack tell: drgn has neither."""
    theirs = [line.partition(" ")[2] for line in ANSWERS["bt 1"] if line.startswith("#")]
    ours = [line.partition(" ")[2] for line in words(ask("bt 1")) if line.startswith("#")]
    wrong = ("machine_kexec", "__crash_kexec", "panic", "exit_to_user_mode_prepare")
    assert [line for line in ours if line.split()[1] not in wrong] == [
        line for line in theirs if line.split()[1] not in wrong
    ]
    assert words(ask("bt 1"))[-6:] == ANSWERS["bt 1"][-6:]  # what the system call saved
    lines = ask("bt -f 27").splitlines()
    assert lines[8:12] == [
        " #1 [ffffd1adc00d7e98] schedule at ffffffff9ba1154a",
        "    ffffd1adc00d7ea0: ffff8e959e3d7cc0 0000000000000000",
        "    ffffd1adc00d7eb0: ffffffff9b18388e",
        " #2 [ffffd1adc00d7eb0] kauditd_thread at ffffffff9b18388e",
    ]
    assert "    ffffd1adc00d7eb0: kauditd_thread+462" in ask("bt -F 27").splitlines()
    raw = ask("bt -r 27").splitlines()
    assert len(raw) == 1 + 1024 + 1 and raw[1].startswith("ffffd1adc00d4000: 0000000057ac6e9d ")
    text = ask("bt -t 27").splitlines()
    assert text[1:3] == [
        "  [ffffd1adc00d7e88] kauditd_thread at ffffffff9b1836c0",
        "  [ffffd1adc00d7e98] schedule+90 at ffffffff9ba1154a",
    ]
    assert set(text) <= set(ask("bt -T 27").splitlines())
    assert ask("bt -v") == "No stack overflows detected\n"
    assert ask("bt -g 1").count("PID: ") == 1
    assert "schedule+0x5a at" in ask("bt -s -x 27")


def test_who_waits_for_a_cpu_and_for_an_event(ask: Ask) -> None:
    """crash shows no task queued, since it knows neither of the two; by drgn both are running."""
    text = ask("runq")
    assert [" ".join(line.split()) for line in text.splitlines() if "[120]" in line] == [
        '[120] PID: 15 TASK: ffff8e958124c800 COMMAND: "rcu_preempt"',
        '[120] PID: 116 TASK: ffff8e959ee48000 COMMAND: "w_busy"',
    ]
    assert words(ask("runq -t"))[:2] == [
        "CPU 0: 8509996948", '8509996948 PID: 105 TASK: ffff8e959fe23000 COMMAND: "cat"',
    ]  # fmt: skip
    assert words(ask("runq -m"))[1] == 'CPU 1: [0 00:00:00.003] PID: 1 TASK: ffff8e95811fb000 COMMAND: "init"'
    assert words(ask("runq -g -c 1"))[2:] == [
        "CFS_RQ: ffff8e959e331a00", '[120] PID: 1 TASK: ffff8e95811fb000 COMMAND: "init" [CURRENT]',
        '[120] PID: 15 TASK: ffff8e958124c800 COMMAND: "rcu_preempt"',
        '[120] PID: 116 TASK: ffff8e959ee48000 COMMAND: "w_busy"',
    ]  # fmt: skip
    rows = [json.loads(line) for line in ask("runq", "json").splitlines()]
    assert [(row["cpu"], row["class"], row["comm"]) for row in rows] == [
        (0, "current", "cat"), (1, "current", "init"), (1, "fair", "rcu_preempt"), (1, "fair", "w_busy"),
    ]  # fmt: skip
    assert words(ask("waitq kauditd_wait")) == ['PID: 27 TASK: ffff8e95812bc800 CPU: 0 COMMAND: "kauditd"']
    assert ask("waitq log_wait").endswith(" is empty\n")


def test_lists_of_tasks(ask: Ask) -> None:
    assert words(ask("ps -p 27"))[1:] == [
        'PID: 2 TASK: ffff8e95811fc800 CPU: 1 COMMAND: "kthreadd"',
        'PID: 27 TASK: ffff8e95812bc800 CPU: 0 COMMAND: "kauditd"',
    ]
    assert ask("ps -c 2").count("\n  PID: ") == sum(
        json.loads(line)["ppid"] == 2 for line in ask("ps", "json").splitlines()
    )
    # crash: RSS without shared pages; 116 kB of cat are in its thread's own counters
    assert words(ask("ps 105"))[1] == "> 105 102 0 ffff8e959fe23000 RU 0.5 2324 1524 cat"
    assert words(ask("ps -S")) == ["ID: 37", "IN: 25", "RU: 6"]
    assert words(ask("ps -y FIFO"))[1].endswith("[migration/0]")
    assert [line.split()[-1] for line in words(ask("ps -A"))[1:]] == ["init", "cat"]
    assert words(ask("ps -m 1")) == ['[0 00:00:00.003] [RU] PID: 1 TASK: ffff8e95811fb000 CPU: 1 COMMAND: "init"']
    assert words(ask("last"))[:3] == [
        '[8509996948] [RU] PID: 105 TASK: ffff8e959fe23000 CPU: 0 COMMAND: "cat"',
        '[8509889067] [IN] PID: 106 TASK: ffff8e959fe2e000 CPU: 0 COMMAND: "cat"',
        '[8502055504] [RU] PID: 1 TASK: ffff8e95811fb000 CPU: 1 COMMAND: "init"',
    ]
    assert words(ask("ps -m -C 1"))[0] == "CPU: 1"
    assert words(ask("ps -t 1"))[2:] == ["START TIME: 518733814", "UTIME: 24000000", "STIME: 944000000"]


def test_arguments_that_are_not_in_the_dump(ask: Ask, session: Session) -> None:
    with pytest.raises(LinscopeError, match="0x7ffeec394fc0: a page that was filtered out"):
        ask("ps -a 1")
    before = len(session.problems)
    assert ask("ps -a").count("(no user stack)") == 54
    assert any("PID 1: " in problem for problem in session.problems[before:])


def test_machine_code(ask: Ask) -> None:
    """The addresses, functions and targets are crash's, the spelling is capstone's."""
    lines = ask("dis sysrq_handle_crash").splitlines()
    assert lines[0] == "0xffffffff9b6a89f0 <sysrq_handle_crash>:\tnopl   (%rax,%rax) [FTRACE NOP]"
    assert lines[1:4] == [
        "0xffffffff9b6a89f5 <sysrq_handle_crash+5>:\tcallq  0xffffffff9b128270 <__rcu_read_unlock>",
        "0xffffffff9b6a89fa <sysrq_handle_crash+10>:\tmovq   $0xffffffff9c3697b9,%rdi",
        "0xffffffff9b6a8a01 <sysrq_handle_crash+17>:\tcallq  0xffffffff9b9ccf31 <panic>",
    ]
    assert ask("dis -r ffffffff9b6a8a06").splitlines()[:4] == lines[:4]
    assert ask("dis ffffffff9b6a89fa").splitlines() == lines[2:3]
    assert ask("dis -f ffffffff9b6a89fa").splitlines()[:2] == lines[2:4]
    assert len(ask("dis vfs_read 5").splitlines()) == 5
    assert (
        ask("dis -x -r ffffffff9b6a8a01 1").splitlines()[0].startswith("0xffffffff9b6a8a01 <sysrq_handle_crash+0x11>:")
    )
    assert "<virtio_" in ask("dis virtblk_probe")  # in a module
    with pytest.raises(UsageError, match="--vmlinux"):
        ask("dis -l vfs_read")


def test_lists_and_trees(ask: Ask) -> None:
    names = [
        line.split('"')[1].split("\\000")[0]
        for line in ask("list -H modules module.list -s module.name").splitlines()[1::2]
    ]
    assert sorted(names) == sorted(json.loads(line)["name"] for line in ask("mod", "json").splitlines())
    back = ask("list -r -H modules module.list").splitlines()
    assert back == ask("list -H modules module.list").splitlines()[::-1]
    assert ask("list -h ffffffff9ca1aa40 task_struct.tasks -e ffff8e95811fe000").splitlines() == [
        "ffffffff9ca1aa40", "ffff8e95811fb000", "ffff8e95811fc800"
    ]  # fmt: skip
    found = ask("tree -t xarray -p irq_desc_tree").splitlines()
    assert found[:2] == ["ffff8e9581158800", "  index: 0x0"]
    assert ask("tree -t radix irq_desc_tree").splitlines()[:2] == ["ffff8e9581158800", "ffff8e9581159600"]
    ranges = ask("tree -t maple -p -r mm_struct.mm_mt init_mm")
    assert ranges == ""


def test_numbers_and_text(ask: Ask) -> None:
    assert ask("ascii 62696c2f7273752f") == "62696c2f7273752f: /usr/lib\n"
    assert ask("ascii").count("\n") == 20
    assert words(ask("eval (1<<32)+5"))[1] == "decimal: 4294967301"
    assert words(ask("eval 128m"))[0] == "hexadecimal: 8000000 (128MB)"
    assert words(ask("eval jiffies_64 / 250"))[1] == "decimal: 17179577"
    assert words(ask("eval -1"))[1] == "decimal: 18446744073709551615 (-1)"
    assert words(ask("sig -s 0x800000000")) == ["SIGRTMIN+4"]


def test_the_log(ask: Ask) -> None:
    assert ask("log -T").startswith("[Sun Nov 22 21:45:05 UTC 2026] Linux version 6.1.0-56-cloud-amd64 ")
    assert "\n SUBSYSTEM=acpi\n DEVICE=" in ask("log -d")
    assert ask("log -t").startswith("Linux version ")
    assert ask("log -m").startswith("<5>[    0.000000] Linux version ")


def test_interrupts(ask: Ask) -> None:
    """crash shows no affinity at all."""
    assert words(ask("irq -a"))[-2:] == ["25 virtio0-req.0 0", "26 virtio0-req.1 1"]
    assert words(ask("irq -s -c 1"))[1] == "0: 0 IO-APIC-edge timer"
    assert words(ask("irq -d"))[:3] == ["[0] asm_exc_divide_error", "[1] asm_exc_debug", "[2] asm_exc_nmi"]
    assert words(ask("irq"))[17] == "16 (unused) (unused)"
    assert len(words(ask("irq 24"))) == 2


def test_help_and_aliases(ask: Ask, session: Session) -> None:
    assert "\nbt " in ask("help") and ask("help bt").startswith("bt [-a | -c CPU | -g]")
    assert ask("man dmesg") == ask("help log")
    ask("alias kp bt -s")
    assert ask("kp 27") == ask("bt -s 27")
    ask('alias kp ""')
    assert "kp" not in session.aliases
    with pytest.raises(UsageError, match="read only"):
        ask("wr jiffies_64 0")
    assert words(ask("sys -c openat")) == ["NUM SYSTEM CALL", "257 __x64_sys_openat", "437 __x64_sys_openat2"]


def test_the_python_that_gives_the_same_rows(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ("ps 1", "bt 27", "runq -c 1", "struct list_head ffffffff9ca1aa40")
    assert run(["crash", str(DUMP), "--code", *(word for line in lines for word in ("-c", line))]) == 0
    code = capsys.readouterr().out
    exec(compile(code, "<code>", "exec"), {})
    printed = [ast.literal_eval(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == [json.loads(row) for line in lines for row in ask(line, "json").splitlines()]


@pytest.mark.parametrize("line", [
    "list", "list -H", "list 1 2 3", "list -s nosuch.x init_task", "tree -t oak 1", "tree 1", "dis 1", "dis nosuch",
    "irq 999", "runq -c x", "sig -s xyz", "waitq 0", "waitq a.b", "timer -C x", "eval", "eval (", "ascii xyz",
    "alias nosuch", "alias bt ps", "help nosuch",
    "sys -c nosuch", "sys x", "ps -C x -l", "task nosuch", "mach x", "bt -c 9",
])  # fmt: skip
def test_mistakes_are_told(ask: Ask, line: str) -> None:
    with pytest.raises(LinscopeError):
        ask(line)
