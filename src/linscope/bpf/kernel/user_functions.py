"""Where in a file a function is, for uprobes; which of a file's USDT probes have a name.

Source: libbpf 1.5, src/libbpf.c, resolve_full_path and src/elf.c, elf_find_func_offset: what names mean.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from linscope.binfmt.elf import SHT_DYNSYM, SHT_SYMTAB, STT_FUNC, STT_GNU_IFUNC, ElfFile
from linscope.binfmt.usdt import file_offset, iter_usdt_probes
from linscope.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.binfmt.usdt import UsdtProbe

_LIBRARIES = "/usr/lib64:/usr/lib:/lib64:/lib:/usr/local/lib"
_PROGRAMS = "/usr/bin:/usr/sbin:/bin:/sbin"


def find_file(name: str) -> str:
    """The path of a program or a library: as it is when it has a slash, else by $PATH or $LD_LIBRARY_PATH.

    Raises UnknownNameError.
    """
    if "/" in name:
        return name
    library = name.endswith(".so") or ".so." in name
    machine = f"{os.uname().machine}-linux-gnu"
    folders = os.environ.get("LD_LIBRARY_PATH" if library else "PATH", "").split(":")
    folders += (_LIBRARIES if library else _PROGRAMS).split(":")
    if library:
        folders += [f"/usr/lib/{machine}", f"/lib/{machine}"]
    for folder in folders:
        path = f"{folder}/{name}"
        if folder and os.path.isfile(path) and os.access(path, os.R_OK if library else os.X_OK):
            return path
    raise UnknownNameError("library" if library else "program", name)


def iter_functions(elf: ElfFile) -> Iterator[tuple[str, int]]:
    """(name, offset in the file) of the functions of a file, of .symtab and .dynsym; some come twice."""
    for kind in (SHT_SYMTAB, SHT_DYNSYM):
        table = elf.section_of_kind(kind)
        if table is None:
            continue
        strings = elf.strings_of(table)
        for name, info, _other, section, value, _size in elf.symbols(table).tolist():
            if info & 15 in (STT_FUNC, STT_GNU_IFUNC) and section and value:
                offset = file_offset(elf, value)
                if offset is not None:
                    text = strings[name : strings.find(b"\0", name)].decode("utf-8", "replace")
                    yield text, offset


def find_function(path: str, name: str) -> int:
    """The offset in the file of a function.  Raises UnknownNameError with near names, FormatError, OSError."""
    with ElfFile(path) as elf:
        names = []
        for text, offset in iter_functions(elf):
            plain = text.partition("@")[0]
            if name in (plain, text):
                return offset
            names.append(plain)
    raise UnknownNameError("function", name, set(names))


def match_functions(path: str, pattern: str) -> list[tuple[str, int]]:
    """(name, offset) of the functions whose names match "vfs_*", each place once.  Raises FormatError, OSError."""
    from fnmatch import fnmatchcase

    with ElfFile(path) as elf:
        found = {offset: name for name, offset in iter_functions(elf) if fnmatchcase(name, pattern)}
    return sorted((name, offset) for offset, name in found.items())


def find_usdt(path: str, provider: str, name: str) -> list[UsdtProbe]:
    """The places of a USDT probe.  Raises UnknownNameError, FormatError, OSError."""
    with ElfFile(path) as elf:
        probes = list(iter_usdt_probes(elf))
    found = [each for each in probes if each.name == name and provider in ("", each.provider)]
    if not found:
        raise UnknownNameError("USDT probe", f"{provider}:{name}", {f"{each.provider}:{each.name}" for each in probes})
    return found
