"""Addresses of symbols: of the kernel, and of a program's data."""

from __future__ import annotations

_CHUNK = 1 << 20  # bytes


def kernel_address(name: str) -> int:
    """The address of a kernel symbol; 0 when there is none, or when it is hidden from us."""
    wanted = f" {name}\n".encode()
    module = f" {name}\t".encode()
    rest = b""
    with open("/proc/kallsyms", "rb") as file:
        while data := file.read(_CHUNK):
            data = rest + data
            for word in (wanted, module):
                place = data.find(word)
                if place >= 0:
                    start = data.rfind(b"\n", 0, place) + 1
                    return int(data[start : data.find(b" ", start)], 16)
            rest = data[data.rfind(b"\n") + 1 :]
    return 0


def user_address(path: str, name: str, pid: int) -> tuple[int, int] | None:
    """(address, bytes) of a symbol of a program; of a position-independent one where the process pid has it.

    None: there is no such symbol.  Raises FormatError, OSError.
    """
    from linscope.binfmt.elf import SHT_DYNSYM, SHT_SYMTAB, ElfFile

    with ElfFile(path) as elf:
        for kind in (SHT_SYMTAB, SHT_DYNSYM):
            table = elf.section_of_kind(kind)
            if table is None:
                continue
            strings = elf.strings_of(table)
            for start, _info, _other, section, value, size in elf.symbols(table).tolist():
                end = strings.find(b"\0", start)
                if section and strings[start:end] == name.encode():
                    return value + _base(path, value, pid), size
    return None


def _base(path: str, value: int, pid: int) -> int:
    """What is added to the addresses in a file: 0 unless it is position-independent and the process has it mapped."""
    import os

    if not pid:
        return 0
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return 0
    real = os.path.realpath(path)
    for line in lines:
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5] == real and int(fields[2], 16) == 0:
            base = int(fields[0].partition("-")[0], 16)
            return base if value < base else 0
    return 0
