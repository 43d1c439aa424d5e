"""What is found in the shared dump; circles of waiting; what last words mean."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from linscope.crash.findings import iter_findings
from linscope.crash.session import Session
from linscope.kernel.locks import chain, find_circles
from linscope.kernel.panic_words import last_words, meaning_of, signs
from linscope.kernel.printk import Message


def test_why_the_kernel_died(session: Session, ask: Callable[..., str]) -> None:
    first = next(iter_findings(session))
    assert first.weight == "fatal"
    assert first.text == "The kernel died: Kernel panic - not syncing: sysrq triggered crash"
    assert first.details[0].startswith("somebody asked for it")
    assert first.details[1] == "on CPU 1, in init (PID 1), 8.51 s after boot"
    assert first.details[2].endswith("__handle_sysrq.cold > sysrq_handle_crash > panic > __crash_kexec")
    assert first.commands == ["bt 1", "bt -a", "log"]
    text = ask("findings")
    assert text.startswith(f" 1. {first.text}\n    {first.details[0]}\n") and "    > bt 1   bt -a   log\n" in text


@pytest.mark.parametrize(
    ("edges", "circles"),
    [
        ({}, []), ({1: 2, 2: 3}, []), ({1: 2, 2: 1}, [[1, 2]]), ({5: 3, 3: 4, 4: 3, 1: 5}, [[3, 4]]), ({1: 1}, [[1]]),
        ({1: 2, 2: 3, 3: 1, 7: 8, 8: 7, 9: 1}, [[1, 2, 3], [7, 8]]),
    ],
)  # fmt: skip
def test_circles(edges: dict[int, int], circles: list[list[int]]) -> None:
    assert find_circles(edges) == circles


def test_chains() -> None:
    assert list(chain(1, {1: 2, 2: 3})) == [1, 2, 3]
    assert list(chain(1, {1: 2, 2: 1})) == [1, 2]


# lines as kernels print them, from Documentation/admin-guide/bug-hunting.rst and the sources that print them
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("BUG: kernel NULL pointer dereference, address: 0000000000000018", "to what is 0000000000000018"),
        ("BUG: unable to handle page fault for address: ffffc90000a00000", "used the address ffffc90000a00000, where"),
        ("general protection fault, probably for non-canonical address 0x6b6b6b6b6b6b6b6b: 0000 [#1] PREEMPT SMP",
         "used 0x6b6b6b6b6b6b6b6b, which cannot be an address; 6b6b... is what the allocator writes"),
        ("general protection fault, probably for non-canonical address 0xdead000000000108: 0000 [#1]", "a list writes"),
        ("kernel BUG at mm/slub.c:379!", "an assertion in the source failed: mm/slub.c:379"),
        ("watchdog: BUG: soft lockup - CPU#3 stuck for 26s! [kworker/3:1:123]", "CPU 3 let nobody else run for 26 s"),
        ("Kernel panic - not syncing: hung_task: blocked tasks", "kernel.hung_task_panic is set"),
        ("Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100", "ended (exit code 0x00000100)"),
        ("nothing of the kind", ""),
    ],
)  # fmt: skip
def test_what_last_words_mean(line: str, words: str) -> None:
    assert words in meaning_of(line) and bool(words) == bool(meaning_of(line))


def messages(*texts: str) -> list[Message]:
    return [Message(place, place, 4, 0, 0, text) for place, text in enumerate(texts)]


def test_the_cause_comes_before_the_panic() -> None:
    words = last_words(messages(
        "x", "BUG: kernel NULL pointer dereference, address: 0000000000000000", "Oops: 0002 [#1]",
        "Kernel panic - not syncing: Fatal exception",
    ))  # fmt: skip
    assert words is not None
    assert words.text.startswith("BUG: ") and words.panic == "Kernel panic - not syncing: Fatal exception"
    assert last_words(messages("all is well")) is None


def test_signs_in_a_log() -> None:
    found = dict(signs(messages(
        "INFO: task mkdir:146 blocked for more than 120 seconds.",
        "Out of memory: Killed process 7",
        "XFS (sda): Mounting", "INFO: task stat:147 blocked for more than 120 seconds.", "XFS (sda): I/O error",
    )))  # fmt: skip
    assert {name: len(some) for name, some in found.items()} == {
        "reports of hung tasks": 2, "processes killed for lack of memory": 1, "errors of block devices": 1,
        "errors of XFS": 1,
    }  # fmt: skip
