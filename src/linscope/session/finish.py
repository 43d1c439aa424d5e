"""What is added when a recording ends: feature sections, loss records, times of the first and last sample."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Iterable, Sequence

from linscope.abi import perf_event as pe
from linscope.abi import perf_file as pf
from linscope.formats.perf_data import write_features
from linscope.formats.perf_data.write_tracing_data import tracing_data
from linscope.formats.perf_data.writer import Writer
from linscope.session import build_ids
from linscope.session.options import RecordOptions
from linscope.session.rings import RingSet
from linscope.sources.events import Event
from linscope.version import VERSION

_TIME_IN_SAMPLE = 32  # header, IDENTIFIER, IP, TID, TIME: the head of every sample of ours


def packed_attrs(rings: RingSet) -> list[tuple[bytes, Sequence[int]]]:
    """(packed attr, ids) of every event, all of one size."""
    size = max(len(attr.pack()) for attr in rings.attrs)
    return [(attr.pack(size), rings.ids(index)) for index, attr in enumerate(rings.attrs)]


def static_features(rings: RingSet, options: RecordOptions, tracefs: str) -> dict[int, bytes]:
    """The sections that do not depend on the samples."""
    sections = write_features.machine_features()
    command = list(options.command_line) or sys.argv
    sections[pf.HEADER_VERSION] = write_features.string(f"linscope {VERSION}")
    sections[pf.HEADER_CMDLINE] = write_features.string_list(command)
    described = zip(packed_attrs(rings), rings.events, strict=True)
    sections[pf.HEADER_EVENT_DESC] = write_features.event_desc(
        [(attr, event.name, ids) for (attr, ids), event in described]
    )
    groups = _groups(rings.events)
    if groups:
        sections[pf.HEADER_GROUP_DESC] = write_features.group_desc(groups)
    if any(attr.sample_type & pe.PERF_SAMPLE_BRANCH_STACK for attr in rings.attrs):
        sections[pf.HEADER_BRANCH_STACK] = b""
    tracepoints = [event.tracepoint for event in rings.events if event.tracepoint is not None]
    if tracepoints:
        sections[pf.HEADER_TRACING_DATA] = tracing_data(tracefs, tracepoints)
    if options.clockid is not None:
        sections.update(_clock_sections(options.clockid))
    return sections


def _groups(events: list[Event]) -> list[tuple[str, int, int]]:
    groups = []
    for index, event in enumerate(events):
        members = [other for other in events if other.leader is event]
        if event.leader is event and len(members) > 1:
            groups.append(("{anon_group}", index, len(members)))
    return groups


def _clock_sections(clockid: int) -> dict[int, bytes]:
    """CLOCKID: resolution; CLOCK_DATA: the same instant on the wall clock and on that clock."""
    resolution = max(1, round(time.clock_getres(clockid) * 1e9))
    wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
    own = time.clock_gettime_ns(clockid)
    return {
        pf.HEADER_CLOCKID: struct.pack("=Q", resolution),
        pf.HEADER_CLOCK_DATA: struct.pack("=IIQQ", 1, clockid & 0xFFFFFFFF, wall, own),
    }


def compressed_section(level: int, ring_size: int) -> bytes:
    """HEADER_COMPRESSED: version, kind, level, ratio (not told), largest decompressed piece."""
    return struct.pack("=IIIII", 1, pf.PERF_COMP_ZSTD, level, 0, ring_size)


def lost_records(losses: Iterable[tuple[int, int, int]]) -> list[bytes]:
    """LOST_SAMPLES records, as perf record writes them; the trailer is TID, TIME, CPU, IDENTIFIER."""
    return [
        struct.pack("=IHHQIIQIIQ", pe.PERF_RECORD_LOST_SAMPLES, 0, 48, count, 0, 0, 0, 0, 0, identifier)
        for _event, identifier, count in losses
    ]


def sample_times(writer: Writer, rings: RingSet, first: int) -> bytes:
    """SAMPLE_TIME: (first, last) in ns; the last is looked for in each ring's last piece only."""
    last = 0
    for offset, size in rings.last_chunks.values():
        for moment in iter_sample_times(writer.read_back(offset, size)):
            if moment > last:
                last = moment
    return struct.pack("=QQ", first, last) if first and last else b""


def iter_sample_times(records: bytes) -> Iterable[int]:
    """Times of the samples among whole records."""
    unpack = struct.Struct("=IHH").unpack_from
    moment = struct.Struct("=Q").unpack_from
    offset = 0
    while offset + 8 <= len(records):
        kind, _misc, size = unpack(records, offset)
        if size < 8:
            return
        if kind == pe.PERF_RECORD_SAMPLE:
            yield moment(records, offset + _TIME_IN_SAMPLE)[0]
        offset += size


def build_id_section(sideband: Iterable[bytes], files: set[str], modules: list[str], kernel: bool) -> bytes:
    """BUILD_ID of everything mapped.  files: those known from /proc already."""
    found = set(files)
    for records in sideband:
        build_ids.mapped_files(records, found)
    return write_features.build_ids(build_ids.collect(found, modules, kernel))
