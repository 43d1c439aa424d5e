"""The tables of a recording: events, samples, stacks, frames, address spaces, tasks, losses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow

Selection = NDArray[Any] | slice  # rows that count: a mask, their numbers, or slice(None) for all without a copy


@dataclass
class Event:
    """One event that was sampled."""

    name: str
    period_unit: str  # what a sample's weight counts: "ns" for clocks, else the event's name
    attr: Any = None  # formats.perf_data.attrs.EventAttr, when it came from perf.data


@dataclass
class Samples:
    """One row a sample, in the order of the file; columns are numpy arrays of one length."""

    time_ns: NDArray[np.uint64]
    cpu: NDArray[np.uint32]
    pid: NDArray[np.uint32]
    tid: NDArray[np.uint32]
    event: NDArray[np.uint16]  # index into Profile.events; 0xFFFF: of no known event
    weight: NDArray[np.uint64]  # period
    stack: NDArray[np.uint32]  # node of Profile.stacks
    comm: NDArray[np.uint32]  # index into Profile.comms
    address: NDArray[np.uint64]  # data address; 0 without
    mode: NDArray[np.uint8]  # PERF_RECORD_MISC_CPUMODE_*

    def __len__(self) -> int:
        return len(self.time_ns)

    def __repr__(self) -> str:
        return f"<samples: {len(self):,} rows>"

    def take(self, rows: NDArray[Any]) -> Samples:
        """The rows of an index array or a mask."""
        return Samples(**{name: column[rows] for name, column in vars(self).items()})

    def to_arrow(self) -> pyarrow.Table:
        """An Arrow table with the columns of this one."""
        import pyarrow as pa

        return pa.table({name: pa.array(column) for name, column in vars(self).items()})

    def to_pandas(self) -> Any:
        """A pandas data frame (needs pandas)."""
        return self.to_arrow().to_pandas()


@dataclass
class Stacks:
    """A tree: node 0 is the root; a stack is a node, its frames are found on the way up.  Parents come first."""

    parent: NDArray[np.uint32]
    frame: NDArray[np.uint32]  # row of Profile.frames; of a space's node: Frames.none

    def frames_of(self, stack: int) -> list[int]:
        """Frame numbers of a stack, the sampled one first."""
        found = []
        parent, frame = self.parent.data, self.frame.data  # far cheaper to index than an array
        while stack:
            found.append(frame[stack])
            stack = parent[stack]
        return found


@dataclass
class Frames:
    """One row a distinct place in code."""

    space: NDArray[np.uint32]  # row of Profile.spaces; 0: the kernel
    address: NDArray[np.uint64]
    kind: NDArray[np.uint8]  # binfmt.perf_records KIND_MODE | KIND_EXACT

    def __len__(self) -> int:
        return len(self.address)


class Mapping(NamedTuple):
    """One mapped range of an address space."""

    start: int
    end: int
    page_offset: int  # offset in the file, bytes; of the kernel: the address of its reference symbol
    path: str
    build_id: str = ""  # hex; "": not known
    executable: bool = True


@dataclass
class Space:
    """An address space during one epoch: from an exec, fork or change of a mapping on.  Mappings do not overlap."""

    pid: int
    since_ns: int
    mappings: list[Mapping]  # sorted by start


class Loss(NamedTuple):
    """Events that the kernel or the recorder dropped."""

    time_ns: int
    cpu: int
    lost: int
    event: int  # index into events; -1: not known
    of_event: bool = False  # LOST_SAMPLES: counted by event, at the end; LOST: by ring, as it went on


def total_lost(losses: list[Loss]) -> int:
    """Events lost in all: what is counted at the end, by event, has been counted before, by ring."""
    by_event = sum(loss.lost for loss in losses if loss.of_event)
    return max(by_event, sum(loss.lost for loss in losses if not loss.of_event))


class NamedFrames(NamedTuple):
    """Frames that come with their names: text formats have no addresses to look up."""

    symbols: list[str]  # of each frame; "[unknown]" as the file has it
    objects: list[str]  # of each frame; "" when the file tells none
    kinds: list[str]  # of each frame: "kernel", "user", "jit", "inlined"


@dataclass
class EventTable:
    """The fields of one kind of tracepoint: a column each, in native types.

    ``rows`` holds the number of the sample that each row belongs to.
    """

    name: str  # "sched:sched_switch"
    rows: NDArray[np.int64]
    columns: dict[str, Any]  # field -> numpy array, or list of str and bytes
    form: Any = None  # binfmt.event_format.EventFormat: how the fields are printed; None: not known
    printing: Any = None  # binfmt.print_code.PrintContext: what form refers to

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<events {self.name}: {len(self):,} rows of {', '.join(self.columns)}>"

    def to_arrow(self) -> pyarrow.Table:
        """An Arrow table with the columns of this one."""
        import pyarrow as pa

        return pa.table({name: _arrow_array(column, pa) for name, column in self.columns.items()})


@dataclass
class Profile:
    """A recording as tables."""

    events: list[Event]
    samples: Samples
    stacks: Stacks
    frames: Frames
    spaces: list[Space]  # [0] is the kernel
    comms: list[str]
    losses: list[Loss] = field(default_factory=list)
    record_counts: dict[int, int] = field(
        default_factory=dict
    )  # by record type, as perf report --stats counts
    features: dict[str, Any] = field(default_factory=dict)
    problems: list[Exception] = field(
        default_factory=list
    )  # damage met on the way; the rows before it are here
    named: NamedFrames | None = None  # what each frame is called, when the file itself tells (text formats)
    tables: dict[str, EventTable] = field(default_factory=dict)  # fields of tracepoints, by event
    where: str = ""
    stack_endings: dict[str, int] = field(default_factory=dict)  # how the walks of user stack dumps ended

    @property
    def lost(self) -> int:
        """Events lost in all.

        perf record 6.1 and linscope add the totals of each event at the end: these count again what the rings'
        own LOST records before them counted.
        """
        return total_lost(self.losses)

    def payload(self, sample: int) -> dict[str, Any] | None:
        """Fields of a tracepoint's sample by the sample's number, None for other events."""
        number = int(self.samples.event[sample])
        table = self.tables.get(self.events[number].name) if number < len(self.events) else None
        if table is None:
            return None
        at = int(np.searchsorted(table.rows, sample))
        if at == len(table.rows) or table.rows[at] != sample:
            return None
        return {name: _plain(column[at]) for name, column in table.columns.items()}


def _arrow_array(column: Any, pa: Any) -> Any:
    """The Arrow array of a column: text of bytes, lists of equal length of two dimensions."""
    if isinstance(column, np.ndarray) and column.dtype.kind == "S":
        return pa.array([_plain(value) for value in column])
    if isinstance(column, np.ndarray) and column.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(column.reshape(-1)), column.shape[1])
    if isinstance(column, list) and column and isinstance(column[0], tuple):  # addresses of a stack
        return pa.array(column, pa.list_(pa.uint64()))
    return pa.array(column)


def _plain(value: Any) -> Any:
    """A cell as Python has it: an int, a str, a list, or bytes."""
    if isinstance(value, np.bytes_):
        return bytes(value).split(b"\0", 1)[0].decode(errors="replace")
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
