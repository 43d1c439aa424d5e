"""Where the file that was mapped, and its symbols, may lie.

Source: the order in which perf 6.1 looks (binary_type_symtab in tools/perf/util/symbol.c; names in dso.c);
GDB manual, "Separate Debug Files".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

DELETED = " (deleted)"


@dataclass(frozen=True)
class SearchPath:
    """Folders to look into; tests and ``--symfs`` give their own."""

    root: str = ""  # in front of every path of the recording, as perf's --symfs; "" for this machine itself
    debug_roots: tuple[str, ...] = ("/usr/lib/debug",)
    perf_cache: str = field(default_factory=lambda: str(Path("~/.debug").expanduser()))
    proc: str = "/proc"
    temporary: str = "/tmp"
    kernel_notes: str = "/sys/kernel/notes"

    def runtime_files(self, path: str, build_id: str, pid: int = 0) -> Iterator[str]:
        """Candidates for the file that was mapped."""
        name = path.removesuffix(DELETED)
        if name.startswith("/"):
            yield self.root + name
            if pid and not self.root:  # a container's; last, for the pid may be another process's by now
                yield f"{self.proc}/{pid}/root{name}"
        if build_id:
            yield f"{self.perf_cache}/.build-id/{build_id[:2]}/{build_id[2:]}/elf"
            yield f"{self.perf_cache}/.build-id/{build_id[:2]}/{build_id[2:]}"

    def debug_files(self, path: str, build_id: str, debug_link: str) -> Iterator[str]:
        """Candidates for a file with the full symbol table, in perf's order."""
        name = path.removesuffix(DELETED)
        folder = name.rpartition("/")[0]
        if debug_link and "/" not in debug_link:
            yield f"{self.root}{folder}/{debug_link}"
            yield f"{self.root}{folder}/.debug/{debug_link}"
            for root in self.debug_roots:
                yield f"{self.root}{root}{folder}/{debug_link}"
        if build_id:
            yield f"{self.perf_cache}/.build-id/{build_id[:2]}/{build_id[2:]}/debug"
        for root in self.debug_roots:
            if name.startswith("/"):
                yield f"{self.root}{root}{name}.debug"
                yield f"{self.root}{root}{name}"
            if build_id:
                yield f"{self.root}{root}/.build-id/{build_id[:2]}/{build_id[2:]}.debug"

    def vmlinux_files(self, release: str, build_id: str) -> Iterator[str]:
        """Candidates for the kernel's own ELF file."""
        if build_id:
            yield f"{self.perf_cache}/.build-id/{build_id[:2]}/{build_id[2:]}/elf"
            for root in self.debug_roots:
                yield f"{self.root}{root}/.build-id/{build_id[:2]}/{build_id[2:]}.debug"
        if release and "/" not in release:
            yield f"{self.root}/boot/vmlinux-{release}"
            for root in self.debug_roots:
                yield f"{self.root}{root}/boot/vmlinux-{release}"
                yield f"{self.root}{root}/lib/modules/{release}/vmlinux"
                yield f"{self.root}{root}/boot/vmlinux-{release}.debug"
            yield f"{self.root}/lib/modules/{release}/build/vmlinux"
            yield f"{self.root}/lib/modules/{release}/vmlinux"

    def kallsyms_copies(self, build_id: str) -> Iterator[str]:
        """Candidates for a copy of /proc/kallsyms that ``perf record`` or ``perf buildid-cache`` made."""
        if build_id:
            yield f"{self.perf_cache}/.build-id/{build_id[:2]}/{build_id[2:]}/kallsyms"
            yield f"{self.perf_cache}/[kernel.kallsyms]/{build_id}/kallsyms"
