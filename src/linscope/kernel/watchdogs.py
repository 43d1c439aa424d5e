"""What watches a kernel, read as it would itself: CPUs that let nobody else run, grace periods that do not end.

Source: kernel/watchdog.c (watchdog_touch_ts), kernel/rcu/tree.h (struct rcu_state), kernel/hung_task.c.
"""

from __future__ import annotations

from linscope.errors import LinscopeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
else:
    from linscope.binfmt.records import NamedTuple

_NEVER = (1 << 64) - 1
_UNIT_SHIFT = 30  # a second is 2**30 ns to the watchdog
_RCU_RUNNING = 3  # RCU_SEQ_STATE_MASK
_HUNG_S = 120
_RCU_S = 21  # RCU_CPU_STALL_TIMEOUT


class Stuck(NamedTuple):
    """A CPU whose watchdog thread did not come to run."""

    cpu: int
    seconds: float


def now_ns(kernel: Kernel) -> int:
    """The newest clock of all run queues: the time of the dump, from boot on.  Raises MemoryFault."""
    return max((int(kernel.per_cpu("runqueues", cpu).clock) for cpu in kernel.cpus()), default=0)


def threshold_s(kernel: Kernel) -> int:
    """After so many seconds the kernel itself calls it a soft lockup: twice kernel.watchdog_thresh."""
    found = kernel.find_symbol("watchdog_thresh")
    return 2 * (kernel.u32(found) if found is not None else 10)


def iter_stuck(kernel: Kernel) -> Iterator[Stuck]:
    """CPUs whose watchdog has not run for longer than half of what the kernel allows.

    Raises MemoryFault, UnknownNameError.
    """
    symbol = kernel.symbols.find("watchdog_touch_ts")
    if symbol is None:
        return
    now = now_ns(kernel) >> _UNIT_SHIFT
    allowed = threshold_s(kernel)
    for cpu in kernel.cpus():
        touched = kernel.u64(kernel.per_cpu_address(symbol, cpu))
        if touched not in (0, _NEVER) and now - touched > allowed / 2:
            yield Stuck(cpu, now - touched)


def rcu_grace_period_s(kernel: Kernel) -> float | None:
    """For how long the present grace period runs, if longer than the kernel allows; None: all is well."""
    from linscope.kernel.timers import hz, jiffies

    try:
        state = kernel.object("struct rcu_state", kernel.symbol("rcu_state"))
        if not int(state.gp_seq) & _RCU_RUNNING:
            return None
        seconds = ((jiffies(kernel) - int(state.gp_start)) & _NEVER) / hz(kernel)
    except LinscopeError:
        return None
    return seconds if _RCU_S < seconds < 1 << 40 else None


def hung_after_s(kernel: Kernel) -> int:
    """After so many seconds in state D the kernel calls a task hung; 0: never."""
    found = kernel.find_symbol("sysctl_hung_task_timeout_secs")
    return _HUNG_S if found is None else kernel.u64(found)
