"""Frames (places in code) -> what they are called: object and symbol, looked up in bulk, named only when shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from linscope.abi import perf_event as pe
from linscope.binfmt.perf_records import KIND_EXACT, KIND_MODE, KIND_UNWOUND
from linscope.columns.profile import Frames, Mapping, NamedFrames, Profile, Space
from linscope.symbols.objects import InlineFrame, ObjectKey, Symbolizer
from linscope.symbols.table import SymbolTable, table_of_names

UNKNOWN = "[unknown]"
_OFFSET = re.compile(r"\+0x([0-9a-f]{1,16})$")  # behind a symbol, as perf script prints it
_ANONYMOUS = ("//anon", "/dev/zero", "/anon_hugepage", "[stack", "/SYSV", "[heap]", "[anon")


class Place(NamedTuple):
    """An object of the recording as people see it."""

    key: ObjectKey
    path: str  # "/usr/lib/libc.so.6", "[kernel.kallsyms]", "[ext4]", "/tmp/perf-12.map", "[unknown]"

    @property
    def name(self) -> str:
        """The short name: the last part of a path."""
        return self.path.rsplit("/", 1)[-1] if self.path.startswith("/") else self.path


NOWHERE = Place(ObjectKey("", kind="anon"), UNKNOWN)


def place_of(mapping: Mapping, pid: int, *, kernel: bool) -> Place:
    """What perf calls the object behind a mapping (tools/perf/util/map.c, map__new)."""
    path = mapping.path
    if kernel:
        if path.startswith(("[kernel", "[guest.kernel")):
            return Place(ObjectKey(path, mapping.build_id, "kernel"), path.partition("]")[0] + "]")
        if path.startswith(("bpf_prog_", "bpf_trampoline_", "bpf_dispatcher_")):
            return Place(ObjectKey(path, "", "bpf"), path)
        name = path
        if path.startswith("/"):  # /lib/modules/6.1/.../ext4.ko.xz is shown as [ext4]
            name = "[" + path.rsplit("/", 1)[-1].partition(".ko")[0].replace("-", "_") + "]"
        return Place(ObjectKey(path, mapping.build_id, "module"), name)
    if path == "[vdso]":
        return Place(ObjectKey(path, mapping.build_id, "vdso"), path)
    if path.startswith(_ANONYMOUS):
        if mapping.executable:
            path = f"/tmp/perf-{pid}.map"
            return Place(ObjectKey(path, "", "jit", pid), path)
        return Place(ObjectKey(path, "", "anon"), path)
    return Place(ObjectKey(path, mapping.build_id, "user", pid), path)


@dataclass
class ResolvedFrames:
    """For each frame: the object (index into places) and the symbol (index into that object's table, -1: none)."""

    places: list[Place]
    tables: list[SymbolTable]  # one a place
    place: NDArray[np.int32]
    symbol: NDArray[np.int32]
    address: NDArray[np.uint64]  # in the table's unit: a file offset for files
    modes: NDArray[np.uint8]  # PERF_RECORD_MISC_CPUMODE_*
    symbolizer: Symbolizer
    offsets: NDArray[np.uint64] | None = None  # bytes into the symbol, of frames that came with their names

    def symbol_labels(self, *, by_address: bool = False) -> Labels:
        """One label a symbol.  Frames without a symbol: one label an object, or one an address (as perf report)."""
        known = self.symbol >= 0
        low = np.where(known, self.symbol.astype(np.int64), np.int64(-1) if not by_address else np.int64(0))
        if by_address:
            low = np.where(known, low, -2 - self.address.astype(np.int64))
        pairs = np.empty(len(self.place), np.dtype([("place", np.int32), ("low", np.int64)]))
        pairs["place"], pairs["low"] = self.place, low
        _, first, label = np.unique(pairs, return_index=True, return_inverse=True)
        return Labels(self, label.astype(np.uint32), first)

    def line_labels(self) -> Labels:
        """One label a symbol and source line in it; what DWARF says nothing of is one line an address."""
        symbols = self.symbol_labels(by_address=True)
        lines: dict[str, int] = {}
        line = np.fromiter(
            (lines.setdefault(self.srcline(f), len(lines)) for f in range(len(self.place))), np.int64, len(self.place)
        )
        pairs = symbols.of_frame.astype(np.int64) * max(1, len(lines)) + line
        _, first, label = np.unique(pairs, return_index=True, return_inverse=True)
        return Labels(self, label.astype(np.uint32), first)

    def place_labels(self) -> Labels:
        """One label an object."""
        _, first, label = np.unique(self.place, return_index=True, return_inverse=True)
        return Labels(self, label.astype(np.uint32), first, objects_only=True)

    def name(self, frame: int) -> str:
        """The frame's symbol, or "[unknown]"."""
        symbol = int(self.symbol[frame])
        return self.tables[int(self.place[frame])].name(symbol) if symbol >= 0 else UNKNOWN

    def offset(self, frame: int) -> int:
        """Bytes from the symbol's start to the frame's address; 0 without a symbol."""
        symbol = int(self.symbol[frame])
        if symbol < 0:
            return 0
        if self.offsets is not None:
            return int(self.offsets[frame])
        return int(self.address[frame]) - int(self.tables[int(self.place[frame])].starts[symbol])

    def inlines(self, frame: int) -> Sequence[InlineFrame]:
        """Functions at the frame's address by DWARF, innermost first, the symbol itself last; empty without DWARF."""
        place = self.places[int(self.place[frame])]
        if place.key.kind != "user" or self.offsets is not None:
            return []
        return self.symbolizer.inlines(place.key, self.address[frame : frame + 1])[0]

    def source_line(self, frame: int) -> str:
        """ "file.c:12" by DWARF, "" where it says nothing."""
        place = self.places[int(self.place[frame])]
        found = (
            self.symbolizer.source_line(place.key, int(self.address[frame]))
            if place.key.kind == "user" and self.offsets is None
            else None
        )
        return f"{found[0].rsplit('/', 1)[-1]}:{found[1]}" if found else ""

    def srcline(self, frame: int) -> str:
        """ "file.c:12", or object[offset] where DWARF says nothing, as perf report's key of that name."""
        place = self.places[int(self.place[frame])]
        return self.source_line(frame) or f"{place.name}[{int(self.address[frame]):x}]"


class Labels(NamedTuple):
    """Frames grouped by what they are called."""

    frames: ResolvedFrames
    of_frame: NDArray[np.uint32]  # label of each frame
    first: NDArray[np.int64]  # a frame of each label
    objects_only: bool = False

    def __len__(self) -> int:
        return len(self.first)

    def name(self, label: int) -> str:
        """The symbol; for objects only, the object's short name."""
        frame = int(self.first[label])
        return self.place(label).name if self.objects_only else self.frames.name(frame)

    def place(self, label: int) -> Place:
        """The object."""
        return self.frames.places[int(self.frames.place[int(self.first[label])])]


def resolve(profile: Profile, symbolizer: Symbolizer) -> ResolvedFrames:
    """Look up every frame of the recording: mapping by address space, symbol by object.

    Frames that came with their names (``profile.named``) keep them.
    """
    if profile.named is not None:
        return _take_names(profile.frames, profile.named, symbolizer)
    frames = profile.frames
    count = len(frames)
    after_call = (frames.kind & (KIND_EXACT | KIND_UNWOUND)) == KIND_UNWOUND
    with np.errstate(over="ignore"):
        lookup = frames.address - after_call
    returns = (frames.kind & (KIND_EXACT | KIND_UNWOUND)) == 0
    places: list[Place] = [NOWHERE]
    numbers: dict[tuple[str, str, int], int] = {}
    place = np.zeros(count, np.int32)
    start, page_offset = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    order = np.argsort(frames.space, kind="stable")
    spaces = frames.space[order]
    edges = np.flatnonzero(np.r_[True, spaces[1:] != spaces[:-1]]) if count else np.empty(0, np.int64)
    for first, last in zip(edges.tolist(), [*edges[1:].tolist(), count], strict=False):  # none of no frames
        rows = order[first:last]
        space = profile.spaces[int(spaces[first])]
        _place_frames(
            frames, rows, lookup, space, int(spaces[first]) == 0, places, numbers, (place, start, page_offset)
        )
    modes = frames.kind & np.uint8(KIND_MODE)
    return _find_symbols(places, place, (lookup, start, page_offset), returns, modes, symbolizer)


def _place_frames(
    frames: Frames,
    rows: NDArray[np.int64],
    lookup: NDArray[np.uint64],
    space: Space,
    kernel: bool,
    places: list[Place],
    numbers: dict[tuple[str, str, int], int],
    out: tuple[NDArray[np.int32], NDArray[np.uint64], NDArray[np.uint64]],
) -> None:
    """Find the mappings of frames of one address space."""
    mappings = space.mappings
    if not mappings:
        return
    starts = np.array([m.start for m in mappings], np.uint64)
    at = np.searchsorted(starts, lookup[rows], side="right") - 1
    ends = np.array([m.end for m in mappings], np.uint64)
    inside = (at >= 0) & (lookup[rows] < ends[np.maximum(at, 0)])
    mode = frames.kind[rows] & KIND_MODE
    inside &= (mode == pe.PERF_RECORD_MISC_KERNEL) if kernel else (mode <= pe.PERF_RECORD_MISC_USER)
    rows, at = rows[inside], at[inside]
    number_of = np.zeros(len(mappings), np.int32)
    for used in np.unique(at).tolist():
        found = place_of(mappings[used], space.pid, kernel=kernel)
        identity = (found.key.path, found.key.build_id, found.key.pid if found.key.kind == "jit" else 0)
        if identity not in numbers:
            numbers[identity] = len(places)
            places.append(found)
        number_of[used] = numbers[identity]
    place, start, page_offset = out
    place[rows] = number_of[at]
    start[rows] = starts[at]
    page_offset[rows] = np.array([m.page_offset for m in mappings], np.uint64)[at]


def _find_symbols(
    places: list[Place],
    place: NDArray[np.int32],
    where: tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]],
    returns: NDArray[np.bool_],
    modes: NDArray[np.uint8],
    symbolizer: Symbolizer,
) -> ResolvedFrames:
    """Look the symbols up, object by object.

    where: what to look up, its mapping's start and its page offset, of each frame; returns: True for the return
    addresses of the kernel's own chains.  These are looked up as they are, as perf does: at the start of a symbol, a
    label in assembly (ld.so's _dl_start_user) is far more common than a call that ends the function before.  Without a
    symbol there, and for source lines, it is the call that counts, one byte before.
    """
    lookup, start, page_offset = where
    symbol = np.full(len(place), -1, np.int32)
    address = lookup.copy()
    tables: list[SymbolTable] = []
    order = np.argsort(place, kind="stable")
    bounds = np.searchsorted(place[order], np.arange(len(places) + 1))
    for number, found in enumerate(places):
        table, rule = symbolizer.table(found.key)
        tables.append(table)
        rows = order[bounds[number] : bounds[number + 1]]
        if number and len(rows):
            address[rows] = rule.apply(lookup[rows], start[rows], page_offset[rows])
            symbol[rows] = table.find(address[rows])
            with np.errstate(over="ignore"):
                address[rows] -= returns[rows].astype(np.uint64)
            nameless = rows[(symbol[rows] < 0) & returns[rows]]
            symbol[nameless] = table.find(address[nameless])
    return ResolvedFrames(places, tables, place, symbol, address, modes, symbolizer)


def _take_names(frames: Frames, named: NamedFrames, symbolizer: Symbolizer) -> ResolvedFrames:
    """Objects and symbols as the file tells them; "name+0x1a" is a name and an offset where the file has addresses."""
    places: list[Place] = [NOWHERE]
    names: list[dict[str, int]] = [{}]  # of each place: symbol -> number
    numbers: dict[tuple[str, str], int] = {}
    place = np.zeros(len(frames), np.int32)
    symbol = np.full(len(frames), -1, np.int32)
    offsets = np.zeros(len(frames), np.uint64)
    rows = zip(named.symbols, named.objects, named.kinds, frames.address.tolist(), strict=True)
    for frame, (name, path, kind, address) in enumerate(rows):
        known = name not in ("", UNKNOWN)
        if not known and path in ("", UNKNOWN):
            continue
        at = numbers.get((path, kind))
        if at is None:
            at = numbers[path, kind] = len(places)
            places.append(Place(ObjectKey(path, kind=kind), path or UNKNOWN))
            names.append({})
        place[frame] = at
        if known:
            offset = _OFFSET.search(name) if address else None
            if offset is not None:
                offsets[frame] = int(offset[1], 16)
                name = name[: offset.start()]
            symbol[frame] = names[at].setdefault(name, len(names[at]))
    tables = []
    for found in names:
        starts = np.arange(len(found), dtype=np.uint64)
        tables.append(table_of_names(starts, starts + np.uint64(1), list(found), demangled=symbolizer.demangle))
    modes = frames.kind & np.uint8(KIND_MODE)
    return ResolvedFrames(places, tables, place, symbol, frames.address, modes, symbolizer, offsets)
