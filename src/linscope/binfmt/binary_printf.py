"""trace_printk's records: the address of a format and its values as memory, which become text by that format.

Source: lib/vsprintf.c, vbin_printf (values are aligned to their size, those of eight bytes to four; strings stand
there with their NUL); kernel/trace/trace_printk.c; libtraceevent src/event-parse.c, make_bprint_args.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from linscope.binfmt.event_format import EventFormat, Field
from linscope.binfmt.print_code import PrintContext, RowPrinter, compile_template
from linscope.binfmt.printf import SPECIFICATION
from linscope.errors import FormatError

_COLUMNS = {"bprint": ("ip", "fmt", "buf"), "bputs": ("ip", "str")}
_STRING = -1  # in place of a size


def binary_printer(form: EventFormat, context: PrintContext) -> RowPrinter | None:
    """The printer of ftrace's events bprint and bputs; None for any other event."""
    columns = _COLUMNS.get(form.name)
    if form.system != "ftrace" or columns is None or not set(columns) <= {f.name for f in form.fields}:
        return None
    printer = _Printer(form, context)
    return RowPrinter(columns, printer.bprint if form.name == "bprint" else printer.bputs, form)


class _Printer:
    """Formats that came by, compiled."""

    def __init__(self, form: EventFormat, context: PrintContext) -> None:
        self._form = form
        self._context = context
        self._known: dict[int, tuple[list[int], Callable[..., str]]] = {}

    def bprint(self, ip: int, address: int, data: bytes) -> str:
        """One record of trace_printk."""
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = self._compile(address)
        sizes, text = known
        return text(ip, *_values(data, sizes, self._context))

    def bputs(self, ip: int, address: int) -> str:
        """One record of trace_puts: a constant string."""
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = [], self._text("%ps: %s", [("str", 8)])
        return known[1](ip, address)

    def _compile(self, address: int) -> tuple[list[int], Callable[..., str]]:
        text = self._context.strings.get(address)
        if text is None:
            return [], self._text(f"%ps: (NO FORMAT FOUND at {address:x})", [])
        places = _places(text, self._context.long_size)
        try:
            return places, self._text("%ps: " + text, [(f"value{at}", size) for at, size in enumerate(places)])
        except FormatError:
            return [], self._text("%ps: " + text.replace("%", "%%"), [])

    def _text(self, text: str, values: Sequence[tuple[str, int]]) -> Callable[..., str]:
        fields = [Field("ip", "unsigned long", 0, self._context.long_size, False, 0, "")]
        for name, size in values:
            type_ = "char" if size == _STRING else "u64"
            fields.append(Field(name, type_, 0, abs(size), False, int(size == _STRING), ""))
        form = EventFormat("ftrace", self._form.name, self._form.id, (), tuple(fields), "")
        return compile_template(form, text, [field.name for field in fields], self._context)


def _places(text: str, long_size: int) -> list[int]:
    """Bytes of each value of a format, in order."""
    sizes = []
    for found in SPECIFICATION.finditer(text):
        if found["letter"] == "%":
            continue
        sizes += [4 for star in (found["width"], found["precision"]) if star == "*"]
        size = found["size"] or ""
        if found["pointer"]:
            extension = found["pointer"][1:2]
            # What %p's extensions print of memory was made text when the record was written.
            sizes.append(_STRING if extension and extension not in "sSfFBKxe" else long_size)
        elif found["letter"] == "s":
            sizes.append(_STRING)
        elif found["letter"] == "c":
            sizes.append(1)
        elif re.fullmatch("ll|q|L|j", size):
            sizes.append(8)
        else:
            sizes.append({"hh": 1, "h": 2, "": 4}.get(size, long_size))
    return sizes


def _values(data: bytes, sizes: Sequence[int], context: PrintContext) -> list[int | str]:
    """The values in a record; those behind its end are 0 and empty."""
    values: list[int | str] = []
    at = 0
    for size in sizes:
        if size == _STRING:
            end = data.find(b"\0", at)
            end = len(data) if end < 0 else end
            values.append(data[at:end].decode(errors="replace"))
            at = end + 1
            continue
        at = at + min(size, 4) - 1 & -min(size, 4)
        piece = data[at : at + size]
        values.append(int.from_bytes(piece, "big" if context.big_endian else "little"))
        at += size
    return values
