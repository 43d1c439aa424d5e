"""What a kernel's last words mean, in words of our own.

Source: Documentation/admin-guide/bug-hunting.rst, sysrq.rst; include/linux/poison.h; lib/Kconfig.debug.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple

    from linscope.kernel.printk import Message
else:
    from linscope.binfmt.records import NamedTuple

_MEANINGS = (
    (r"sysrq triggered crash", "somebody asked for it: c was written to /proc/sysrq-trigger, or SysRq-C was pressed"),
    (r"kernel NULL pointer dereference, address: (\S+)", "code went through a null pointer, to what is {0} behind it"),
    (r"unable to handle page fault for address: (\S+)", "code used the address {0}, where there is no memory"),
    (r"unable to handle kernel paging request at (\S+)", "code used the address {0}, where there is no memory"),
    (r"general protection fault.*non-canonical address (\S+?):?(?: |$)", "code used {0}, which cannot be an address"),
    (r"general protection fault", "code used what cannot be an address, or did what it may not"),
    (r"kernel BUG at ([^\s!]+)", "an assertion in the source failed: {0}"),
    (r"stack-protector: Kernel stack is corrupted in: (\S+)", "{0} wrote behind the end of an array on its stack"),
    (r"hung_task: blocked tasks", "tasks were blocked for too long, and kernel.hung_task_panic is set"),
    (r"softlockup: hung tasks", "a CPU let nobody else run for too long, and kernel.softlockup_panic is set"),
    (r"Hard LOCKUP", "a CPU did not even take interrupts"),
    (r"Out of memory and no killable processes", "memory ran out, and there was nobody left to kill"),
    (r"Out of memory: .*panic_on_oom|panic_on_oom is enabled", "memory ran out, and vm.panic_on_oom is set"),
    (r"Attempted to kill init! exitcode=(\S+)", "the first process ended (exit code {0})"),
    (r"VFS: Unable to mount root fs", "the root file system could not be mounted"),
    (r"Fatal exception in interrupt", "the kernel made a mistake in an interrupt, where it cannot go on"),
    (r"Fatal (?:machine check|hardware error)", "the hardware told of an error that cannot be mended"),
    (r"Fatal exception", "the kernel made a mistake, and kernel.panic_on_oops is set"),
    (r"panic_on_warn set", "there was a warning, and kernel.panic_on_warn is set"),
    (r"soft lockup - CPU#(\d+) stuck for (\d+)s", "CPU {0} let nobody else run for {1} s"),
    (r"kernel stack overflow|stack guard page was hit", "a stack of the kernel overflowed"),
    (r"Machine check", "the hardware told of an error"),
    (r"rcu: INFO: .*detected stalls", "RCU waited too long for CPUs or tasks"),
)  # fmt: skip
_POISONS = (
    (r"6b6b6b6b", "6b6b... is what the allocator writes into freed memory: it was used after it was freed"),
    (r"5a5a5a5a", "5a5a... is what the allocator writes into new memory: it was used before it was set"),
    (r"dead0000000001[0-2][0-9a-f]", "dead...1xx is what a list writes into an entry that was taken out"),
    (r"a5a5a5a5", "a5... is the end that the allocator guards: it was written over"),
    (r"cccccccc", "cc... fills code that was freed"),
)
# what a kernel says when it dies, the most telling first
_LAST_WORDS = (
    "BUG: ", "kernel BUG at ", "Oops: ", "general protection fault", "Unable to handle kernel ", "watchdog: BUG: ",
    "Kernel panic - not syncing: ", "sysrq: Trigger a crash",
)  # fmt: skip
_PANIC = "Kernel panic - not syncing: "
# signs of trouble in a log, with what they are called
SIGNS = (
    ("Out of memory: ", "processes killed for lack of memory"),
    ("invoked oom-killer", "calls of the OOM killer"),
    ("blocked for more than", "reports of hung tasks"),
    ("soft lockup", "soft lockups"),
    ("detected stalls", "RCU stalls"),
    ("hard LOCKUP", "hard lockups"),
    ("page allocation failure", "failed allocations of pages"),
    ("WARNING: CPU", "warnings"),
    ("I/O error", "errors of block devices"),
    ("EXT4-fs error", "errors of ext4"),
    ("Hardware Error", "hardware errors"),
    ("mce: ", "machine checks"),
    ("nfs: server", "messages of NFS servers"),
    ("segfault at", "programs that crashed"),
)


class LastWords(NamedTuple):
    """Why a kernel died."""

    text: str  # the line of the log
    meaning: str  # "" when we know no better
    panic: str  # the line of the panic, when it is another; "" without one


def last_words(messages: Sequence[Message]) -> LastWords | None:
    """What the log says of the end; None: nothing."""
    texts = [message.text for message in messages]
    panic = next((text for text in reversed(texts) if _PANIC in text), "")
    found = ""
    for word in _LAST_WORDS:
        found = next((text for text in texts if word in text), "")
        if found:
            break
    if not found:
        return None
    line = found.splitlines()[0]
    return LastWords(
        line, meaning_of(line) or meaning_of(panic), panic.splitlines()[0] if panic and panic != found else ""
    )


def meaning_of(text: str) -> str:
    """A line of the log in words; "" when it is not known."""
    for pattern, meaning in _MEANINGS:
        match = re.search(pattern, text)
        if match is not None:
            words = meaning.format(*match.groups())
            poison = next((more for sign, more in _POISONS if re.search(sign, text)), "")
            return f"{words}; {poison}" if poison else words
    return ""


def signs(messages: Sequence[Message]) -> list[tuple[str, list[Message]]]:
    """(what it is, its messages) of all that a log has of SIGNS."""
    found = [(name, [one for one in messages if sign in one.text]) for sign, name in SIGNS]
    xfs = [one for one in messages if "XFS (" in one.text and re.search("error|shut", one.text, re.IGNORECASE)]
    return [(name, some) for name, some in [*found, ("errors of XFS", xfs)] if some]
