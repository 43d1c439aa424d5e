"""Names of what a recording's events hold: symbols by its own mappings, times by its own clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from linscope.columns.spaces import SpaceBuilder
from linscope.formats.trace_dat.symbols import FileSymbols
from linscope.session.script.clock import Clocks, strftime
from linscope.session.script.kernel_symbols import KernelSymbols
from linscope.session.script.resolver import Resolver
from linscope.session.script.user_symbols import Mappings, UserSymbols
from linscope.session.script.values import NOT_RECORDED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    class Mapped(Protocol):
        """A recording that has mappings."""

        ahead_ns: int | None

        @property
        def spaces(self) -> SpaceBuilder: ...

        def is_same_boot(self) -> bool: ...


class RecordedClocks(Clocks):
    """Wall time as the recording knows it."""

    def __init__(self, ahead_ns: int | None) -> None:
        """ahead_ns: of wall time to the recording's clock; None: not recorded."""
        super().__init__()
        self.recorded = ahead_ns
        self.is_known = ahead_ns is not None

    def ahead_ns(self, clock: str) -> int:
        """Nanoseconds to add to a time of the recording; 0 when nobody knows."""
        return self.recorded or 0

    def formatter(self, format: str, clock: str) -> Callable[[int], str]:
        """Text of a time in ns of a clock."""
        if self.recorded is None:
            return lambda time_ns: NOT_RECORDED
        return super().formatter(format, clock)


class RecordedUserSymbols(UserSymbols):
    """Functions of recorded processes: their mappings come from the recording, files are those of this machine."""

    def __init__(self, spaces: SpaceBuilder, *, demangle: bool, lines: bool) -> None:
        super().__init__(demangle=demangle, lines=lines)
        self._spaces = spaces
        self._recorded: dict[int, Mappings] = {}

    def see(self, pid: int, *, again: bool = False) -> Mappings:
        """The mappings that a process had at the end of what was read."""
        known = self._recorded.get(pid)
        if known is None or again:
            known = self._recorded[pid] = Mappings(pid)
            known.root = ""
            mappings = self._spaces.spaces[self._spaces.current(pid, 0)].mappings
            known.entries = sorted((m.start, m.end, m.page_offset, m.path) for m in mappings if m.executable)
            known.starts = [entry[0] for entry in known.entries]
        return known

    def seen(self, pid: int) -> bool:
        """Whether it need not be looked at any more: always, nothing changes."""
        return True


class PerfResolver(Resolver):
    """Names of a perf.data."""

    def __init__(self, contents: Mapped, settings: Mapping[str, str | int]) -> None:
        """settings: of the unit."""
        super().__init__(settings)
        self.contents = contents
        self.clocks = RecordedClocks(contents.ahead_ns)

    @property
    def kernel(self) -> KernelSymbols:
        """Symbols of the recorded kernel: this one's when it is the same, else those that the file carries."""
        if self._kernel is None:
            self._kernel = KernelSymbols("/proc/kallsyms" if self.contents.is_same_boot() else "/dev/null")
        return self._kernel

    @property
    def user(self) -> UserSymbols:
        """Symbols of the recorded processes."""
        if self._user is None:
            self._user = RecordedUserSymbols(self.contents.spaces, demangle=self._demangle, lines=self._lines)
        return self._user


class FileKernelSymbols(KernelSymbols):
    """Symbols of the kernel by the text of kallsyms that a recording carries."""

    def __init__(self, text: str) -> None:
        super().__init__("")
        self._symbols = FileSymbols(text)

    def find(self, address: int) -> tuple[str, int, str] | None:
        """(name, distance from its start in bytes, module or "") of an address; None when there is none."""
        found = self._symbols(address)
        return None if found is None else (*found, self._symbols.module(address).strip("[]"))


class TraceResolver(Resolver):
    """Names of a trace.dat."""

    def __init__(
        self, kallsyms: str, settings: Mapping[str, str | int], ahead_ns: int | None = None
    ) -> None:
        """kallsyms: as the file carries it; settings: of the unit; ahead_ns: of wall time to the recording's clock."""
        super().__init__(settings)
        self.clocks = RecordedClocks(ahead_ns)
        self._kernel = FileKernelSymbols(kallsyms)
        self._user = RecordedUserSymbols(SpaceBuilder(), demangle=self._demangle, lines=False)


def wall_text(format: str, ahead_ns: int | None, time_ns: int) -> str:
    """time() of a recording: the wall clock then."""
    if ahead_ns is None:
        return NOT_RECORDED + "\n" * format.endswith("\n")
    return strftime(format, time.localtime((time_ns + ahead_ns) // 1_000_000_000))
