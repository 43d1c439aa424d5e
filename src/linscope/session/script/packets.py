"""Packets that skboutput() gives, into pcap files.

Source of the format: pcap-savefile(5); LINKTYPE_RAW: packets begin with their IPv4 or IPv6 header.
"""

from __future__ import annotations

import os
import struct

from linscope.bpf.kernel.perf_array import PerfArray
from linscope.errors import UsageError
from linscope.lang.unit import event_layout
from linscope.session.script.clock import Clocks

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.kernel.maps import KernelMap
    from linscope.lang import ir

_NANOSECONDS, _VERSION, _LONGEST, _LINKTYPE_RAW = 0xA1B23C4D, (2, 4), 65535, 101
_HEADER = struct.Struct("=IHHiIII")
_PACKET = struct.Struct("=IIII")  # seconds, nanoseconds, bytes here, bytes of the packet
_RING_BYTES = 1 << 20  # of each CPU


class PcapFile:
    """A file that grows packet by packet."""

    def __init__(self, path: str) -> None:
        """A file that is there is written over.  Raises UsageError."""
        try:
            self._file = open(path, "wb")
        except (OSError, ValueError) as error:  # ValueError: a NUL in it
            why = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
            raise UsageError("cannot write packets", where=path, why=why) from error
        self._file.write(_HEADER.pack(_NANOSECONDS, *_VERSION, 0, 0, _LONGEST, _LINKTYPE_RAW))

    def add(self, time_ns: int, packet: bytes) -> None:
        """time_ns: wall time."""
        self._file.write(_PACKET.pack(*divmod(time_ns, 1_000_000_000), len(packet), len(packet)) + packet)

    def flush(self) -> None:
        """Let others see what is there."""
        self._file.flush()

    def close(self) -> None:
        """Harmless when repeated."""
        self._file.close()


class Packets:
    """The reading end of one session; ``lost`` counts packets that found no room."""

    def __init__(self, unit: ir.Unit, target: KernelMap, *, ring_bytes: int = 0) -> None:
        """target: the map that programs write to, which stays the caller's; ring_bytes: of each CPU, 0 for 1 MB.

        All files are made.  Raises UsageError, SystemCallError.
        """
        self._files: dict[bytes, PcapFile] = {}
        self._events = {number: event for number, event in enumerate(unit.events) if event.kind == "skboutput"}
        self._ahead_ns = Clocks().ahead_ns("boot")
        for event in self._events.values():
            if event.format not in self._files:
                self._files[event.format] = PcapFile(os.fsdecode(event.format))
        self._array = PerfArray(target, ring_size=ring_bytes or _RING_BYTES)

    @property
    def fds(self) -> list[int]:
        """Can be waited for with poll."""
        return self._array.fds

    @property
    def lost(self) -> int:
        """Packets so far."""
        return self._array.lost

    def read(self) -> int:
        """Write what waits; returns the number of packets."""
        count = 0
        for _, record in self._array.read():
            event = self._events[int.from_bytes(record[:4], "little")]
            (time, length, offset), size = event_layout(event.values)
            (time_ns,) = struct.unpack_from("=Q", record, time)
            taken, left_out = (int.from_bytes(record[at : at + 4], "little") for at in (length, offset))
            self._files[event.format].add(time_ns + self._ahead_ns, record[size : size + taken][left_out:])
            count += 1
        if count:
            for file in self._files.values():
                file.flush()
        return count

    def close(self) -> None:
        """Harmless when repeated."""
        self._array.close()
        for file in self._files.values():
            file.close()
