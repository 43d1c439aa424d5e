"""perf.data as the events of a script."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from linscope.abi import perf_event as pe
from linscope.abi import perf_file as pf
from linscope.columns.spaces import KERNEL_SPACE, SpaceBuilder
from linscope.formats.perf_data.reader import PerfDataFile, open_perf_data
from linscope.formats.perf_data.stream import Chunk
from linscope.lang.definitions.tracepoints import read_format
from linscope.session.script.replay.captured import made_captures
from linscope.session.script.replay.contents import SESSION_BIT, Captures, Origin, Wanted, Window
from linscope.session.script.replay.perf_windows import PerfWindows

if TYPE_CHECKING:
    from linscope.columns.changes import Change
    from linscope.columns.profile import Loss
    from linscope.formats.perf_data.attrs import EventAttr
    from linscope.session.script.resolver import Resolver


class PerfContents:
    """A recording of perf; see contents.Contents."""

    def __init__(self, path: str) -> None:
        """Raises FormatError, UnsupportedError, OSError."""
        self.where = path
        self.file: PerfDataFile = open_perf_data(path)
        if self.file.header.pipe:
            self._read_head()
        attrs = self.file.attrs
        features = self.file.features
        self.release = str(features.get("OSRELEASE") or "")
        self._is_cut_off = not self.release and self._name_by_running_kernel()
        self.events = [attr.name for attr in attrs]
        self.is_tracepoint = [attr.type == pe.PERF_TYPE_TRACEPOINT for attr in attrs]
        self.has_process = True
        self.has_cpu = _have_cpu(attrs, tracepoints=True), _have_cpu(attrs, tracepoints=False)
        chains = [attr for attr in attrs if attr.sample_type & pe.PERF_SAMPLE_CALLCHAIN]
        self.kernel_stacks = any(not attr.flags["exclude_callchain_kernel"] for attr in chains)
        self.user_stacks = any(not attr.flags["exclude_callchain_user"] for attr in chains)
        self.same_kernel = self._is_same_kernel()
        self.cpus = int(features.get("NRCPUS", {}).get("available", 1))
        tracing = self.file.tracing
        self.origin = Origin(
            str(features.get("HOSTNAME") or ""), str(features.get("ARCH") or ""), self.file.header.big_endian,
            tracing.long_size if tracing is not None else 8, features.get("CMDLINE") or (),
        )  # fmt: skip
        self.kallsyms = ""
        self.changes: list[Change] = []
        self.losses: list[Loss] = []
        self.ahead_ns = self._ahead()
        self.session = self._read_session()
        self.start_ns = self.session.get("start_ns") or self._first_time()
        self.reader: PerfWindows | None = None
        self._spaces = SpaceBuilder()
        self._damaged = 0

    def _read_head(self) -> None:
        """Of a recording in pipe form: read up to the first events, then begin anew."""
        for item in self.file.records():
            if isinstance(item, Chunk):
                break
        kept = self.file
        self.file = open_perf_data(self.where)
        self.file.attrs, self.file.tracing, self.file.features = kept.attrs, kept.tracing, kept.features
        kept.source.close()

    def _name_by_running_kernel(self) -> bool:
        """Give tracepoints names that the recording does not have; whether it could be done."""
        from linscope.session.script.replay.cut_off import UNNAMED, find_names

        unnamed = [attr for attr in self.file.attrs if attr.name.startswith(UNNAMED)]
        names = find_names(self.where, {attr.config for attr in unnamed}) if unnamed else {}
        for attr in unnamed:
            attr.name = names.get(attr.config, attr.name)
        if names:
            self.release = os.uname().release
        return bool(names)

    def _is_same_kernel(self) -> bool:
        here = os.uname()
        host = self.file.features.get("HOSTNAME")
        return here.release == self.release and here.machine == self.file.features.get("ARCH", here.machine) and (
            not host or host == here.nodename
        )  # fmt: skip

    def _ahead(self) -> int | None:
        """Wall time minus the recording's clock, by the section CLOCK_DATA."""
        found = self.file.features.get("CLOCK_DATA")
        return found["wall_ns"] - found["clock_ns"] if found else None

    def _read_session(self) -> dict[str, Any]:
        """What the recorder of a script kept of its session; {} of other recordings."""
        text = self.file.features.get(f"FEATURE_{SESSION_BIT}")
        if not isinstance(text, bytes) or not text.strip(b"\0"):
            return {}
        try:
            found = json.loads(text.rstrip(b"\0"))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _first_time(self) -> int | None:
        """The time of the first sample, on the recording's clock; None: there is none.

        By perf's own word, else from the records up to the end of the second round: then all older ones have come.
        """
        told = self.file.features.get("SAMPLE_TIME")
        if told and told[0]:
            return int(told[0])
        file = open_perf_data(self.where)
        file.attrs, file.features = self.file.attrs, self.file.features
        first, rounds = None, 0
        with file:
            for item in file.records():
                if not isinstance(item, Chunk):
                    continue
                times = item.scanned.samples["time"]
                if len(times):
                    first = int(times.min()) if first is None else min(first, int(times.min()))
                rounds += int(np.count_nonzero(item.scanned.others["type"] == pf.PERF_RECORD_FINISHED_ROUND))
                if rounds > 1 and first is not None:
                    break
        return first

    def read_format(self, system: str, event: str) -> str | None:
        """The text of a tracepoint's format; None: the recording has none."""
        tracing = self.file.tracing
        if tracing is None:
            return read_format(system, event) if self._is_cut_off else None
        head = f"name: {event}\n"
        return next((text for text in tracing.events.texts().get(system, ()) if text.startswith(head)), None)

    # -- events

    def windows(self, wanted: Wanted) -> Iterator[Window]:
        """All events that are wanted.  Raises FormatError for the damage that the reader cannot pass over."""
        self.reader = PerfWindows(self, wanted)
        return self.reader.windows()

    def own_captures(self, program: int) -> tuple[Any, Captures] | None:
        """(data, captures) of a program that no event runs; None: it read nothing."""
        reader = self.reader.captures if self.reader is not None else None
        fields = reader.own.get(program) if reader is not None else None
        if not fields or self.reader is None:
            return None
        return self.reader.mapped, made_captures(np.zeros(len(fields), np.int64), fields)

    def resolver(self, settings: Any) -> Resolver:
        """Names of what the events hold; asked after the last window."""
        from linscope.session.script.replay.recorded_names import PerfResolver

        return PerfResolver(self, settings)

    def is_same_boot(self) -> bool:
        """Whether the running kernel lies where the recorded one lay: its symbols are that one's."""
        return self.same_kernel and lies_where_it_lay(self._spaces)

    @property
    def spaces(self) -> SpaceBuilder:
        """Mappings of all processes, as far as windows were read."""
        return self._spaces

    def problems(self) -> list[str]:
        """What is wrong with the file, as far as it was read."""
        return [str(problem) for problem in (*self.file.header.problems, *self.file.problems)]


def _have_cpu(attrs: list[EventAttr], *, tracepoints: bool) -> bool:
    """Whether all events of a kind tell their CPU."""
    return all(
        attr.sample_type & pe.PERF_SAMPLE_CPU or attr.name.startswith("dummy")
        for attr in attrs if (attr.type == pe.PERF_TYPE_TRACEPOINT) == tracepoints
    )  # fmt: skip


def lies_where_it_lay(spaces: SpaceBuilder) -> bool:
    """Whether the running kernel's symbols have the addresses that a recorded kernel's mapping tells."""
    from linscope.session.script.kernel_symbols import KernelSymbols

    for mapping in spaces.spaces[KERNEL_SPACE].mappings:
        base, _, symbol = mapping.path.partition("]")
        if base == "[kernel.kallsyms" and symbol:  # its offset in the file is where the symbol lies
            found = KernelSymbols().find(mapping.page_offset)
            return found is not None and found[1] == 0
    return False
