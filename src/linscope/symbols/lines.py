"""Inlined frames and source lines from DWARF, through the ``symbolic`` package.

A SymCache is a compact lookup file made from DWARF once; it is kept beside the symbol tables.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from linscope.binfmt.elf import PT_LOAD, SHT_NOBITS, ElfFile, Segment
from linscope.errors import FormatError
from linscope.symbols.cache import SymbolCache, file_identity, fingerprint
from linscope.symbols.demangle import demangle


class InlineFrame(NamedTuple):
    """One function at an address; file "" and line 0 where DWARF does not say."""

    function: str
    file: str
    line: int


class LineReader:
    """Frames at the addresses of one object."""

    def __init__(self, cache: Any, segments: Sequence[Segment]) -> None:
        """cache: symbolic.SymCache; segments: the program headers of the mapped file."""
        self._cache = cache
        loads = [segment for segment in segments if segment.kind == PT_LOAD]
        self._base = next((segment.address for segment in loads), 0)  # a vmlinux has per-CPU data at 0 behind it
        self._loads = loads
        self._frames: dict[int, list[InlineFrame]] = {}

    @classmethod
    def open(cls, path: str, segments: Sequence[Segment], cache: SymbolCache | None) -> LineReader | None:
        """A reader of the DWARF in a file, None when it has none that can be read."""
        try:
            with ElfFile(path) as elf:
                lines = elf.section(".debug_line") or elf.section(".zdebug_line")
                if lines is None or lines.kind == SHT_NOBITS:
                    return None
                segments = segments or elf.segments
                build_id = elf.build_id
        except (OSError, FormatError):
            return None
        from symbolic.debuginfo import Archive
        from symbolic.exceptions import SymbolicError
        from symbolic.symcache import SymCache

        try:
            stored = None
            if cache:
                name = f"{build_id or 'none'}-{fingerprint(file_identity(path))}.symcache"
                stored = cache.folder / name
            symcache = _load(stored)
            if symcache is None:
                archive = Archive.open(path)
                make: Any = SymCache.from_object  # the package annotates little
                symcache = make(next(iter(archive.iter_objects())))
                if cache and stored:
                    with contextlib.suppress(OSError):
                        cache.write(stored, [symcache.open_stream().read()])
            return cls(symcache, segments)
        except (SymbolicError, StopIteration, OSError):
            return None

    def frames(self, offset: int) -> list[InlineFrame]:
        """Frames at a file offset, innermost first."""
        found = self._frames.get(offset)
        if found is None:
            found = self._frames[offset] = self._look_up(offset)
        return found

    def at_address(self, address: int) -> list[InlineFrame]:
        """Frames at an address as the object's headers have it, innermost first."""
        if address < self._base:
            return []
        return [InlineFrame(demangle(one.symbol), one.full_path or "", one.line)
                for one in self._cache.lookup(address - self._base)]

    def _look_up(self, offset: int) -> list[InlineFrame]:
        for segment in self._loads:
            if segment.offset <= offset < segment.offset + segment.file_size:
                return self.at_address(offset - segment.offset + segment.address)
        return []


def _load(path: Path | None) -> Any:
    """A stored SymCache, None when there is none or it is damaged."""
    from symbolic.exceptions import SymbolicError
    from symbolic.symcache import SymCache

    if path is None or not path.is_file():
        return None
    try:
        load: Any = SymCache.open
        return load(str(path))
    except SymbolicError:
        return None
