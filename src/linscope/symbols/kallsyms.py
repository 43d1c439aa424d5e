"""/proc/kallsyms and its copies: the kernel's own symbols, and those of its modules.

A line is ``ADDRESS TYPE NAME`` with ``\\t[MODULE]`` behind it for modules and BPF programs
(kernel/kallsyms.c, s_show). Addresses are zero for who may not see them (kptr_restrict, CAP_SYSLOG).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from linscope.errors import FormatError
from linscope.symbols.choose import U64, flatten
from linscope.symbols.table import SymbolTable

_PAGE = 4096
_TYPES = b"TtWwDdBb"  # what perf takes: functions, and data because it ends functions
_WORD = {64: 16, 32: 8}


class Kallsyms(NamedTuple):
    """The kernel's table, by distance from _text, and those of the modules, by absolute address."""

    kernel: SymbolTable
    text: int  # address of _text in this boot
    stext: int  # address of _stext
    modules: dict[str, SymbolTable]  # by "name", without brackets


def parse_kallsyms(data: bytes, *, where: str = "/proc/kallsyms") -> Kallsyms | None:
    """The tables of a kallsyms text; None when all addresses are hidden (zero).

    Of several symbols at one address the last counts, as in perf: none has a size, so each but the last is
    empty. Raises FormatError when it is not a kallsyms text.
    """
    if not data.endswith(b"\n"):
        data += b"\n"
    lines = _Lines(data, where)
    if not lines.addresses.any():
        return None
    anchors = {name: lines.address_of(name) for name in (b"_text", b"_stext")}
    text = anchors[b"_text"] or anchors[b"_stext"]
    wanted = np.isin(lines.types, np.frombuffer(_TYPES, np.uint8)) & (lines.addresses != 0)
    wanted &= lines.first_bytes != ord("$")
    if text:
        core = wanted & ~lines.in_module & (lines.addresses >= text)
    else:
        core = wanted & ~lines.in_module
    blob = data.translate(_ENDS)
    module_rows = np.flatnonzero(wanted & lines.in_module)
    module_of = lines.module_names(module_rows)
    kernel = _table(lines.addresses[core], lines.names[core], blob, text)
    modules = {}
    for name in dict.fromkeys(module_of.tolist()):
        rows = module_rows[module_of == name]
        modules[name] = _table(lines.addresses[rows], lines.names[rows], blob, 0)
    return Kallsyms(kernel, text, anchors[b"_stext"] or text, modules)


_ENDS = bytes(0 if byte in b"\t\n" else byte for byte in range(256))


def _table(addresses: U64, names: U64, blob: bytes, base: int) -> SymbolTable:
    """Sorted by address; each symbol ends at the next, the last at the end of the page behind its own."""
    order = np.argsort(addresses, kind="stable")
    starts, names = addresses[order], names[order]
    if not len(starts):
        return SymbolTable(starts, starts, names, blob, demangled=False)
    last = (int(starts[-1]) + 2 * _PAGE - 1) // _PAGE * _PAGE
    ends = np.append(starts[1:], np.uint64(min(last, 2**64 - 1)))
    ranges = flatten(starts - np.uint64(base), ends - np.uint64(base))
    return SymbolTable(ranges.starts, ranges.ends, names[ranges.owners], blob, demangled=False)


class _Lines:
    """The columns of the text as arrays."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data = data
        text = np.frombuffer(data, np.uint8)
        self.line_ends = np.flatnonzero(text == ord("\n"))
        starts = np.concatenate([np.zeros(1, np.int64), self.line_ends[:-1] + 1])
        width = data.find(b" ")
        if width not in _WORD.values() or np.any(self.line_ends - starts < width + 4):
            raise FormatError("not a kallsyms text", where=where, offset=0)
        digits = text[starts[:, None] + np.arange(width)]
        if np.any(text[starts + width] != ord(" ")) or np.any(text[starts + width + 2] != ord(" ")):
            raise FormatError("kallsyms line without its columns", where=where)
        self.addresses = _hex(digits, where)
        self.types = text[starts + width + 1]
        self.names = (starts + width + 3).astype(np.uint64)
        self.first_bytes = text[starts + width + 3]
        tabs = np.flatnonzero(text == ord("\t"))
        self.tabs = tabs
        self.in_module = np.zeros(len(starts), bool)
        self.tab_lines = np.searchsorted(self.line_ends, tabs)
        self.in_module[self.tab_lines] = True

    def address_of(self, name: bytes) -> int:
        """Address of the kernel's symbol of that name, 0 when there is none."""
        at = self.data.find(b" " + name + b"\n")
        if at < 0:
            return 0
        return int(self.addresses[int(np.searchsorted(self.line_ends, at))])

    def module_names(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Module of each of these rows, without brackets."""
        tab_of = dict(zip(self.tab_lines.tolist(), self.tabs.tolist(), strict=True))
        names = [
            self.data[tab_of[row] + 1 : end].strip(b"[] ").decode("utf-8", "replace")
            for row, end in zip(rows.tolist(), self.line_ends[rows].tolist(), strict=True)
        ]
        return np.array(names, object)


def _hex(digits: npt.NDArray[np.uint8], where: str) -> U64:
    """Numbers of rows of hexadecimal digits."""
    values = _HEX[digits]
    if (values == 255).any():
        raise FormatError("kallsyms line without an address", where=where)
    pairs = (values[:, 0::2] << 4 | values[:, 1::2]).astype(np.uint8)
    wide = np.zeros((len(pairs), 8), np.uint8)
    wide[:, 8 - pairs.shape[1] :] = pairs
    return wide.view(">u8")[:, 0].astype(np.uint64)


_HEX = np.full(256, 255, np.uint8)
_HEX[np.frombuffer(b"0123456789", np.uint8)] = np.arange(10)
_HEX[np.frombuffer(b"abcdef", np.uint8)] = np.arange(10, 16)
_HEX[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)
