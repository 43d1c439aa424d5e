"""Signals: what is done with them, which are blocked, which wait.

Source: include/linux/sched/signal.h, signal_types.h; arch/x86/include/uapi/asm/signal.h; signal(7).
"""

from __future__ import annotations

from linscope.target.walks import iter_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT/SIGIOT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD/SIGCLD CONT STOP TSTP "
    "TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO/SIGPOLL PWR SYS/SIGUNUSED"
).split()
SIGNALS = 64
_REAL_TIME = 32  # SIGRTMIN of the kernel
_FLAGS = (
    (0x1, "SA_NOCLDSTOP"), (0x2, "SA_NOCLDWAIT"), (0x4, "SA_SIGINFO"), (0x04000000, "SA_RESTORER"),
    (0x08000000, "SA_ONSTACK"), (0x10000000, "SA_RESTART"), (0x40000000, "SA_NODEFER"), (0x80000000, "SA_RESETHAND"),
)  # fmt: skip


class Action(NamedTuple):
    """What a process does with a signal."""

    number: int
    address: int  # of the struct k_sigaction
    handler: int  # 0: SIG_DFL, 1: SIG_IGN
    mask: int
    flags: int


class Pending(NamedTuple):
    """A signal that waits with its siginfo."""

    number: int
    address: int  # of the struct sigqueue


def signal_name(number: int) -> str:
    """Of a signal: "SIGHUP", "SIGRTMIN+4"."""
    if 1 <= number <= len(_NAMES):
        return f"SIG{_NAMES[number - 1]}"
    if number == _REAL_TIME:
        return "SIGRTMIN"
    middle = _REAL_TIME + 16
    if _REAL_TIME < number <= middle:
        return f"SIGRTMIN+{number - _REAL_TIME}"
    return "SIGRTMAX" if number == SIGNALS else f"SIGRTMAX-{SIGNALS - number}"


def flag_names(flags: int) -> list[str]:
    """The names of the flags of sigaction(2)."""
    return [name for bit, name in _FLAGS if flags & bit]


def iter_actions(task: Object) -> Iterator[Action]:
    """What a task's process does with each signal; nothing when it has gone.  Raises MemoryFault."""
    if not int(task.sighand):
        return
    for place, one in enumerate(task.sighand.action):
        action = one.sa
        yield Action(place + 1, one.address_ or 0, int(action.sa_handler), sigset(action.sa_mask), int(action.sa_flags))


def sigset(mask: Object) -> int:
    """A sigset_t as a number.  Raises MemoryFault."""
    return int(mask.sig[0])


def iter_pending(pending: Object) -> Iterator[Pending]:
    """The queue of a struct sigpending.  Raises MemoryFault, FormatError."""
    space = pending.space_
    head = pending.member_("list").address_
    for address in iter_list(space, head or 0, space.types.offset("struct sigqueue", "list")):
        yield Pending(int(space.object("struct sigqueue", address).info.si_signo), address)
