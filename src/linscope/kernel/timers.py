"""Timers that wait: those of the wheel, in jiffies, and high resolution timers, in nanoseconds.

Source: kernel/time/timer.c (struct timer_base), include/linux/hrtimer_defs.h, timerqueue_types.h,
timekeeper_internal.h.
"""

from __future__ import annotations

from linscope.errors import LinscopeError
from linscope.target.walks import iter_hlist, iter_rbtree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
else:
    from linscope.binfmt.records import NamedTuple

# kernel/time/timer.c; since v6.9 (83a665dc99a7) what a CPU keeps to itself is apart
_BASES = {1: ("BASE_STD",), 2: ("BASE_STD", "BASE_DEF"), 3: ("BASE_LOCAL", "BASE_GLOBAL", "BASE_DEF")}
_NS = 10**9
_HZ = (100, 250, 300, 1000)  # kernel/Kconfig.hz


class WheelTimer(NamedTuple):
    """A struct timer_list."""

    expires: int  # in jiffies
    address: int
    function: int


class WheelBase(NamedTuple):
    """The timers of a CPU and base, by time."""

    name: str  # "BASE_STD"
    address: int
    timers: list[WheelTimer]


class HrTimer(NamedTuple):
    """A struct hrtimer."""

    soft_expires_ns: int
    expires_ns: int
    address: int
    function: int


class HrBase(NamedTuple):
    """The timers of a CPU and clock, by time."""

    number: int
    address: int
    clock: str  # the function that tells its time: "ktime_get"
    now_ns: int  # by jiffies
    timers: list[HrTimer]


def jiffies(kernel: Kernel) -> int:
    """Ticks, from five minutes before their number wraps at boot.  Raises MemoryFault, UnknownNameError."""
    return int(kernel.variable("jiffies_64"))


def hz(kernel: Kernel) -> int:
    """Ticks a second.

    Source: INITIAL_JIFFIES is -300*HZ as 32 bits (include/linux/jiffies.h); of the numbers that HZ can be the one that
    makes the time by jiffies fit the last message of the log.  Raises MemoryFault, UnknownNameError.
    """
    now = jiffies(kernel)
    for name in ("tick_period", "tick_nsec"):
        address = kernel.find_symbol(name)
        found = 0 if address is None else round(_NS / max(kernel.u64(address), 1))
        if found in _HZ:
            return found
    from linscope.kernel.printk import iter_messages

    last = max((message.time_ns for message in iter_messages(kernel)), default=0)
    ticks = {one: (now + 300 * one) & 0xFFFFFFFF for one in _HZ}
    return min(ticks, key=lambda one: abs(ticks[one] / one * _NS - last))


def since_boot_ns(kernel: Kernel) -> int:
    """Time since boot by jiffies, without time asleep.  Raises MemoryFault, UnknownNameError."""
    ticks = hz(kernel)
    return ((jiffies(kernel) + 300 * ticks) & 0xFFFFFFFF) * _NS // ticks


def boot_time_s(kernel: Kernel) -> float:
    """When the kernel was booted, in seconds since 1970: what is to be added to its clock for the time of day.

    Raises MemoryFault, UnknownNameError.  Source: include/linux/timekeeper_internal.h, offs_real.
    """
    # struct tk_data since v6.13 (a sequence count in front of it before): struct timekeeper follows 8 bytes
    start = kernel.symbol("tk_core") + 8
    return int(kernel.object("struct timekeeper", start).offs_real) / _NS


def iter_wheel(kernel: Kernel, cpu: int) -> Iterator[WheelBase]:
    """The bases of a CPU.  Raises MemoryFault, FormatError, UnknownNameError."""
    bases = kernel.per_cpu("timer_bases", cpu)
    if bases.type_.element() is None:
        bases = [bases]  # type: ignore[assignment]
    names = _BASES.get(len(bases), ())
    entry = kernel.types.offset("struct timer_list", "entry")
    for number, base in enumerate(bases):
        timers = []
        assert base.address_ is not None
        start = base.address_ + kernel.types.offset("struct timer_base", "vectors")
        heads = memoryview(kernel.memory.read(start, 8 * len(base.vectors))).cast("Q")
        for place, first in enumerate(heads):
            if not first:
                continue
            try:
                for address in iter_hlist(kernel, start + 8 * place, entry):
                    timer = kernel.object("struct timer_list", address)
                    timers.append(WheelTimer(int(timer.expires), address, int(timer.function)))
            except LinscopeError as error:
                kernel.problems.append(f"timers of CPU {cpu}: {error}")
        timers.sort()
        yield WheelBase(names[number] if number < len(names) else str(number), base.address_, timers)


def iter_hrtimers(kernel: Kernel, cpu: int) -> Iterator[HrBase]:
    """The clocks of a CPU.  Raises MemoryFault, FormatError, UnknownNameError."""
    boot = since_boot_ns(kernel)
    node, types = kernel.types.offset("struct hrtimer", "node"), kernel.types
    has_function = types.has_member("struct hrtimer_clock_base", "get_time")
    root = types.offset("struct timerqueue_head", "rb_root") if has_function else 0
    for number, base in enumerate(kernel.per_cpu("hrtimer_bases", cpu).clock_base):
        assert base.address_ is not None
        clock = kernel.place_of(int(base.get_time)) if has_function else None
        timers = []
        try:
            active = base.active.address_
            assert active is not None
            for address in iter_rbtree(kernel, active + root, node):
                timer = kernel.object("struct hrtimer", address)
                timers.append(HrTimer(
                    int(timer.member_("_softexpires")), int(timer.node.expires), address, int(timer.function),
                ))  # fmt: skip
        except LinscopeError as error:
            kernel.problems.append(f"high resolution timers of CPU {cpu}: {error}")
        yield HrBase(number, base.address_, clock.symbol if clock else "", boot + int(base.offset), timers)
