"""Names of addresses in processes: their mappings, symbol tables of files, maps of JIT compilers.

Mappings of a process are kept from when it was first seen, so that a stack can be named after its end.
Source: proc_pid_maps(5); System V gABI, symbol table; tools/perf/Documentation/jit-interface.txt.
"""

from __future__ import annotations

import os
from bisect import bisect_right

from linscope.session.script.elf_table import ElfTable, open_table, vdso_table

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple

    class Frame(NamedTuple):
        """One function at an address."""

        name: str
        distance: int  # bytes from its start; -1: inlined
        path: str  # of the mapped file
        line: str  # "file.c:12", "" when it is not known
else:
    from linscope.bpf._named import named_tuple

    Frame = named_tuple("Frame", "name distance path line")

_FIXED_BASE = 0x555555554000  # of position-independent programs without ASLR (ELF_ET_DYN_BASE, x86-64)
_MOST_LOOKS = 20  # at the mappings of a process whose addresses are in none of them


class Mappings:
    """Executable mappings of one process, the newest on top."""

    __slots__ = ("entries", "looks", "root", "started", "starts", "text")

    def __init__(self, pid: int) -> None:
        self.root = f"/proc/{pid}/root"
        self.text = b""
        self.starts: list[int] = []
        self.entries: list[tuple[int, int, int, str]] = []  # start, end, offset in the file, path
        self.looks = 0

    def update(self, text: bytes) -> None:
        """Take what /proc/PID/maps says; what it does not cover stays from before."""
        if text == self.text:
            return
        self.text = text
        entries = []
        for line in text.split(b"\n"):
            fields = line.split(None, 5)
            if len(fields) < 5 or b"x" not in fields[1]:
                continue
            first, _, last = fields[0].partition(b"-")
            path = os.fsdecode(fields[5]) if len(fields) > 5 else ""
            entries.append((int(first, 16), int(last, 16), int(fields[2], 16), path))
        kept = [old for old in self.entries if not any(new[0] < old[1] and old[0] < new[1] for new in entries)]
        self.entries = sorted(entries + kept)
        self.starts = [entry[0] for entry in self.entries]

    def find(self, address: int) -> tuple[int, int, int, str] | None:
        """The mapping of an address."""
        place = bisect_right(self.starts, address) - 1
        if place >= 0 and address < self.entries[place][1]:
            return self.entries[place]
        return None


class UserSymbols:
    """Names for all processes; files are read once, whoever maps them."""

    def __init__(self, *, demangle: bool = True, lines: bool = True, fallback_paths: Sequence[str] = ()) -> None:
        """demangle: C++ and Rust names as people write them; lines: source lines and inlined functions too.

        fallback_paths: files that an address may be in when its process is gone: at the place where they are linked,
        or where the kernel puts them without randomization.
        """
        self.fallback_paths = fallback_paths
        self.demangle = demangle
        self.lines = lines
        self._processes: dict[int, Mappings] = {}
        self._tables: dict[tuple[object, ...], ElfTable | None] = {}
        self._opened: dict[tuple[str, str], ElfTable | None] = {}
        self._jit: dict[int, tuple[list[int], list[tuple[int, str]]]] = {}
        self._known: dict[tuple[int, int], list[Frame]] = {}

    def see(self, pid: int, *, again: bool = False) -> Mappings:
        """Keep the mappings of a process; again: also when they are known, for they may have changed."""
        found = self._processes.get(pid)
        if found is not None and not again:
            return found
        if found is None:
            found = self._processes[pid] = Mappings(pid)
        try:
            with open(f"/proc/{pid}/maps", "rb") as file:
                text = file.read()
        except OSError:
            return found  # it has ended: what is known stays
        if text:
            found.update(text)
            for _start, _end, _offset, path in found.entries:
                if path.startswith("/") and (path, found.root) not in self._opened:
                    self._table(path, found.root)  # while the file can be reached by the process
        return found

    def seen(self, pid: int) -> bool:
        """Whether the mappings of a process are kept."""
        return pid in self._processes

    def frames(self, address: int, pid: int, *, caller: bool = False) -> list[Frame]:
        """Functions at an address of a process, innermost first; [] when there is none.

        caller: the address is a return address, whose line is that of the call before it.
        """
        key = (address, pid) if not caller else (~address, pid)
        found = self._known.get(key)
        if found is None:
            found = self._look_up(address, pid, caller)
            if found:
                self._known[key] = found
        return found

    def _look_up(self, address: int, pid: int, caller: bool) -> list[Frame]:
        process = self.see(pid)
        mapping = process.find(address)
        if mapping is None and process.looks < _MOST_LOOKS:
            process.looks += 1
            mapping = self.see(pid, again=True).find(address)
        if mapping is None:
            return [] if process.entries else self._in_fallbacks(address, caller)
        start, _end, offset, path = mapping
        if path.startswith("/") and not path.startswith(("/memfd:", "/dev/zero")):
            table = self._table(path, process.root)
            return self._in_table(table, address - start + offset, path, caller) if table is not None else []
        if path == "[vdso]":
            table = self._tables.get(("vdso",)) or self._tables.setdefault(("vdso",), vdso_table())
            return self._in_table(table, address - start + offset, path, caller) if table is not None else []
        return self._in_jit(address, pid)

    def _in_table(self, table: ElfTable, offset: int, path: str, caller: bool) -> list[Frame]:
        found = table.find(offset)
        inner = table.inlined(offset - 1 if caller else offset) if self.lines else []
        if found is None and not inner:
            return []
        name, distance = found if found is not None else (inner[-1][0], 0)
        if self.demangle and name.startswith(("_Z", "_R")):
            from linscope.symbols.demangle import demangle

            name = demangle(name, parameters=True)
        frames = [Frame(function, -1, path, place) for function, place in inner[:-1]]
        return [*frames, Frame(name, distance, path, inner[-1][1] if inner else "")]

    def _in_fallbacks(self, address: int, caller: bool) -> list[Frame]:
        for path in self.fallback_paths:
            table = self._table(path, "")
            for base in (0, _FIXED_BASE) if table is not None else ():
                assert table is not None
                offset = table.file_offset(address - base)
                frames = self._in_table(table, offset, path, caller) if offset is not None else []
                if frames:
                    return frames
        return []

    def _table(self, path: str, root: str) -> ElfTable | None:
        """The symbols of a file as a process sees it."""
        try:
            return self._opened[path, root]
        except KeyError:
            pass
        found: ElfTable | None = None
        for place in (root + path, path):
            try:
                status = os.stat(place)
            except OSError:
                continue
            key = (status.st_dev, status.st_ino, status.st_mtime_ns)
            if key not in self._tables:
                self._tables[key] = open_table(place, debug_path=path)
            found = self._tables[key]
            break
        self._opened[path, root] = found
        return found

    def _in_jit(self, address: int, pid: int) -> list[Frame]:
        if pid not in self._jit:
            self._jit[pid] = read_jit_map(pid)
        starts, entries = self._jit[pid]
        place = bisect_right(starts, address) - 1
        if place < 0 or address >= entries[place][0]:
            return []
        return [Frame(entries[place][1], address - starts[place], f"/tmp/perf-{pid}.map", "")]


def read_jit_map(pid: int) -> tuple[list[int], list[tuple[int, str]]]:
    """(starts, (end, name) of each) of /tmp/perf-PID.map; empty when there is none that can be trusted."""
    found: dict[int, tuple[int, str]] = {}
    for path in (f"/proc/{pid}/root/tmp/perf-{_own_pid(pid)}.map", f"/tmp/perf-{pid}.map"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                for line in file:
                    fields = line.rstrip("\n").split(" ", 2)
                    try:
                        start, size = int(fields[0], 16), int(fields[1], 16)
                        found[start] = start + size, fields[2]
                    except (ValueError, IndexError):
                        continue
            break
        except OSError:
            continue
    starts = sorted(found)
    return starts, [found[start] for start in starts]


def _own_pid(pid: int) -> int:
    """How a process numbers itself in its own namespace."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("NSpid:"):
                    return int(line.split()[-1])
    except OSError:
        pass
    return pid
