"""Times of the kernel's clocks as wall time, and strftime with %f.

Source: strftime(3), clock_gettime(2); %f (microseconds) is bpftrace's.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

_CLOCK_IDS = {"monotonic": 1, "boot": 7, "tai": 11, "sw_tai": 11}


class Clocks:
    """How far wall time is ahead of each clock: looked at once, so that differences of times stay exact."""

    is_known = True  # what wall time is

    def __init__(self) -> None:
        self._ahead: dict[str, int] = {}

    def ahead_ns(self, clock: str) -> int:
        """Nanoseconds to add to a time of a clock (monotonic, boot, tai, sw_tai) to get wall time."""
        found = self._ahead.get(clock)
        if found is None:
            best = None
            for _ in range(5):  # the closest pair of looks
                before = time.clock_gettime_ns(_CLOCK_IDS[clock])
                wall = time.time_ns()
                after = time.clock_gettime_ns(_CLOCK_IDS[clock])
                if best is None or after - before < best[0]:
                    best = after - before, wall - (before + after) // 2
            assert best is not None
            found = self._ahead[clock] = best[1]
        return found

    def formatter(self, format: str, clock: str) -> Callable[[int], str]:
        """Text of a time in ns of a clock."""
        parts = format.split("%f") if "%f" in format else None

        def text(time_ns: int) -> str:
            wall = time_ns + self.ahead_ns(clock)
            broken = time.localtime(wall // 1_000_000_000)
            if parts is None:
                return strftime(format, broken)
            return f"{wall // 1000 % 1_000_000:06}".join([strftime(part, broken) for part in parts])

        return text


def strftime(format: str, broken: time.struct_time) -> str:
    """time.strftime for any text around the conversions."""
    return time.strftime(format, broken) if format else ""


def interval_text(wall_ns: int, unit: str, *, utc: bool = False) -> str:
    """hh:mm:ss with what is behind the second in a unit (s, ms, us, ns)."""
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    broken = time.gmtime(seconds) if utc else time.localtime(seconds)
    text = time.strftime("%H:%M:%S", broken)
    digits = {"s": 0, "ms": 3, "us": 6, "ns": 9}[unit]
    return f"{text}.{f'{rest:09}'[:digits]}" if digits else text
