"""Which reader a file is for."""

from __future__ import annotations

from collections.abc import Sequence

from linscope.errors import FormatError, InputError, UnsupportedError
from linscope.memory._file import DumpFile
from linscope.memory._kdump_header import SIGNATURE
from linscope.memory._pieces import Source
from linscope.memory.physical import PhysicalMemory

_PACKED = {  # what people get dumps in
    b"\x1f\x8b": "gunzip", b"\xfd7zXZ": "unxz", b"BZh": "bunzip2", b"\x28\xb5\x2f\xfd": "unzstd", b"PK\3\4": "unzip",
}  # fmt: skip


def open_any(path: str, others: Sequence[str], where: str) -> PhysicalMemory:
    """See linscope.memory.open_memory."""
    files: list[Source] = []
    try:
        for name in (path, *others):
            files.append(open_file(name, where if name == path else name))
        return _open(files)
    except BaseException:
        for file in files:
            file.close()
        raise


def open_file(path: str, where: str) -> Source:
    """A file, seen through the flattened form if it is in that.  Raises InputError."""
    try:
        return DumpFile(path, where=where)
    except OSError as error:
        raise InputError("cannot open the dump", where=where, why=error.strerror or "") from None


def _open(files: list[Source]) -> PhysicalMemory:
    file = files[0]
    head = file.peek(0, 64)
    if head.startswith(SIGNATURE):
        from linscope.memory.kdump import KdumpMemory

        return KdumpMemory(files)
    if len(files) > 1:
        raise FormatError("several files, and the first is no part of a split dump", where=file.where)
    if head.startswith(b"\x7fELF"):
        from linscope.memory.elf_core import ElfMemory

        return ElfMemory(file)
    for magic, program in _PACKED.items():
        if head.startswith(magic):
            raise UnsupportedError("a packed file", where=file.where, next_step=f"{program} {file.where}")
    raise FormatError("not a memory dump that linscope knows", where=file.where, offset=0)
