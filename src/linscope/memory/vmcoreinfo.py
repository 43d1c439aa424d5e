"""VMCOREINFO: what a kernel says of itself to those who read its dump.

Source: Documentation/admin-guide/kdump/vmcoreinfo.rst; kernel/vmcore_info.c (kernel/crash_core.c before v6.9).
"""

from __future__ import annotations

from collections.abc import Iterator

from linscope.memory.physical import FRAME_SIZE, PhysicalMemory

_BEGIN, _PROOF = b"OSRELEASE=", b"SYMBOL("


class VmcoreInfo:
    """The lines of a VMCOREINFO note: ``SYMBOL(x)=hex``, ``OFFSET(type.member)=n``, ``NUMBER(x)=n``, ``KEY=value``."""

    def __init__(self, text: bytes) -> None:
        """text: the note's description; lines that are no assignment are passed over."""
        self.lines: dict[str, str] = {}
        for line in text.rstrip(b"\0").decode("ascii", "replace").split("\n"):
            name, sign, value = line.partition("=")
            if sign:
                self.lines[name] = value

    def __repr__(self) -> str:
        return f"<VMCOREINFO of {self.release or 'an unknown kernel'}: {len(self.lines)} lines>"

    @property
    def release(self) -> str:
        """As uname -r says, "" when it is not told."""
        return self.lines.get("OSRELEASE", "")

    @property
    def build_id(self) -> str:
        """Of vmlinux in hex, "" when it is not told (before v5.9)."""
        return self.lines.get("BUILD-ID", "")

    @property
    def kernel_offset(self) -> int:
        """How far KASLR moved the kernel, in bytes; 0 without."""
        return _number(self.lines.get("KERNELOFFSET"), 16) or 0

    @property
    def crash_time_s(self) -> int | None:
        """When the kernel crashed, in seconds since 1970; None when it has not."""
        return _number(self.lines.get("CRASHTIME"), 10)

    def symbol(self, name: str) -> int | None:
        """Address of a symbol, KASLR included; None when it is not told."""
        return _number(self.lines.get(f"SYMBOL({name})"), 16)

    def number(self, name: str) -> int | None:
        """A NUMBER(), which may be negative; None when it is not told."""
        text = self.lines.get(f"NUMBER({name})", "")
        return _number(text, 16 if text.startswith("0x") else 10)

    def offset(self, name: str) -> int | None:
        """Offset of "type.member" in bytes; None when it is not told."""
        return _number(self.lines.get(f"OFFSET({name})"), 10)

    def size(self, name: str) -> int | None:
        """Size of a type in bytes; None when it is not told."""
        return _number(self.lines.get(f"SIZE({name})"), 10)

    def length(self, name: str) -> int | None:
        """Number of elements of an array; None when it is not told."""
        return _number(self.lines.get(f"LENGTH({name})"), 10)


def _number(text: str | None, base: int) -> int | None:
    try:
        return int(text, base) if text else None
    except ValueError:
        return None


def iter_vmcoreinfo(memory: PhysicalMemory) -> Iterator[bytes]:
    """The texts in physical memory that look like a VMCOREINFO, in order of address; a reader must prove one.

    Kernels keep theirs in a page of its own, and a page cache may have those of others.
    """
    for address in memory.find(_BEGIN):
        text = b""
        for chunk in memory.read_pages((address >> 12, (address >> 12) + 1)):
            if chunk is None:
                break
            text += chunk
        text = text[address & (FRAME_SIZE - 1) :][:FRAME_SIZE].partition(b"\0")[0]
        if _PROOF in text and text.isascii():
            yield text
