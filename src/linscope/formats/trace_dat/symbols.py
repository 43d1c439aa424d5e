"""The kernel's symbols as a trace.dat carries them: the text of /proc/kallsyms."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property


class FileSymbols:
    """Names of kernel addresses; the text is parsed when the first is asked for."""

    def __init__(self, text: str) -> None:
        """text: ``ADDRESS TYPE NAME``, and ``[MODULE]`` behind it for modules, a line."""
        self._text = text

    @cached_property
    def _sorted(self) -> tuple[list[int], list[str]]:
        """Addresses, and the rest of each line behind the type."""
        rows = []
        for line in self._text.splitlines():
            words = line.split(None, 2)
            try:
                address = int(words[0], 16)
                rest = words[2]
            except (ValueError, IndexError):
                continue
            if address:  # zero: the recorder was not allowed to see them
                rows.append((address, rest))
        self._text = ""
        rows.sort(key=lambda row: row[0])
        return [address for address, _ in rows], [rest for _, rest in rows]

    def _find(self, address: int) -> int:
        return bisect_right(self._sorted[0], address) - 1

    def __call__(self, address: int) -> tuple[str, int] | None:
        """(symbol, bytes into it), None below the first symbol."""
        at = self._find(address)
        starts, names = self._sorted
        return None if at < 0 else (names[at].split(None, 1)[0], address - starts[at])

    def module(self, address: int) -> str:
        """ "[ext4]", or "[kernel.kallsyms]" for the kernel itself."""
        at = self._find(address)
        words = self._sorted[1][at].split() if at >= 0 else []
        return words[1] if len(words) > 1 else "[kernel.kallsyms]"
