"""Recordings of perf that were cut off: what their events are called stands behind them, and the running kernel knows.

The numbers of tracepoints are the kernel's of one boot.  That a recording is of it is told by where its text begins and
where it ends, which records in front of all samples say.
"""

from __future__ import annotations

from pathlib import Path

from linscope.columns.spaces import KERNEL_SPACE, CommBuilder, SpaceBuilder
from linscope.formats.perf_data import sideband
from linscope.formats.perf_data.reader import PerfDataFile, open_perf_data
from linscope.formats.perf_data.stream import Chunk
from linscope.sys.tracefs import find_tracefs, read_bytes

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.columns.profile import Mapping

UNNAMED = "tracepoint:"  # what PerfDataFile calls them, with the number behind it


def find_names(path: str, numbers: set[int]) -> dict[int, str]:
    """The names of tracepoints by their numbers; {}: the recording is not of this kernel and boot, as far as it tells.

    Raises FormatError, OSError.
    """
    if not any(_is_running(mapping) for mapping in _kernel_mappings(path)):
        return {}
    return {number: name for number, name in _tracepoints() if number in numbers}


def _kernel_mappings(path: str) -> list[Mapping]:
    """Those of the records up to the first samples."""
    spaces, comms = SpaceBuilder(), CommBuilder()
    records: list[sideband.SideRecord] = []
    with open_perf_data(path) as file:
        for item in file.records():
            if not isinstance(item, Chunk):
                continue
            PerfDataFile._side_records(item, 0, records)
            if len(item.scanned.samples["time"]):
                break
        sideband.apply(records, file.header.big_endian, {}, spaces, comms)
    return list(spaces.spaces[KERNEL_SPACE].mappings)


def _is_running(mapping: Mapping) -> bool:
    base, _, symbol = mapping.path.partition("]")
    if base != "[kernel.kallsyms" or not symbol:
        return False
    symbols = read_bytes("/proc/kallsyms")
    begins = b"%016x T %s\n" % (mapping.page_offset, symbol.encode())
    ends = (b"%016x T _etext\n" % mapping.end, b"%016x D _edata\n" % mapping.end)  # perf takes one of them
    return begins in symbols and any(line in symbols for line in ends)


def _tracepoints() -> Iterator[tuple[int, str]]:
    for path in Path(find_tracefs(), "events").glob("*/*/id"):
        try:
            yield int(path.read_text()), f"{path.parts[-3]}:{path.parts[-2]}"
        except (OSError, ValueError):
            continue
