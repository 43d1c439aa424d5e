"""The RAM of a QEMU guest as a file: memory-backend-file, memory-backend-memfd by /proc/PID/fd, or a copy.

The file has what is below 4 GB and behind it what is above; how much is below, QEMU's machine type decides.  The
guest's own E820 table tells it, and so do the ACPI tables, which the firmware puts at the end of the low memory.
Source: QEMU's hw/i386/pc_piix.c, pc_q35.c, microvm.c; Documentation/arch/x86/zero-page.rst (struct boot_params);
ACPI specification 6.5, 5.2.5.3 "Root System Description Pointer".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from linscope.errors import FormatError, UsageError
from linscope.memory._pieces import Piece, PieceMemory, Source

_4G = 1 << 32
_MIN_HOLE = 0x8000_0000  # no machine type has less RAM below 4 GB when there is some above
_HEADER, _ENTRIES, _TABLE = 0x202, 0x1E8, 0x2D0  # "HdrS", e820_entries, e820_table in struct boot_params
_ENTRY = struct.Struct("<QQI")  # address, size, type
_RAM, _MAX_TYPE = 1, 0x20
_CHUNK = 1 << 20
_FAR = 1 << 30  # how far a boot_params is looked for
_ALIGN = 64 << 20  # the firmware's tables are less than this below the end of the low memory


def hole_of_machine(machine_type: str, size: int) -> int:
    """Bytes of RAM below 4 GB of a QEMU machine with so many in all.  Raises UsageError for an unknown type."""
    kind = machine_type.removeprefix("pc-").partition("-")[0]
    if kind in ("pc", "i440fx"):
        return 0xC000_0000 if size >= 0xE000_0000 else size
    if kind == "q35":
        return 0x8000_0000 if size >= 0xB000_0000 else size
    if kind == "microvm":
        return 0xC000_0000 if size >= 0xC000_0000 else size
    raise UsageError(f"no QEMU machine type {machine_type!r}", next_step="pc, q35 or microvm")


class GuestRam(PieceMemory):
    """Physical memory of a guest, which may run."""

    format = "guest RAM"

    def __init__(self, file: Source, *, machine_type: str = "", live: bool = True) -> None:
        """machine_type: of QEMU, "" to find out; live: False for a copy, whose pages may be kept.

        Raises FormatError when the file cannot be a guest's RAM.
        """
        if file.size < _CHUNK or file.size & 4095:
            raise FormatError("not a memory dump that linscope knows", where=file.where, offset=0)
        low = hole_of_machine(machine_type, file.size) if machine_type else find_low_size(file)
        pieces = [Piece(0, low, 0)]
        if low < file.size:
            pieces.append(Piece(_4G, _4G + file.size - low, low))
        super().__init__(file, pieces)
        self.is_live = live


def find_low_size(file: Source) -> int:
    """Bytes of the file that lie below 4 GB; all when nothing says otherwise (then addresses are offsets)."""
    if file.size <= _MIN_HOLE:
        return file.size
    low = file.peek(0, _CHUNK)
    for at in _places(low, b"HdrS"):
        found = _low_of_e820(file.peek(at - _HEADER, 4096), file.size) if at >= _HEADER else None
        if found is not None:
            return found
    for at in _places(low[0xE0000:], b"RSD PTR "):
        found = _low_of_acpi(file, 0xE0000 + at)
        if found is not None:
            return found
    for base in range(_CHUNK, min(_FAR, file.size), _CHUNK):
        for at in _places(file.peek(base, _CHUNK + 3), b"HdrS"):
            found = _low_of_e820(file.peek(base + at - _HEADER, 4096), file.size)
            if found is not None:
                return found
    return file.size


def _places(data: bytes, pattern: bytes) -> Iterator[int]:
    at = data.find(pattern)
    while at >= 0:
        yield at
        at = data.find(pattern, at + 1)


def _low_of_e820(params: bytes, size: int) -> int | None:
    """The low memory by the table in a struct boot_params, None when it is none, or not of this file."""
    if len(params) < 4096 or not params[_ENTRIES]:
        return None
    high = behind = 0
    for number in range(min(params[_ENTRIES], 128)):
        first, length, kind = _ENTRY.unpack_from(params, _TABLE + number * _ENTRY.size)
        if not 0 < kind <= _MAX_TYPE or length == 0 or first + length > 1 << 52:
            return None
        if kind == _RAM:
            behind = max(behind, first + length)
            if first >= _4G:
                high = max(high, first + length)
    if high == 0:
        return None  # all below, in a file that is larger than that can be
    if high == size:
        return size  # a file with the hole in it
    low = size - (high - _4G)
    return low if 0 < low <= _4G and low <= size else None


def _low_of_acpi(file: Source, at: int) -> int | None:
    """The low memory by where the firmware has put the RSDT, None when there is none there."""
    pointer = file.peek(at, 20)
    if len(pointer) < 20 or sum(pointer) & 0xFF:
        return None
    (table,) = struct.unpack_from("<I", pointer, 16)
    if file.peek(table, 4) != b"RSDT":
        return None
    low = (table + _ALIGN) & -_ALIGN
    return low if _MIN_HOLE <= low < min(_4G, file.size) else None
