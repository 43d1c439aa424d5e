"""Addresses and stacks as text.

Kernel addresses by /proc/kallsyms; those of processes by the files that they have mapped, as they were when the process
was first seen.
"""

from __future__ import annotations

import os

from linscope.lang import types as t

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

_USER_LIMIT = 1 << 47


class Mapping:
    """A mapped file of a process."""

    __slots__ = ("end", "offset", "path", "start")

    def __init__(self, start: int, end: int, offset: int, path: str) -> None:
        self.start, self.end, self.offset, self.path = start, end, offset, path


def read_mappings(pid: int) -> list[Mapping]:
    """What a process has mapped, that can be executed; empty when it is gone."""
    found = []
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            for line in file:
                fields = line.split(maxsplit=5)
                if "x" in fields[1]:
                    start, _, end = fields[0].partition("-")
                    path = fields[5].rstrip("\n") if len(fields) > 5 else ""
                    found.append(Mapping(int(start, 16), int(end, 16), int(fields[2], 16), path))
    except OSError:
        pass
    return found


class Symbols:
    """Addresses -> names."""

    def __init__(self, settings: dict[str, str | int]) -> None:
        self.settings = settings
        self._mappings: dict[int, list[Mapping]] = {}
        self._symbolizer: object = None
        self._kernel_table: object = None
        self._frames: dict[tuple[int, int], list[str]] = {}
        self.read_stack: Callable[[t.Stack, int], list[int]] = lambda _type, _number: []
        self.fallback_paths: list[str] = []  # programs that the probes are in: for processes that are gone

    # -- processes

    def see(self, pid: int) -> list[Mapping]:
        """The mappings of a process, from when it was first seen."""
        known = self._mappings.get(pid)
        if not known:
            known = self._mappings[pid] = read_mappings(pid)
        return known

    def _tables(self) -> object:
        from linscope.symbols.cache import SymbolCache
        from linscope.symbols.objects import Symbolizer

        if self._symbolizer is None:
            self._symbolizer = Symbolizer(cache=SymbolCache(), demangle=bool(self.settings.get("cpp_demangle", 1)))
        return self._symbolizer

    def kernel(self, address: int, *, offset: bool = False) -> str:
        """A kernel symbol; the address when there is none.  offset: with the distance from its start."""
        import numpy as np

        from linscope.symbols.objects import ObjectKey, Symbolizer

        address &= (1 << 64) - 1
        if self._kernel_table is None:
            symbolizer = self._tables()
            assert isinstance(symbolizer, Symbolizer)
            table, rule = symbolizer.table(ObjectKey("[kernel.kallsyms]_text", kind="kernel"))
            self._kernel_table = (table, _text_address())
            del rule
        table, text = self._kernel_table  # type: ignore[misc]
        place = int(table.find(np.array([(address - text) & (1 << 64) - 1], np.uint64))[0])
        if place < 0:
            return f"{address:#x}"
        name = table.name(place)
        distance = (address - text & (1 << 64) - 1) - int(table.starts[place])
        return f"{name}+{distance}" if offset else str(name)

    def user(self, address: int, pid: int) -> str:
        """A process's symbol; the address when there is none."""
        frames = self._user_frames(address, pid)
        return frames[-1][0] if frames and frames[-1][0] else f"{address:#x}"

    def _user_frames(self, address: int, pid: int) -> list[tuple[str, int, str, str, int]]:
        """(name, distance, file, source, line) at an address, innermost inlined one first."""
        import numpy as np

        from linscope.symbols.objects import ObjectKey, Symbolizer

        mapping = next((one for one in self.see(pid) if one.start <= address < one.end), None)
        symbolizer = self._tables()
        assert isinstance(symbolizer, Symbolizer)
        if mapping is None:
            return self._in_fallbacks(address)
        if not mapping.path or mapping.path.startswith(("//anon", "[anon", "/memfd:")):
            key = ObjectKey(mapping.path or "//anon", kind="jit", pid=pid)
        elif mapping.path.startswith("[vdso"):
            key = ObjectKey(mapping.path, kind="vdso", pid=pid)
        else:
            key = ObjectKey(mapping.path, kind="user", pid=pid if os.path.exists(f"/proc/{pid}") else 0)
        table, rule = symbolizer.table(key)
        place_in = rule.apply(np.array([address], np.uint64), mapping.start, mapping.offset)
        return self._named(symbolizer, key, table, int(place_in[0]), mapping.path)

    def _named(
        self, symbolizer: object, key: object, table: object, place: int, path: str
    ) -> list[tuple[str, int, str, str, int]]:
        import numpy as np

        from linscope.symbols.objects import ObjectKey, Symbolizer
        from linscope.symbols.table import SymbolTable

        assert isinstance(symbolizer, Symbolizer) and isinstance(key, ObjectKey) and isinstance(table, SymbolTable)
        index = int(table.find(np.array([place], np.uint64))[0])
        if index < 0:
            return [("", 0, path, "", 0)]
        name, distance = table.name(index), place - int(table.starts[index])
        frames: list[tuple[str, int, str, str, int]] = []
        if self.settings.get("show_debug_info", 1) and key.kind == "user":
            inner = symbolizer.inlines(key, np.array([place], np.uint64))[0]
            frames = [(one.name, -1, path, one.file, one.line) for one in inner[:-1]]
            if inner:
                return [*frames, (name, distance, path, inner[-1].file, inner[-1].line)]
        return [*frames, (name, distance, path, "", 0)]

    def _in_fallbacks(self, address: int) -> list[tuple[str, int, str, str, int]]:
        """A process that is gone: the programs of the probes, when they are not position-independent."""
        import numpy as np

        from linscope.symbols.objects import ObjectKey, Symbolizer

        symbolizer = self._tables()
        assert isinstance(symbolizer, Symbolizer)
        from linscope.lang.probes.elf_functions import Elf

        for path in self.fallback_paths:
            elf = Elf(path)
            for base in (0, 0x555555554000):
                offset = elf.file_offset(address - base)
                if offset is None:
                    continue
                key = ObjectKey(path, kind="user")
                table, _ = symbolizer.table(key)
                if int(table.find(np.array([offset], np.uint64))[0]) >= 0:
                    return self._named(symbolizer, key, table, offset, path)
        return []

    # -- stacks

    def stack(self, type: t.Stack, value: int, indent: int = 8) -> str:
        """A stack in its mode: a line for each frame, between line breaks."""
        number = value & 0xFFFFFFFF
        number -= (number & 0x80000000) << 1
        if number < 0:
            return ""
        addresses = self.read_stack(type, number)
        pid = value >> 32
        if type.mode in ("raw", "build_id"):
            lines = [f"{one:x}" for one in addresses] if type.mode == "raw" else [str(one) for one in addresses]
            return "\n" + "".join(f"{line}\n" for line in lines)
        lines = [line for address in addresses for line in self._frame_lines(type, address, pid)]
        blanks = "\t" if type.mode == "perf" else " " * indent
        return "\n" + "".join(f"{blanks}{line}\n" for line in lines)

    def _frame_lines(self, type: t.Stack, address: int, pid: int) -> list[str]:
        key = address, pid if type.kind == t.USER else -1
        cached = self._frames.get(key) if type.mode == "bpftrace" else None
        if cached is not None:
            return cached
        if type.kind == t.KERNEL:
            name = self.kernel(address, offset=True)
            lines = [f"{address:x} {name}" if type.mode == "perf" else name]
        else:
            lines = self._user_lines(type.mode, address, pid)
        if type.mode == "bpftrace":
            self._frames[key] = lines
        return lines

    def _user_lines(self, mode: str, address: int, pid: int) -> list[str]:
        frames = self._user_frames(address, pid)
        if not frames:
            return [f"{address:x} 0x{address:x} ([unknown])" if mode == "perf" else f"0x{address:x}"]
        lines = []
        for name, distance, path, source, line in frames:
            if mode == "perf":
                shown = f"{name} (inlined)" if distance < 0 else f"{name or f'0x{address:x}'}+{distance} ({path})"
                lines.append(f"{address:x} {shown}")
            elif not name:
                lines.append(f"0x{address:x}")
            else:
                place = f"@{source}:{line}" if source else ""
                lines.append(f"[inlined] {name}{place}" if distance < 0 else f"{name}+{distance}{place}")
        return lines


def _text_address() -> int:
    """The address of _text in the running kernel, which its symbols count from."""
    from linscope.lang.bpftrace.addresses import kernel_address

    return kernel_address("_text")
