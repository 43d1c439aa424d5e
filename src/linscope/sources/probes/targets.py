"""Where a probe goes: functions of the kernel, symbols and USDT probes of programs, and why one is not there."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf import Btf
from linscope.errors import NotInKernel, UnknownNameError, UsageError
from linscope.sys.tracefs import read_bytes

if TYPE_CHECKING:
    from linscope.binfmt.usdt import UsdtProbe  # ELF files bring numpy along; probes of the kernel need none

KALLSYMS = "/proc/kallsyms"
_COPY = re.compile(r"(.+?)\.(isra|constprop|part|cold)\b")
_REASONS = {
    "isra": "its parameters may not be those of the source",
    "constprop": "some of its parameters became constants",
    "part": "it is only a part of the function",
    "cold": "it is only what rarely happens",
}
_MAX_COMPARED = 3000  # names that are compared letter by letter


class Resolver(Protocol):
    """What a definition needs to know of the machine; tests have their own."""

    def module_btf(self, module: str) -> Btf | None:
        """Types of a module; None when there are none."""

    def kernel_functions(self) -> Collection[str]:
        """Names in the kernel's symbol table, those of modules too; empty when it cannot be read."""

    def module_of(self, function: str) -> str:
        """The loaded module that has a function of this name; "" when none or the kernel itself has."""

    def traceable_functions(self) -> Collection[str]:
        """Names in available_filter_functions; empty when it cannot be read."""

    def symbol_offset(self, path: str, symbol: str) -> int:
        """Offset in an ELF file at which a function begins.  Raises UnknownNameError, FormatError, OSError."""

    def usdt_probes(self, path: str) -> list[UsdtProbe]:
        """The USDT probes of an ELF file.  Raises FormatError, OSError."""


class HostResolver:
    """Answers of the machine that we run on.  See Resolver."""

    def __init__(self, btf: Btf | None = None, *, kallsyms: str = KALLSYMS, traceable: str = "") -> None:
        """btf: the kernel's, for modules; traceable: available_filter_functions of tracefs, "" for none."""
        self.btf = btf
        self.kallsyms = kallsyms
        self.traceable = traceable

    def module_btf(self, module: str) -> Btf | None:
        """Types of a module; None when there are none."""
        try:
            return Btf.open(f"/sys/kernel/btf/{module}", self.btf) if self.btf is not None else None
        except FileNotFoundError:
            return None

    def kernel_functions(self) -> Collection[str]:
        """Names in the kernel's symbol table, those of modules too; empty when it cannot be read."""
        return {line.split(None, 3)[2] for line in _lines(self.kallsyms) if line.count(" ") >= 2}

    def module_of(self, function: str) -> str:
        """The loaded module that has a function of this name; "" when none or the kernel itself has."""
        found = [words for line in _lines(self.kallsyms) if function in line and (words := line.split())[2] == function]
        return found[0][3].strip("[]") if len(found) == 1 and len(found[0]) > 3 else ""

    def traceable_functions(self) -> Collection[str]:
        """Names in available_filter_functions; empty when it cannot be read."""
        return {line.partition(" ")[0] for line in _lines(self.traceable)} if self.traceable else ()

    def symbol_offset(self, path: str, symbol: str) -> int:
        """Offset in an ELF file at which a function begins.  Raises UnknownNameError, FormatError, OSError."""
        return find_symbol(path, symbol)

    def usdt_probes(self, path: str) -> list[UsdtProbe]:
        """The USDT probes of an ELF file.  Raises FormatError, OSError."""
        from linscope.binfmt.elf import ElfFile
        from linscope.binfmt.usdt import iter_usdt_probes

        with ElfFile(path) as elf:
            return list(iter_usdt_probes(elf))


def _lines(path: str) -> list[str]:
    try:
        return read_bytes(path).decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def find_symbol(path: str, symbol: str) -> int:
    """Offset in an ELF file at which a function begins, by .symtab or .dynsym of the file itself.

    Raises UnknownNameError with near names, UsageError for a symbol that is no code of the file, FormatError, OSError.
    """
    from linscope.binfmt.elf import (
        SHN_UNDEF,
        SHT_DYNSYM,
        SHT_SYMTAB,
        STT_FUNC,
        STT_GNU_IFUNC,
        STT_NOTYPE,
        ElfFile,
    )
    from linscope.binfmt.usdt import file_offset

    names: set[str] = set()
    with ElfFile(path) as elf:
        for kind in (SHT_SYMTAB, SHT_DYNSYM):
            section = elf.section_of_kind(kind)
            if section is None:
                continue
            strings = elf.strings_of(section)
            table = elf.symbols(section)
            table = table[(table["section"] != SHN_UNDEF) & (table["value"] != 0)]
            for row in table[[(r & 15) in (STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE) for r in table["info"].tolist()]]:
                start = int(row["name"])
                name = strings[start : strings.find(b"\0", start)].decode("utf-8", "replace")
                if name != symbol:
                    names.add(name)
                    continue
                if row["info"] & 15 == STT_GNU_IFUNC:
                    why = "it is chosen when the program starts (IFUNC)"
                    raise UsageError(f"{symbol} is no function", where=path, why=why, next_step="one of its variants")
                offset = file_offset(elf, int(row["value"]))
                if offset is None:
                    raise UsageError(f"{symbol} is not in the file", where=path, why="no segment holds its address")
                return offset
    error = UnknownNameError("function", symbol, near_names(symbol, names))
    error.where = path
    if not names:
        error.why = "the file has no symbols: it was stripped"
        error.next_step = "an offset in the file: PATH:0x1234"
    raise error


def near_names(name: str, names: Collection[str]) -> list[str]:
    """Names that may have been meant: a few thousand at most, for a closer look."""
    lowered = name.lower()
    pairs = [(one, one.lower()) for one in names]
    found = [one for one, low in pairs if lowered in low or (len(low) > 3 and low in lowered)]
    if len(found) < 3:
        found += [
            one for one in names if one[:2] == name[:2] and abs(len(one) - len(name)) <= 2 and one[-1:] == name[-1:]
        ]
        found += [one for one in names if sorted(one) == sorted(name)]
    return list(dict.fromkeys(found))[:_MAX_COMPARED]


def explain_missing_function(name: str, btf: Btf | None, resolver: Resolver) -> tuple[str, str]:
    """(why, next step) for a function of the kernel that cannot be probed by its name; ("", "") when it can.

    Asked when BTF has no function of that name, or the kernel refused it.
    """
    known = resolver.kernel_functions()
    if not known or name in known:
        return "", ""
    copies = sorted(one for one in known if one.startswith(f"{name}.") and _COPY.match(one))
    if copies:
        suffix = _COPY.match(copies[0])
        assert suffix is not None  # it was chosen by matching
        return f"the compiler made {copies[0]} of it, and {_REASONS[suffix[2]]}", f"p {copies[0]}"
    if btf is not None and btf.find(name, (bt.KIND_FUNC,)):
        return "it was inlined into its callers, or its module is not loaded", "a function that calls it"
    near = UnknownNameError("function", name, near_names(name, known))
    return near.why or "no symbol of that name", ""


def require_btf(btf: Btf | None) -> Btf:
    """The kernel's types.  Raises NotInKernel without them."""
    if btf is None:
        raise NotInKernel(
            "names of parameters and fields are not known",
            why="CONFIG_DEBUG_INFO_BTF is off",
            next_step="raw fetch arguments, as name=%di:u64",
        )
    return btf
