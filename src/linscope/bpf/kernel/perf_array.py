"""Perf event arrays: a ring a CPU, which programs fill by bpf_perf_event_output().  ``ring_buffer`` is the newer way.

Source: bpf-helpers(7), bpf_perf_event_output; perf_event_open(2), PERF_COUNT_SW_BPF_OUTPUT and the layout of records.
"""

from __future__ import annotations

import os
import select
import struct

from linscope.abi import bpf as b
from linscope.abi import perf_event as pe
from linscope.bpf.kernel.attach_perf import online_cpus
from linscope.bpf.kernel.descriptor import Closing
from linscope.errors import UsageError
from linscope.sys import perf_event_open as sys_perf
from linscope.sys.bpf_errors import explain
from linscope.sys.ring import Ring, open_ring

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.bpf.kernel.maps import KernelMap

_RECORD = struct.Struct("=IHH")
_LOST, _SAMPLE = 2, 9  # PERF_RECORD_*


class PerfArray(Closing):
    """The reading end of a map of the type BPF_MAP_TYPE_PERF_EVENT_ARRAY.  ``lost`` counts what found no room."""

    def __init__(self, target: KernelMap, *, ring_size: int = 1 << 18, wakeup_events: int = 1) -> None:
        """target: stays the caller's; ring_size: bytes for a CPU, a power of two of pages.

        wakeup_events: wake after so many records.  Raises UsageError (another type of map), SystemCallError.
        """
        if target.type != b.BPF_MAP_TYPE_PERF_EVENT_ARRAY:
            raise UsageError(f"map {target.name!r} is no perf event array")
        self.lost = 0
        self._rings: list[tuple[int, int, Ring]] = []
        self._poll = select.poll()
        try:
            for cpu in online_cpus():
                attr = sys_perf.Attr(
                    type=pe.PERF_TYPE_SOFTWARE, config=pe.PERF_COUNT_SW_BPF_OUTPUT, sample_type=pe.PERF_SAMPLE_RAW,
                    sample_period=1, wakeup_events=wakeup_events,
                )  # fmt: skip
                fd = sys_perf.perf_event_open(attr, -1, cpu)
                try:
                    ring = open_ring(fd, ring_size)
                except OSError:
                    os.close(fd)
                    raise
                self._rings.append((cpu, fd, ring))
                target.update(struct.pack("=I", cpu), struct.pack("=I", fd))
                sys_perf.enable(fd)
                self._poll.register(fd, select.POLLIN)
        except OSError as error:
            self.close()
            raise explain(error, f"cannot open the rings of map {target.name!r}") from error
        except BaseException:
            self.close()
            raise

    @property
    def fds(self) -> list[int]:
        """Of all rings; poll tells when one is to be read."""
        return [fd for _, fd, _ in self._rings]

    def close(self) -> None:
        """Unmap and close the rings; harmless when repeated."""
        rings, self._rings = self._rings, []
        for _, fd, ring in rings:
            ring.close()
            os.close(fd)

    def read(self) -> Iterator[tuple[int, bytes]]:
        """(CPU, record) of all that waits, CPU by CPU; the kernel pads a record's end to eight bytes with its size."""
        for cpu, _, ring in self._rings:
            slices = ring.pending()
            data = b"".join(slices)
            for view in slices:
                view.release()
            ring.consume()
            at = 0
            while at + _RECORD.size <= len(data):
                kind, _, size = _RECORD.unpack_from(data, at)
                if size < _RECORD.size:
                    break
                if kind == _SAMPLE:
                    (length,) = struct.unpack_from("=I", data, at + 8)
                    yield cpu, data[at + 12 : at + 12 + length]
                elif kind == _LOST:
                    self.lost += struct.unpack_from("=Q", data, at + 16)[0]
                at += size

    def wait(self, timeout_s: float) -> bool:
        """Until a ring wakes us, or the time is over (False)."""
        return bool(self._poll.poll(1000 * timeout_s))
