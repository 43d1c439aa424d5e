"""Source lines and inlined functions of a kernel, from a vmlinux with debugging information."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from linscope.binfmt.elf import ElfFile
from linscope.errors import InputError, UnsupportedError
from linscope.symbols.cache import SymbolCache
from linscope.symbols.lines import LineReader

if TYPE_CHECKING:
    from linscope.target.kernel import Kernel
    from linscope.target.unwind import Frame


class SourceLine(NamedTuple):
    """A place in the source."""

    function: str
    file: str
    line: int
    is_inlined: bool  # into the function of the line below it


class KernelLines:
    """Lines of one kernel; only of the kernel itself, not of its modules."""

    def __init__(self, kernel: Kernel, path: str) -> None:
        """path: of the vmlinux that the kernel was made from.

        Raises InputError for one that cannot be read or is another kernel's, UnsupportedError without lines.
        """
        try:
            with ElfFile(path) as elf:
                found = elf.build_id
        except OSError as error:
            raise InputError("cannot read the vmlinux", where=path, why=error.strerror or "") from None
        wanted = kernel.info.build_id
        if wanted and found and wanted != found:
            raise InputError(
                "this vmlinux is of another kernel", where=path, why=f"its build-id is {found}, not {wanted}"
            )
        reader = LineReader.open(path, (), SymbolCache())
        if reader is None:
            raise UnsupportedError("there are no source lines", where=path, next_step="the package linux-image-...-dbg")
        self._reader = reader
        self._shift = kernel.info.kernel_offset

    def at(self, frame: Frame) -> list[SourceLine]:
        """Where a frame is, the innermost inlined function first; nothing where that is not known."""
        return self.at_address(frame.pc if frame.interrupted else frame.pc - 1)

    def at_address(self, address: int) -> list[SourceLine]:
        """The same of an address of code."""
        found = self._reader.at_address(address - self._shift)
        last = len(found) - 1
        return [
            SourceLine(one.function, one.file, one.line, place < last) for place, one in enumerate(found) if one.line
        ]
