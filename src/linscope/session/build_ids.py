"""Build-ids of the kernel and of the files that were mapped, by small reads of their ELF notes only.

Source: elf(5); the vdso from the auxiliary vector (getauxval(3), AT_SYSINFO_EHDR).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable

from linscope.abi import perf_event as pe
from linscope.sys.tracefs import read_bytes

_NT_GNU_BUILD_ID = 3
_PT_NOTE = 4
_AT_SYSINFO_EHDR = 33
_PROT_EXEC = 4


def find_build_id(notes: bytes, order: str = "=") -> bytes:
    """The build-id among ELF notes, empty when there is none.  order: "<" or ">" of the file, "=" the
    machine's."""
    offset = 0
    while offset + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from(order + "III", notes, offset)
        name_at = offset + 12
        data_at = name_at + (name_size + 3 & ~3)
        if kind == _NT_GNU_BUILD_ID and notes[name_at : name_at + 4] == b"GNU\0":
            return notes[data_at : data_at + size]
        offset = data_at + (size + 3 & ~3)
    return b""


def elf_build_id(read: Callable[[int, int], bytes], head: bytes) -> bytes:
    """The build-id of an ELF file.  read(offset, size) -> bytes; head: the first 4 KiB, which mostly
    suffices."""
    if head[:4] != b"\x7fELF" or len(head) < 64:
        return b""
    order = "<" if head[5] == 1 else ">"
    wide = head[4] == 2
    if wide:
        table, entry_size, count = struct.unpack_from(order + "Q14xHH", head, 32)
    else:
        table, entry_size, count = struct.unpack_from(order + "I10xHH", head, 28)

    def piece(offset: int, size: int) -> bytes:
        if offset + size <= len(head):
            return head[offset : offset + size]
        return read(offset, size)

    entries = piece(table, entry_size * count)
    for index in range(len(entries) // entry_size if entry_size else 0):
        at = index * entry_size
        if struct.unpack_from(order + "I", entries, at)[0] != _PT_NOTE:
            continue
        offset, size = struct.unpack_from(order + ("8xQ16xQ" if wide else "4xI8xI"), entries, at)
        if size <= 1 << 16 and (found := find_build_id(piece(offset, size), order)):
            return found
    return b""


def file_build_id(path: str) -> bytes:
    """The build-id of a file; empty when it cannot be read or has none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return elf_build_id(lambda offset, size: os.pread(fd, size, offset), os.pread(fd, 4096, 0))
    except (OSError, struct.error):
        return b""
    finally:
        os.close(fd)


def kernel_build_id() -> bytes:
    """The running kernel's, from /sys/kernel/notes."""
    try:
        return find_build_id(read_bytes("/sys/kernel/notes"))
    except OSError:
        return b""


def module_build_id(name: str) -> bytes:
    """A loaded module's, from /sys/module."""
    try:
        return find_build_id(read_bytes(f"/sys/module/{name}/notes/.note.gnu.build-id"))
    except OSError:
        return b""


def vdso_build_id() -> bytes:
    """The vdso's, out of this process's own copy."""
    import ctypes

    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype = ctypes.c_ulong
    address = getauxval(ctypes.c_ulong(_AT_SYSINFO_EHDR))
    if not address:
        return b""
    return elf_build_id(lambda offset, size: b"", ctypes.string_at(address, 4096))


def mapped_files(records: bytes, files: set[str]) -> None:
    """Add to files the names in the executable MMAP2 and MMAP records among these side-band records."""
    offset, end = 0, len(records)
    unpack = struct.Struct("=IHH").unpack_from
    protection = struct.Struct("=I").unpack_from
    mmap2, mmap = pe.PERF_RECORD_MMAP2, pe.PERF_RECORD_MMAP
    while offset + 8 <= end:
        kind, misc, size = unpack(records, offset)
        if size < 8:
            return
        if kind == mmap2:
            if protection(records, offset + 64)[0] & _PROT_EXEC:
                start = offset + 72
                name = records[start : records.index(b"\0", start)]
                files.add(name.decode("utf-8", "surrogateescape"))
        elif kind == mmap and not misc & pe.PERF_RECORD_MISC_MMAP_DATA:
            start = offset + 40
            files.add(records[start : records.index(b"\0", start)].decode("utf-8", "surrogateescape"))
        offset += size


def collect(files: Iterable[str], modules: Iterable[str], kernel: bool) -> list[tuple[str, bytes, bool]]:
    """(name, build-id, kernel's side) of all that have one, for the BUILD_ID section."""
    entries: list[tuple[str, bytes, bool]] = []
    if kernel and (found := kernel_build_id()):
        entries.append(("[kernel.kallsyms]", found, True))
    if kernel:
        entries += [(f"[{name}]", i, True) for name in modules if (i := module_build_id(name))]
    for name in sorted(files):
        if name == "[vdso]":
            found = vdso_build_id()
        elif name.startswith("/") and not name.startswith(("//", "/dev/", "/memfd:", "/anon_hugepage")):
            found = file_build_id(name)
        else:
            continue
        if found:
            entries.append((name, found, False))
    return entries
