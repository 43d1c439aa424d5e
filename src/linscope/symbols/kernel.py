"""The kernel's symbols and its modules': vmlinux of the same build, /proc/kallsyms, or a copy of it.

KASLR puts the kernel elsewhere at each boot: its table counts from _text, whose address the recording tells
in the page offset of its kernel mapping ("[kernel.kallsyms]_text", tools/perf/util/synthetic-events.c).
"""

from __future__ import annotations

import gzip
import lzma
import os
import stat
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from linscope.binfmt.elf import SHF_EXECINSTR, SHT_SYMTAB, ElfFile
from linscope.binfmt.notes import read_kernel_build_id
from linscope.errors import FormatError
from linscope.symbols.cache import SymbolCache, file_identity, fingerprint
from linscope.symbols.elf_symbols import build_image_table
from linscope.symbols.kallsyms import Kallsyms, parse_kallsyms
from linscope.symbols.search import SearchPath
from linscope.symbols.table import AddressRule, SymbolTable, empty_table

_MAX_MODULE = 256 << 20


class KernelSymbols:
    """Finds the tables of one kernel; reads /proc/kallsyms once at most."""

    def __init__(
        self,
        search: SearchPath,
        cache: SymbolCache | None,
        note: Callable[[str], None],
        kallsyms: str | None,
        vmlinux: str | None,
        release: str,
    ) -> None:
        """As in Symbolizer; note: told what could not be found."""
        self.search = search
        self.cache = cache
        self.note = note
        self.kallsyms_path = kallsyms
        self.vmlinux_path = vmlinux
        self.release = release
        self._parsed: dict[str, Kallsyms | None] = {}

    def table(self, path: str, build_id: str) -> tuple[SymbolTable, AddressRule]:
        """The kernel's own symbols; path: name of the mapping, which ends in the symbol that pgoff is of."""
        if path.startswith("[guest"):
            self.note(f"no symbols for {path}: guest kernels are not looked up")
            return empty_table(), AddressRule("absolute")
        found = self._find(build_id)
        if found is None:
            return empty_table(), AddressRule("absolute")
        table, stext = found
        return table, AddressRule("reference", stext if path.endswith("]_stext") else 0)

    def _find(self, build_id: str) -> tuple[SymbolTable, int] | None:
        """Table and distance from _text to _stext; None when there is nothing."""
        if self.kallsyms_path is not None:
            return self._from_kallsyms(self.kallsyms_path, build_id)
        if self.vmlinux_path is not None:
            return self._from_vmlinux(self.vmlinux_path, build_id)
        for path in self.search.vmlinux_files(self.release, build_id):
            if build_id and Path(path).is_file():
                found = self._from_vmlinux(path, build_id)
                if found:
                    return found
        if self._is_running(build_id):
            return self._from_kallsyms(f"{self.search.proc}/kallsyms", build_id)
        for path in self.search.kallsyms_copies(build_id):
            if Path(path).is_file():
                return self._from_kallsyms(path, build_id)
        stored = self.cache.load_build_id(f"{build_id}-kernel") if self.cache and build_id else None
        if stored:
            return stored
        which = f"with build-id {build_id}" if build_id else self.release or "of the recording"
        self.note(
            f"no symbols for the kernel {which}: neither the running one nor a vmlinux or kallsyms copy is it"
        )
        return None

    def _is_running(self, build_id: str) -> bool:
        if build_id:
            running = read_kernel_build_id(self.search.kernel_notes) or ""
            return bool(running) and build_id.startswith(running)
        return not self.release or self.release == os.uname().release

    def _read_kallsyms(self, path: str) -> Kallsyms | None:
        if path not in self._parsed:
            self._parsed[path] = None
            try:
                self._parsed[path] = parse_kallsyms(Path(path).read_bytes(), where=path)
            except OSError as error:
                self.note(f"{path}: {error.strerror}, so no kernel symbols")
            except FormatError as error:
                self.note(f"{error}: no kernel symbols from it")
            else:
                if self._parsed[path] is None:
                    self.note(
                        f"{path} hides its addresses, so no kernel symbols: run as root, "
                        "or with sysctl kernel.kptr_restrict=0 and kernel.perf_event_paranoid=1"
                    )
        return self._parsed[path]

    def _from_kallsyms(self, path: str, build_id: str) -> tuple[SymbolTable, int] | None:
        running = path == f"{self.search.proc}/kallsyms"
        name = ""
        if self.cache and (build_id or running):
            known = build_id or read_kernel_build_id(self.search.kernel_notes) or ""
            source = "live" if running else file_identity(path)
            name = f"{known}-kernel-{fingerprint(source)}" if known else ""
            stored = self.cache.load(name) if name else None
            if stored:
                return stored
        parsed = self._read_kallsyms(path)
        if parsed is None:
            return None
        if self.cache and name:
            self.cache.store(name, parsed.kernel, parsed.stext - parsed.text)
        return parsed.kernel, parsed.stext - parsed.text

    def _from_vmlinux(self, path: str, build_id: str) -> tuple[SymbolTable, int] | None:
        try:
            with ElfFile(path) as elf:
                if build_id and elf.build_id and not build_id.startswith(elf.build_id):
                    self.note(f"{path}: not the kernel of the recording (its build-id differs), not used")
                    return None
                if elf.section_of_kind(SHT_SYMTAB) is None:
                    return None
                name = f"{elf.build_id or 'none'}-vmlinux-{fingerprint(file_identity(path))}"
                stored = self.cache.load(name) if self.cache else None
                if stored:
                    return stored
                table, anchors = build_image_table(elf, ("_text", "_stext"))
        except OSError as error:
            self.note(f"{path}: {error.strerror}, so no kernel symbols")
            return None
        except FormatError as error:
            self.note(f"{error}: no kernel symbols from it")
            return None
        text = anchors.get("_text") or anchors.get("_stext", 0)
        stext = anchors.get("_stext", text)
        table.starts = table.starts - np.uint64(text)
        table.ends = table.ends - np.uint64(text)
        inside = table.starts < np.uint64(1 << 63)  # what lies below _text (per-CPU offsets) wrapped around
        table = table.take(inside)
        if self.cache:
            self.cache.store(name, table, stext - text)
        return table, stext - text

    # modules

    def module_table(self, path: str, build_id: str) -> tuple[SymbolTable, AddressRule]:
        """A module's symbols, counted from where it was loaded; path: "[name]" or that of its .ko file."""
        name = module_name(path)
        kallsyms = self.kallsyms_path or f"{self.search.proc}/kallsyms"
        base = self._module_base(name)
        if (base or self.kallsyms_path) and not self._differs(name, build_id):
            parsed = self._read_kallsyms(kallsyms)
            table = parsed.modules.get(name) if parsed else None
            if table is not None and len(table):
                start = np.uint64(base or int(table.starts[0]))
                below = table.starts >= start
                table = table.take(below)
                table.starts, table.ends = table.starts - start, table.ends - start
                return table, AddressRule("start")
        if path.startswith("/"):
            return self._from_module_file(path, build_id), AddressRule("start")
        self.note(f"no symbols for the module {path}: it is not loaded here")
        return empty_table(), AddressRule("start")

    def _module_base(self, name: str) -> int:
        """Where a module of the running kernel lies, 0 when it is not loaded or the address is hidden."""
        try:
            with open(f"{self.search.proc}/modules", encoding="utf-8", errors="replace") as file:
                for line in file:
                    fields = line.split()
                    if len(fields) >= 6 and fields[0].replace("-", "_") == name:
                        return int(fields[5], 16)
        except (OSError, ValueError):
            pass  # no modules, or not our format: as if not loaded
        return 0

    def _differs(self, name: str, build_id: str) -> bool:
        """Whether the loaded module is known to be another build than the recorded one."""
        if not build_id:
            return False
        loaded = read_kernel_build_id(f"{self.search.root}/sys/module/{name}/notes/.note.gnu.build-id")
        return bool(loaded) and not build_id.startswith(loaded or "")

    def _from_module_file(self, path: str, build_id: str) -> SymbolTable:
        """The .text of a .ko file, plain or compressed: what the kernel puts at a module's start."""
        try:
            with ElfFile(_module_image(self.search.root + path), where=path) as elf:
                if build_id and elf.build_id and not build_id.startswith(elf.build_id):
                    self.note(f"{path}: changed since the recording (its build-id differs), not used")
                    return empty_table()
                text = next((s for s in elf.sections if s.name == ".text" and s.flags & SHF_EXECINSTR), None)
                table, _ = build_image_table(elf, (), only_section=text.number if text else -1)
                return table
        except OSError as error:
            self.note(f"{path}: {error.strerror}, so no symbols")
        except FormatError as error:
            self.note(f"{error}: no symbols from it")
        return empty_table()


def module_name(path: str) -> str:
    """Name of a module as the kernel has it: "nf_tables" of "[nf_tables]" or ".../nf-tables.ko.xz"."""
    name = path.rpartition("/")[2].strip("[]")
    return name.partition(".ko")[0].replace("-", "_")


def _module_image(path: str) -> bytes:
    """A .ko file's ELF image, unpacked.  Raises OSError, FormatError when it is damaged or beyond 256 MiB."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise FormatError("not a regular file", where=path)
    with open(path, "rb") as file:
        head = file.read(6)
        file.seek(0)
        try:
            if head[:2] == b"\x1f\x8b":
                with gzip.open(file) as packed:
                    data = packed.read(_MAX_MODULE + 1)
            elif head == b"\xfd7zXZ\0":
                with lzma.open(file) as packed_xz:
                    data = packed_xz.read(_MAX_MODULE + 1)
            elif head[:4] == b"\x28\xb5\x2f\xfd":
                import zstandard

                try:
                    with zstandard.ZstdDecompressor().stream_reader(file) as reader:
                        data = reader.read(_MAX_MODULE + 1)
                except zstandard.ZstdError as error:
                    raise FormatError("damaged compressed module", where=path, why=str(error)) from error
            else:
                data = file.read(_MAX_MODULE + 1)
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise FormatError("damaged compressed module", where=path, why=str(error)) from error
    if len(data) > _MAX_MODULE:
        raise FormatError("module of more than 256 MiB", where=path)
    return data
