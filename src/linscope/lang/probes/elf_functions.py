"""The reader of ELF files that needs no numpy, by the name that it had here first: binfmt/elf_view.py."""

from __future__ import annotations

from linscope.binfmt.elf_view import ElfView as Elf

__all__ = ["Elf"]
