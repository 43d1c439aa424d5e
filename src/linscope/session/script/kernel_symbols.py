"""Names of kernel addresses, from /proc/kallsyms, without parsing it: its lines are in the order of addresses.

What follows the kernel's own symbols (modules, BPF programs) is in no order and is read when an address lies there.
Source: kernel/kallsyms.c, s_show.
"""

from __future__ import annotations

from linscope.sys.tracefs import read_bytes

_DIGITS = 16  # of an address
_PAGE = 4096  # bytes behind its last symbol that are the kernel's
_LARGEST = 1 << 20  # bytes of a function of a module, for there are no sizes


class KernelSymbols:
    """Read at the first question, and again when asked to."""

    def __init__(self, path: str = "/proc/kallsyms") -> None:
        self.path = path
        self._text: bytes | None = None
        self._core = 0  # bytes of the part that is in order
        self._last = b""  # its highest address
        self._others: tuple[list[int], list[bytes]] | None = None
        self._known: dict[int, tuple[str, int, str] | None] = {}

    def find(self, address: int) -> tuple[str, int, str] | None:
        """(name, distance from its start in bytes, module or "") of an address; None when there is none."""
        try:
            return self._known[address]
        except KeyError:
            found = self._known[address] = self._find(address)
            return found

    def _load(self) -> bytes:
        if self._text is None:
            try:
                text = read_bytes(self.path)
            except OSError:
                text = b""
            if not any(byte not in b"0" for byte in text[-200:].rpartition(b"\n")[0].rpartition(b"\n")[2][:_DIGITS]):
                text = b""  # addresses are hidden
            self._text = text
            tab = text.find(b"\t[")
            self._core = len(text) if tab < 0 else text.rfind(b"\n", 0, tab) + 1
            begin = text.rfind(b"\n", 0, max(self._core - 1, 0)) + 1
            self._last = text[begin : begin + _DIGITS]
        return self._text

    def _find(self, address: int) -> tuple[str, int, str] | None:
        text = self._load()
        wanted = b"%016x" % address
        if not text or address < 0x1000:
            return None
        if wanted > self._last:
            if self._core < len(text) and (other := self._find_other(address)) is not None:
                return other
            if address - int(self._last, 16) >= _PAGE:
                return None
        low, high = 0, self._core  # the line at low is not above, the one at high is
        if text[:_DIGITS] > wanted:
            return None
        while True:
            middle = text.rfind(b"\n", low, (low + high) // 2) + 1
            if middle <= low:
                middle = text.find(b"\n", low, high) + 1
                if middle <= low or middle >= high:
                    break
            if text[middle : middle + _DIGITS] <= wanted:
                low = middle
            else:
                high = middle
        start = text[low : low + _DIGITS]
        while low > 0:  # of several at one address the first, as the kernel's own messages
            before = text.rfind(b"\n", 0, low - 1) + 1
            if text[before : before + _DIGITS] != start:
                break
            low = before
        name = text[low + _DIGITS + 3 : text.find(b"\n", low)]
        return name.decode("ascii", "replace"), address - int(start, 16), ""

    def _find_other(self, address: int) -> tuple[str, int, str] | None:
        from bisect import bisect_right

        if self._others is None:
            assert self._text is not None
            lines = sorted(line for line in self._text[self._core :].split(b"\n") if line)
            self._others = [int(line[:_DIGITS], 16) for line in lines], lines
        starts, lines = self._others
        place = bisect_right(starts, address) - 1
        if place < 0 or address - starts[place] >= _LARGEST:
            return None
        name, _, module = lines[place][_DIGITS + 3 :].decode("ascii", "replace").partition("\t")
        return name, address - starts[place], module.strip("[]")
