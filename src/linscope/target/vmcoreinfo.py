"""VMCOREINFO: what a kernel tells about itself to those who read its dump.

Source: Documentation/admin-guide/kdump/vmcoreinfo.rst; kernel/vmcore_info.c, include/linux/vmcore_info.h.
"""

from __future__ import annotations

from linscope.errors import FormatError


class Vmcoreinfo:
    """The lines ``KEY=value`` and ``KIND(name)=value`` of one kernel."""

    def __init__(self, data: bytes, *, where: str = "") -> None:
        """data: the note's text.  Raises FormatError for a text without OSRELEASE."""
        self.where = where
        self.values: dict[str, str] = {}
        for line in data.decode("utf-8", "replace").split("\n"):
            key, equals, value = line.rstrip("\0").partition("=")
            if equals:
                self.values.setdefault(key, value)
        if "OSRELEASE" not in self.values:
            raise FormatError("VMCOREINFO without OSRELEASE", where=where)

    def __repr__(self) -> str:
        return f"<Vmcoreinfo of {self.release}: {len(self.values)} lines>"

    @property
    def release(self) -> str:
        """The kernel's release, as uname -r."""
        return self.values["OSRELEASE"]

    @property
    def build_id(self) -> str:
        """Build-id of vmlinux in hexadecimal digits; "" before v6.0 (0935288c6e00)."""
        return self.values.get("BUILD-ID", "")

    @property
    def page_size(self) -> int:
        """Bytes of a page."""
        return int(self.values.get("PAGESIZE", "4096"))

    def _number(self, key: str, base: int) -> int | None:
        text = self.values.get(key)
        if text is None:
            return None
        try:
            return int(text, base)
        except ValueError:
            raise FormatError(f"VMCOREINFO has {key}={text}", where=self.where, why="it is no number") from None

    def find_symbol(self, name: str) -> int | None:
        """Address of an exported symbol; None when it is not among them.  Raises FormatError."""
        return self._number(f"SYMBOL({name})", 16)

    def symbol(self, name: str) -> int:
        """Address of an exported symbol.  Raises FormatError when it is not among them."""
        found = self.find_symbol(name)
        if found is None:
            raise FormatError(f"VMCOREINFO does not tell {name}", where=self.where)
        return found

    def number(self, name: str, default: int = 0) -> int:
        """A NUMBER(): phys_base, pgtable_l5_enabled, sme_mask ...  Raises FormatError."""
        found = self._number(f"NUMBER({name})", 0)
        return default if found is None else found

    @property
    def kaslr_offset(self) -> int:
        """How far the kernel was moved, in bytes."""
        return self._number("KERNELOFFSET", 16) or 0

    def find_offset(self, member: str) -> int | None:
        """Byte offset of a member ("printk_info.seq"); None when it is not told.  Raises FormatError."""
        return self._number(f"OFFSET({member})", 10)

    def find_size(self, type_name: str) -> int | None:
        """Bytes of a type; None when it is not told.  Raises FormatError."""
        return self._number(f"SIZE({type_name})", 10)
