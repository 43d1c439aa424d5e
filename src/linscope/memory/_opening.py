"""Which reader a file is for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from linscope.errors import FormatError, InputError, LinscopeError, UnsupportedError
from linscope.memory import _kdump_header, flattened, lime
from linscope.memory._file import DumpFile
from linscope.memory._pieces import Source
from linscope.memory.physical import PhysicalMemory

_PACKED = {  # what people get dumps in
    b"\x1f\x8b": "gunzip", b"\xfd7zXZ": "unxz", b"BZh": "bunzip2", b"\x28\xb5\x2f\xfd": "unzstd", b"PK\3\4": "unzip",
}  # fmt: skip
_MAX_BESIDE = 4096  # files of a folder that are looked at for parts of a split dump


class OpenOptions(NamedTuple):
    """See linscope.memory.open_memory."""

    where: str
    machine_type: str = ""
    live: bool = True


def open_any(paths: Sequence[str], options: OpenOptions) -> PhysicalMemory:
    """See linscope.memory.open_memory."""
    files: list[Source] = []
    try:
        for path in paths:
            files.append(open_file(path, options.where if path == paths[0] else path))
        return _open(files, paths, options)
    except BaseException:
        for file in files:
            file.close()
        raise


def open_file(path: str, where: str) -> Source:
    """A file, seen through the flattened form if it is in that.  Raises InputError."""
    try:
        file = DumpFile(path, where=where)
    except OSError as error:
        step = "run as root" if isinstance(error, PermissionError) else ""
        raise InputError("cannot open the dump", where=where, why=error.strerror or "", next_step=step) from None
    if not file.peek(0, 16).startswith(flattened.SIGNATURE):
        return file
    try:
        return flattened.FlattenedFile(file)
    except BaseException:
        file.close()
        raise


def _open(files: list[Source], paths: Sequence[str], options: OpenOptions) -> PhysicalMemory:
    file = files[0]
    head = file.peek(0, 64)
    if head.startswith(_kdump_header.SIGNATURE):
        from linscope.memory.kdump import KdumpMemory

        if len(files) == 1:
            files += _find_parts(paths[0], _kdump_header.read_kdump_header(file))
        return KdumpMemory(files)
    if len(files) > 1:
        raise FormatError("several files, and the first is no part of a split dump", where=file.where)
    if head.startswith(b"\x7fELF"):
        return _open_elf(file)
    if head.startswith(lime.SIGNATURE):
        return lime.LimeMemory(file)
    for magic, program in _PACKED.items():
        if head.startswith(magic):
            raise UnsupportedError("a packed file", where=file.where, next_step=f"{program} {file.where}")
    from linscope.memory.guest_ram import GuestRam

    return GuestRam(file, machine_type=options.machine_type, live=options.live)


def _open_elf(file: Source) -> PhysicalMemory:
    from linscope.memory.elf_core import ElfMemory, read_elf_core
    from linscope.memory.kcore import KcoreMemory, is_kcore

    core = read_elf_core(file)
    return KcoreMemory(file, core) if is_kcore(core) else ElfMemory(file, core)


def _find_parts(path: str, header: _kdump_header.KdumpHeader) -> Iterator[Source]:
    """The other parts of a split dump that lie beside one."""
    if not header.is_split:
        return
    from pathlib import Path

    seen = {header.span}
    for number, entry in enumerate(sorted(Path(path).parent.iterdir())):
        place = str(entry)
        if number >= _MAX_BESIDE or not entry.is_file() or entry.samefile(path):
            continue
        try:
            file = open_file(place, place)
        except LinscopeError:
            continue
        try:
            other = _kdump_header.read_kdump_header(file)
        except LinscopeError:
            file.close()
            continue
        if other.is_part_of(header) and other.span not in seen:
            seen.add(other.span)
            yield file
        else:
            file.close()
