"""The helpers of a print fmt: flags, symbols, dumps of bytes, addresses of networks.

Where the kernel's text and that of libtraceevent differ, it is libtraceevent's, so that a recording reads as perf and
trace-cmd show it.  Source: kernel/trace/trace_output.c, trace_print_*_seq; lib/vsprintf.c (%p extensions);
libtraceevent src/event-parse.c, print_str_arg, print_bitmask_to_seq, print_ip*_addr.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Callable, Sequence

_REMEMBERED = 10_000  # values of one table whose text is kept
_AF_INET, _AF_INET6 = 2, 10
_ALL = (1 << 64) - 1
Symbol = Callable[[int], "tuple[str, int] | None"]  # address -> (name, offset in it)


class FlagTexts(dict[int, str]):
    """Texts of __print_flags by value, made when first asked for."""

    def __init__(self, delimiter: str, entries: Sequence[tuple[int, str]]) -> None:
        """entries: (bits, name), tried in this order."""
        super().__init__()
        self._delimiter = delimiter
        self._entries = entries

    def __missing__(self, value: int) -> str:
        found, rest = [], value
        for bits, name in self._entries:
            if bits == value == 0:  # as libtraceevent; the kernel prints nothing
                return name
            if bits and rest & bits == bits:
                found.append(name)
                rest &= ~bits
        if rest:
            found.append(f"{rest:#x}")
        return _remember(self, value, self._delimiter.join(found))


class SymbolTexts(dict[int, str]):
    """Texts of __print_symbolic by value: the first entry of that value, else the value in hex."""

    def __init__(self, entries: Sequence[tuple[int, str]]) -> None:
        """entries: (value, name)."""
        super().__init__(reversed(entries))

    def __missing__(self, value: int) -> str:
        return f"{value & _ALL:#x}"


class AddressTexts(dict[int, str]):
    """Texts of %ps and %pS by address: the symbol, without one the address in hex."""

    def __init__(self, symbol: Symbol, *, offsets: bool) -> None:
        """offsets: also "+0x1f", as %pS has it."""
        super().__init__()
        self._symbol = symbol
        self._offsets = offsets

    def __missing__(self, address: int) -> str:
        found = self._symbol(address)
        if found is None:
            text = f"{address:#x}"
        else:
            text = f"{found[0]}+{found[1]:#x}" if self._offsets else found[0]
        return _remember(self, address, text)


class StringTexts(dict[int, str]):
    """Texts of %s of a pointer: the kernel's constant string there, as far as the recording keeps it, else hex."""

    def __missing__(self, address: int) -> str:
        return f"{address:x}"


class PlainTexts(dict[bytes, str]):
    """char arrays up to their NUL, decoded; names of tasks come again and again."""

    def __missing__(self, raw: bytes) -> str:
        text = raw.split(b"\0", 1)[0].decode(errors="replace")
        if len(self) < _REMEMBERED:
            self[raw] = text
        return text


def _remember(table: dict[int, str], value: int, text: str) -> str:
    if len(table) < _REMEMBERED:
        table[value] = text
    return text


def text_of(data: bytes) -> str:
    """The text in bytes, up to their NUL."""
    return data.split(b"\0", 1)[0].decode(errors="replace")


def character(value: int) -> str:
    """%c; a NUL adds nothing."""
    return chr(value & 0xFF) if value & 0xFF else ""


def cut_text(text: str, most: int) -> str:
    """%.*s; a negative precision is none."""
    return text[:most] if most >= 0 else text


def padded(text: str, width: int) -> str:
    """%*s; a negative width pads on the right."""
    width = max(-1024, min(width, 1024))
    return text.rjust(width) if width >= 0 else text.ljust(-width)


def pointer_text(value: int) -> str:
    """%p as the C library prints it."""
    return f"{value:#x}" if value else "(nil)"


def list_bytes(values: Sequence[int], size: int, order: str) -> bytes:
    """An array's elements of size bytes as memory had them; order: "little" or "big"."""
    mask = (1 << (8 * size)) - 1
    return b"".join((value & mask).to_bytes(size, "little" if order == "little" else "big") for value in values)


def element(data: bytes, at: int, size: int, signed: int, order: str) -> int:
    """data[at] of elements of size bytes; 0 outside of it."""
    start = at * size
    if at < 0 or start + size > len(data):
        return 0
    return int.from_bytes(data[start : start + size], "little" if order == "little" else "big", signed=bool(signed))


def item(values: Sequence[int], at: int) -> int:
    """values[at]; 0 outside of it."""
    return values[at] if 0 <= at < len(values) else 0


def letter(text: str, at: int) -> int:
    """The code of text[at]; 0 outside of it, as behind a C string."""
    return ord(text[at]) & 0xFF if 0 <= at < len(text) else 0


def quotient(left: int, right: int) -> int:
    """left / right as C divides: towards zero; 0 for a division by zero."""
    if right == 0:
        return 0
    whole = abs(left) // abs(right)
    return whole if (left < 0) == (right < 0) else -whole


def remainder(left: int, right: int) -> int:
    """left % right as C has it, with the sign of left; 0 for a division by zero."""
    return left - quotient(left, right) * right if right else 0


def hex_text(data: bytes, size: int, separator: str) -> str:
    """__print_hex, __print_hex_str, %*ph: the first size bytes."""
    return data[: max(size, 0)].hex(separator) if separator else data[: max(size, 0)].hex()


def array_text(data: bytes, count: int, size: int, order: str) -> str:
    """__print_array: count elements of size bytes, in decimal as libtraceevent prints them."""
    if size not in (1, 2, 4, 8):
        return f"BAD SIZE:{size}"
    count = max(0, min(count, len(data) // size))
    return " ".join(str(element(data, at, size, 0, order)) for at in range(count))


def bit_number(data: bytes, long_size: int, order: str) -> int:
    """A bitmap of longs as one number."""
    words = [element(data, at, long_size, 0, order) for at in range(len(data) // long_size)]
    return sum(word << (8 * long_size * at) for at, word in enumerate(words))


def bitmask_text(data: bytes, long_size: int, order: str) -> str:
    """__get_bitmask, __get_cpumask: hex, a comma before each 32 bits; data are longs."""
    words = max(1, len(data) // long_size)
    digits = f"{bit_number(data, long_size, order):0{2 * long_size * words}x}"
    return ",".join(digits[at : at + 8] for at in range(0, len(digits), 8))


def bit_list_text(data: bytes, long_size: int, order: str) -> str:
    """%*pbl: the numbers of the bits that are set, as ranges."""
    words = [element(data, at, long_size, 0, order) for at in range(len(data) // long_size)]
    bits = [
        at * 8 * long_size + bit for at, word in enumerate(words) for bit in range(8 * long_size) if word >> bit & 1
    ]
    ranges: list[list[int]] = []
    for bit in bits:
        if ranges and ranges[-1][1] == bit - 1:
            ranges[-1][1] = bit
        else:
            ranges.append([bit, bit])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def mac_text(data: bytes, separator: str) -> str:
    """%pM, %pMF, %pm: six bytes."""
    return data[:6].hex(separator) if separator else data[:6].hex()


def ip4_text(data: bytes, leading_zeros: int) -> str:
    """%pI4; leading_zeros: %pi4."""
    return ".".join(f"{byte:03d}" if leading_zeros else str(byte) for byte in data[:4])


def ip6_text(data: bytes, form: str) -> str:
    """%pI6 (form "I6"), %pi6 ("i6"), %pI6c ("I6c")."""
    if len(data) < 16:
        return "INVALIDIPv6"
    if form.startswith("i"):
        return data[:16].hex()
    if "c" not in form:
        return data[:16].hex(":", 2)
    address = ipaddress.IPv6Address(data[:16])
    mapped = address.ipv4_mapped
    return f"::ffff:{mapped}" if mapped is not None else str(address)


def socket_text(data: bytes, form: str, order: str) -> str:
    """%pIS, %pISpc...: a struct sockaddr_in or sockaddr_in6 with, where form has a p, the port."""
    family = int.from_bytes(data[:2], "little" if order == "little" else "big")
    port = f":{int.from_bytes(data[2:4], 'big')}" if "p" in form else ""
    if family == _AF_INET and len(data) >= 8:
        return ip4_text(data[4:8], int(form.startswith("i"))) + port
    if family == _AF_INET6 and len(data) >= 24:
        text = ip6_text(data[8:24], form.replace("S", "6", 1))
        return f"[{text}]{port}" if port else text
    return "INVALIDSOCKADDR" if len(data) < 2 else f"<unsupported address family {family}>"


def uuid_text(data: bytes, form: str) -> str:
    """%pU, %pUb, %pUB, %pUl, %pUL: l is the order of a GUID, capitals write capital digits."""
    raw = data[:16].ljust(16, b"\0")
    if form[-1:] in "lL" and form:
        raw = raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]
    text = raw.hex()
    text = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    return text.upper() if form[-1:] in "BL" and form else text


def error_text(value: int) -> str:
    """%pe: the name of an error pointer, else the address."""
    code = (1 << 64) - value
    return f"-{errno.errorcode[code]}" if code in errno.errorcode else pointer_text(value)
