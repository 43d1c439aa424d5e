"""Symbolizer: from an object of a recording (a file, the kernel, a module, JIT code) to its symbol table."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from linscope.binfmt.elf import SHT_SYMTAB, ElfFile, Segment
from linscope.errors import FormatError
from linscope.symbols.cache import SymbolCache, file_identity, fingerprint
from linscope.symbols.elf_symbols import build_table, mini_debug_info
from linscope.symbols.kernel import KernelSymbols
from linscope.symbols.lines import InlineFrame, LineReader
from linscope.symbols.perf_map import candidate_paths, read_perf_map
from linscope.symbols.search import DELETED, SearchPath
from linscope.symbols.table import AddressRule, SymbolTable, empty_table, table_of_names
from linscope.symbols.vdso import read_vdso

U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class ObjectKey:
    """One mapped thing of a recording.

    path: as recorded; build_id: hex, "" when the recording has none; kind: "kernel", "module", "user",
    "vdso", "jit", "bpf" or "anon"; pid: the process, for JIT maps and files in containers, 0 for any.
    """

    path: str
    build_id: str = ""
    kind: str = "user"
    pid: int = 0


@dataclass
class _Files:
    """The files behind a user object; debug is "" when symbols come from the mapped file itself."""

    runtime: str = ""
    debug: str = ""
    build_id: str = ""
    has_symtab: bool = False
    segments: tuple[Segment, ...] = ()


class Symbolizer:
    """Tables, inlined frames and source lines of objects; what could not be found is told in ``notes``.

    Nothing is read before it is asked for; a table is read once.
    """

    def __init__(
        self,
        *,
        search: SearchPath | None = None,
        kallsyms: str | None = None,
        vmlinux: str | None = None,
        release: str = "",
        demangle: bool = True,
        cache: SymbolCache | None = None,
        plt_like_perf: bool = False,
    ) -> None:
        """kallsyms, vmlinux: use this file for the kernel and no other.  release: kernel release of the
        recording (uname -r), "" when it has none.  cache: None to keep nothing on disk.  plt_like_perf:
        count PLT stubs off as perf 6.1 does, wrong names in libc included."""
        self.search = search or SearchPath()
        self.demangle = demangle
        self.cache = cache
        self.plt_like_perf = plt_like_perf
        self.notes: list[str] = []
        self._tables: dict[ObjectKey, tuple[SymbolTable, AddressRule]] = {}
        self._files: dict[ObjectKey, _Files] = {}
        self._lines: dict[ObjectKey, LineReader | None] = {}
        self._kernel = KernelSymbols(self.search, cache, self._note, kallsyms, vmlinux, release)

    def __repr__(self) -> str:
        return f"<Symbolizer: {len(self._tables)} tables, {len(self.notes)} notes>"

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def table(self, key: ObjectKey) -> tuple[SymbolTable, AddressRule]:
        """The symbols of an object and the rule that leads to them; an empty table when there are none."""
        found = self._tables.get(key)
        if found is None:
            found = self._tables[key] = self._load(key)
            if not self.demangle:
                found[0].demangled = False
        return found

    def _load(self, key: ObjectKey) -> tuple[SymbolTable, AddressRule]:
        if key.kind == "user":
            return self._user_table(key), AddressRule("map")
        if key.kind == "kernel":
            return self._kernel.table(key.path, key.build_id)
        if key.kind == "module":
            return self._kernel.module_table(key.path, key.build_id)
        if key.kind == "vdso":
            return self._vdso_table(key), AddressRule("map")
        if key.kind == "jit":
            return self._jit_table(key), AddressRule("absolute")
        if key.kind == "bpf":
            everything = np.array([0], np.uint64), np.array([2**64 - 1], np.uint64)
            return table_of_names(*everything, [key.path]), AddressRule("start")
        return empty_table(), AddressRule("map")

    # user objects

    def files(self, key: ObjectKey) -> tuple[str, str]:
        """Paths of the mapped file and of the separate debug file of a user object, "" for none."""
        files = self._find_files(key)
        return files.runtime, files.debug

    def _find_files(self, key: ObjectKey) -> _Files:
        files = self._files.get(key)
        if files is None:
            files = self._files[key] = _Files(build_id=key.build_id)
            debug_link = self._find_runtime(key, files)
            if not files.has_symtab and (files.runtime or files.build_id):
                for path in self.search.debug_files(key.path, files.build_id, debug_link):
                    if path != files.runtime and self._is_debug_file(path, files):
                        break
        return files

    def _find_runtime(self, key: ObjectKey, files: _Files) -> str:
        """Find the file that was mapped; returns the name of its debug file, "" when it names none."""
        if key.path.endswith(DELETED) and not key.build_id:
            self._note(
                f"{key.path}: without a build-id in the recording nothing tells its file, so no symbols"
            )
            return ""
        differs = False
        for path in self.search.runtime_files(key.path, key.build_id, key.pid):
            try:
                with ElfFile(path) as elf:
                    if key.build_id and not _same_build(elf.build_id, key.build_id):
                        differs = True
                        continue
                    files.runtime, files.build_id = path, elf.build_id
                    files.has_symtab = _has(elf, SHT_SYMTAB)
                    files.segments = tuple(elf.segments)
                    return elf.debug_link()
            except OSError:
                continue
            except FormatError as error:
                if path.endswith(key.path):
                    self._note(f"{error}: no symbols from it")
        if differs:
            self._note(f"{key.path}: changed since the recording (its build-id differs), not used")
        return ""

    def _is_debug_file(self, path: str, files: _Files) -> bool:
        try:
            with ElfFile(path) as elf:
                if files.build_id and not _same_build(elf.build_id, files.build_id):
                    return False
                if not _has(elf, SHT_SYMTAB):
                    return False
        except (OSError, FormatError):
            return False
        files.debug = path
        return True

    def _user_table(self, key: ObjectKey) -> SymbolTable:
        if not key.path.startswith("/"):
            return empty_table()
        files = self._find_files(key)
        if not files.runtime and not files.debug:
            stored = self.cache.load_build_id(key.build_id) if self.cache and key.build_id else None
            if stored:
                return stored[0]
            if not any(note.startswith(f"{key.path}:") for note in self.notes):
                self._note(f"{key.path}: no such file, so no symbols")
            return empty_table()
        try:
            sources = [file_identity(path) for path in (files.runtime, files.debug) if path]
            name = f"{files.build_id or 'none'}-{fingerprint(sources, self.plt_like_perf)}"
            stored = self.cache.load(name) if self.cache else None
            if stored:
                table = stored[0]
            else:
                table = self._build(files)
                if self.cache and len(table):
                    self.cache.store(name, table)
        except OSError as error:
            self._note(f"{key.path}: {error.strerror}, so no symbols")
            return empty_table()
        except FormatError as error:
            self._note(f"{error}: no symbols from it")
            return empty_table()
        if not len(table):
            self._note(f"no symbols for {key.path} (stripped)")
        return table

    def _build(self, files: _Files) -> SymbolTable:
        with ElfFile(files.runtime or files.debug) as runtime:
            if files.debug and files.runtime:
                with ElfFile(files.debug) as symbols:
                    return build_table(symbols, runtime, plt_like_perf=self.plt_like_perf)
            if not files.has_symtab:
                packed = mini_debug_info(runtime)
                if packed is not None:
                    return build_table(packed, runtime, plt_like_perf=self.plt_like_perf)
            return build_table(runtime, runtime, plt_like_perf=self.plt_like_perf)

    # the vdso and JIT code

    def _vdso_table(self, key: ObjectKey) -> SymbolTable:
        image = read_vdso(self.search.proc)
        if image is None:
            self._note("[vdso]: cannot be read from this process, so no symbols")
            return empty_table()
        try:
            with ElfFile(image, where="[vdso]") as elf:
                if key.build_id and not _same_build(elf.build_id, key.build_id):
                    self._note("[vdso]: the recording is from another kernel, so no symbols")
                    return empty_table()
                return build_table(elf, elf)
        except FormatError as error:
            self._note(f"{error}: no symbols from it")
            return empty_table()

    def _jit_table(self, key: ObjectKey) -> SymbolTable:
        owners = {0, os.geteuid()}
        with contextlib.suppress(OSError):  # it has ended
            owners.add(Path(f"{self.search.proc}/{key.pid}").stat().st_uid)
        for path in candidate_paths(key.pid, self.search.proc, self.search.root + self.search.temporary):
            try:
                table, reason = read_perf_map(path, owners)
            except OSError:
                continue
            if reason:
                self._note(reason)
            return table
        self._note(f"{key.path}: no such file, so no names in code that process {key.pid} made as it ran")
        return empty_table()

    # lines and inlined frames

    def _line_reader(self, key: ObjectKey) -> LineReader | None:
        if key not in self._lines:
            reader = None
            if key.kind == "user" and key.path.startswith("/"):
                files = self._find_files(key)
                segments = files.segments
                for path in (files.debug, files.runtime):
                    if path and reader is None:
                        reader = LineReader.open(path, segments, self.cache)
            self._lines[key] = reader
        return self._lines[key]

    def inlines(self, key: ObjectKey, addresses: U64) -> list[list[InlineFrame]]:
        """For each table address its frames (function, file, line), innermost first, the real function last.

        An empty list where DWARF says nothing.
        """
        reader = self._line_reader(key)
        if reader is None:
            return [[] for _ in addresses]
        return [reader.frames(int(address)) for address in addresses]

    def source_line(self, key: ObjectKey, address: int) -> tuple[str, int] | None:
        """File and line of a table address, None where DWARF says nothing."""
        reader = self._line_reader(key)
        frames = reader.frames(int(address)) if reader else []
        return (frames[0].file, frames[0].line) if frames and frames[0].file else None


def _has(elf: ElfFile, kind: int) -> bool:
    section = elf.section_of_kind(kind)
    return section is not None and section.size > 0


def _same_build(one: str, other: str) -> bool:
    """Whether build-ids agree; recordings pad short ones with zeros to 20 bytes."""
    length = min(len(one), len(other))
    return length > 0 and one[:length] == other[:length] and not (one[length:] + other[length:]).strip("0")


__all__ = ["InlineFrame", "ObjectKey", "SearchPath", "Symbolizer"]
