"""What a recording gives to a script: its events in windows, each in time order and none before the one before."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from linscope.session.script.values import NOT_RECORDED

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, NamedTuple, Protocol

    from linscope.columns.changes import Change
    from linscope.columns.profile import Loss
    from linscope.session.script.resolver import Resolver
else:
    from collections import namedtuple

COMM_WIDTH = 16
NO_CPU = 0xFFFFFFFF
# /proc, from which recorders take names, adds what a worker does to its name: wq_worker_comm() of kernel/workqueue.c
_WORKER = re.compile(rb"^(kworker/u?\d+:\d+H?)[-+].*")
CAPTURE_EVENT = "linscope:captures"  # the event of what programs read; see session/script/record_for
SESSION_BIT = 250  # the section of perf.data with what is known of the live session: JSON

if TYPE_CHECKING:

    class Window(NamedTuple):
        """Some events, in time order; the columns have one length.  Valid until the next window is asked for."""

        data: Any  # the buffer that ``at`` counts in
        time_ns: NDArray[np.uint64]
        cpu: NDArray[np.uint32]  # NO_CPU where it was not recorded
        pid: NDArray[np.uint32]  # the process (tgid)
        tid: NDArray[np.uint32]
        event: NDArray[np.uint16]  # place in Contents.events
        at: NDArray[np.uint64]  # where the raw record begins, with its common fields
        size: NDArray[np.uint32]  # bytes of it; 0 for an event without
        comm: NDArray[np.bytes_]  # S16; empty when it was not asked for
        mode: NDArray[np.uint16]  # PERF_RECORD_MISC_CPUMODE of samples
        address: NDArray[np.uint64]  # where samples were taken
        stacks: tuple[NDArray[np.uint32], NDArray[np.uint32], StackTable] | None  # of the kernel, of the user
        captures: Captures | None = None
        weight: NDArray[np.uint64] | None = None  # periods, when they were asked for
        families: tuple[NDArray[np.uint32], Sequence[Family]] | None = None  # number of each event's: that

    class Family(NamedTuple):
        """What a process has beside itself; None: not known."""

        parent: int | None  # process
        parent_comm: bytes | None
        leader_comm: bytes | None  # the name of its first thread

    class Captures(NamedTuple):
        """What programs read when they ran live, ordered by row; the columns have one length."""

        row: NDArray[np.int64]  # of the window
        program: NDArray[np.uint16]  # its number, from 1 on
        kind: NDArray[np.uint16]  # 0: memory; else the number of the helper
        value: NDArray[np.uint64]  # an address, or what the helper gave
        at: NDArray[np.uint64]  # of the bytes, in the window's data
        size: NDArray[np.uint32]

    class Origin(NamedTuple):
        """What was recorded, and how."""

        host: str = ""
        machine: str = ""  # uname -m
        big_endian: bool = False
        long_size: int = 8
        command: Sequence[str] = ()

    class StackTable(NamedTuple):
        """Stacks that windows name by number: see bpf.vm.Machine.set_stacks."""

        offsets: NDArray[np.uint64]
        addresses: NDArray[np.uint64]

    class Wanted(NamedTuple):
        """What a script asks of windows."""

        events: Sequence[bool]  # of each of Contents.events, whether it runs a program
        comm: bool = False
        stacks: bool = False
        samples: bool = False  # where samples were taken
        runs: Sequence[Sequence[int]] = ()  # the programs of each event
        weight: bool = False
        families: bool = False
        changes: bool = False  # Contents.changes and losses

    class Contents(Protocol):
        """A recording."""

        where: str
        events: list[str]  # names: "sched:sched_switch", "cpu-clock"
        is_tracepoint: list[bool]  # of each of events
        has_process: bool  # pid is known
        has_cpu: tuple[bool, bool]  # of tracepoints, of samples
        kernel_stacks: bool  # are recorded with some event
        user_stacks: bool
        cpus: int
        release: str  # of the kernel: uname -r; "" when it is not known
        same_kernel: bool  # the running kernel is the one that was recorded
        origin: Origin
        changes: list[Change]  # of processes and mappings, as far as windows were read, when they were asked for
        losses: list[Loss]  # the same
        ahead_ns: int | None  # of wall time to the recording's clock; None: not recorded
        start_ns: int | None  # when the recording began, on its clock; None: with its first event
        session: dict[str, Any]  # of a recording for a script: start_ns, end_ns, child, ...; else empty

        @property
        def kallsyms(self) -> str: ...  # the text that the recording carries; "" without

        def read_format(self, system: str, event: str) -> str | None: ...

        def windows(self, wanted: Wanted) -> Iterator[Window]: ...

        def resolver(self, settings: Any) -> Resolver: ...

        def own_captures(self, program: int) -> tuple[Any, Captures] | None: ...

        def problems(self) -> list[str]: ...
else:
    Window = namedtuple(
        "Window", "data time_ns cpu pid tid event at size comm mode address stacks captures weight families",
        defaults=(None, None, None),
    )  # fmt: skip
    Captures = namedtuple("Captures", "row program kind value at size")
    StackTable = namedtuple("StackTable", "offsets addresses")
    Origin = namedtuple("Origin", "host machine big_endian long_size command", defaults=("", "", False, 8, ()))
    Wanted = namedtuple(
        "Wanted", "events comm stacks samples runs weight families changes",
        defaults=(False, False, False, (), False, False, False),
    )  # fmt: skip
    Family = namedtuple("Family", "parent parent_comm leader_comm")


class Names:
    """Names of threads as time goes on."""

    def __init__(self) -> None:
        self._names = [NOT_RECORDED.encode().ljust(COMM_WIDTH, b"\0")]
        self._numbers: dict[bytes, int] = {}
        self._of = np.zeros(1 << 16, np.uint32)  # number of each thread's name; 0: not known

    def name(self, tid: int, comm: bytes) -> None:
        """The thread is called comm from now on."""
        comm = _WORKER.sub(rb"\1", comm)[: COMM_WIDTH - 1]
        number = self._numbers.get(comm)
        if number is None:
            number = self._numbers[comm] = len(self._names)
            self._names.append(comm)
        self._room(tid)
        self._of[tid] = number

    def fork(self, tid: int, parent: int) -> None:
        """A new thread, with its parent's name."""
        self._room(max(tid, parent))
        self._of[tid] = self._of[parent]

    def text(self, tid: int) -> bytes | None:
        """The name that a thread has now; None: not known."""
        number = int(self._of[tid]) if tid < len(self._of) else 0
        return self._names[number] if number else None

    def _room(self, tid: int) -> None:
        if tid >= len(self._of):
            larger = np.zeros(max(tid + 1, 2 * len(self._of)), np.uint32)
            larger[: len(self._of)] = self._of
            self._of = larger

    def at(self, tid: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Numbers of the names that threads have now."""
        last = len(self._of) - 1
        if len(tid) and int(tid.max()) > last:
            return np.where(tid > last, np.uint32(0), self._of[np.minimum(tid, last)])
        return self._of[tid]

    def texts(
        self, numbers: NDArray[np.uint32], tid: NDArray[np.uint32], cpu: NDArray[np.uint32]
    ) -> NDArray[np.bytes_]:
        """The names by their numbers; that of an idle task is its CPU's."""
        found: NDArray[np.bytes_] = np.array(self._names, f"S{COMM_WIDTH}")[numbers]
        idle = np.flatnonzero(tid == 0)
        if len(idle):
            cpus = np.where(cpu[idle] == NO_CPU, np.uint32(0), cpu[idle])
            for one in np.unique(cpus).tolist():
                found[idle[cpus == one]] = f"swapper/{one}".encode()
        return found
