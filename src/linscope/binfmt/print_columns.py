"""A print fmt applied to columns: the text of many records at once, in few steps of Python.

Each place of the printf format becomes a piece of the native line writer: a number that is a field as it stands, a
char array, or - for all that needs C's expressions and helpers - a choice among texts, for which Python evaluates
the expression once for each distinct value of the fields in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linscope._native import _core
from linscope.binfmt.event_format import EventFormat, Field, is_text
from linscope.binfmt.print_code import PrintContext, RowPrinter, cells_of, compile_piece
from linscope.binfmt.print_format import Cast, CType, FieldOf, Index, Name, Node, Number, parse_print_format
from linscope.binfmt.printf import SPECIFICATION
from linscope.errors import FormatError

LITERAL, NUMBER, TEXT, CHOICE = range(4)
SIGNED, HEX, UPPER, ZEROS, LEFT, PREFIX, NIL = (1 << bit for bit in range(7))
_LONGS = {"hh": 1, "h": 2, "ll": 8, "q": 8, "L": 8, "j": 8}
_SMALL = 1 << 16  # numbers below are told apart by a table
_MOST_KNOWN = 1 << 16  # texts of one place that are kept
Piece = tuple[Any, ...]  # as linscope._native writes lines


class Texts(NamedTuple):
    """Texts of rows, joined."""

    text: bytes
    ends: NDArray[np.uint64]  # where each row's text ends


class NotPlain(Exception):
    """Rows that only the record's own printer can write."""


class ColumnPrinter:
    """Writes rows of an event's table."""

    def __init__(self, printer: RowPrinter, context: PrintContext, *, by_format: bool = True) -> None:
        """printer: of single records; it writes all that has no faster way.  by_format: it follows the print fmt."""
        self._printer = printer
        self._places = _places(printer.form, context) if by_format and printer.problem is None else None

    def write(self, columns: Mapping[str, Any], rows: NDArray[np.int64]) -> Texts:
        """The texts of these rows of a typed table, without the newline that a text may end in."""
        if self._places is not None:
            try:
                return write_lines([place.piece(columns, rows) for place in self._places], len(rows))
            except NotPlain:
                pass
        return joined([text.removesuffix("\n") for text in self._printer.rows(columns, rows)])


def write_lines(pieces: list[Piece], rows: int) -> Texts:
    """One text a row: the pieces one after the other.  Raises ValueError for a column of another length."""
    return Texts(*_core.write_lines(pieces, rows))


def joined(texts: Sequence[str]) -> Texts:
    """Texts one after the other."""
    encoded = [text.encode(errors="replace") for text in texts]
    return Texts(b"".join(encoded), np.cumsum(np.fromiter(map(len, encoded), np.uint64, len(encoded)), dtype=np.uint64))


def choice(which: NDArray[np.uint32], texts: Sequence[str]) -> Piece:
    """The piece that writes texts[which]."""
    return (CHOICE, which, *joined(texts))


def number(values: NDArray[Any], flags: int = 0, width: int = 0) -> Piece:
    """The piece that writes a column of whole numbers."""
    return NUMBER, values.astype(np.int64 if flags & SIGNED else np.uint64, copy=False).view(np.uint64), flags, width


class _Literal(NamedTuple):
    """The same in each row."""

    text: bytes

    def piece(self, columns: Mapping[str, Any], rows: NDArray[np.int64]) -> Piece:
        """Of the line writer."""
        return LITERAL, self.text


class _Number(NamedTuple):
    """An integer field, perhaps one of an array."""

    name: str
    at: int  # -1: no array
    casts: tuple[np.dtype[Any], ...]
    flags: int
    width: int

    def piece(self, columns: Mapping[str, Any], rows: NDArray[np.int64]) -> Piece:
        """Of the line writer."""
        values = columns[self.name][rows] if self.at < 0 else columns[self.name][rows, self.at]
        for cast in self.casts:
            values = values.astype(cast, copy=False)
        return number(np.ascontiguousarray(values), self.flags, self.width)


class _Text(NamedTuple):
    """A char array."""

    name: str
    flags: int
    width: int
    last: bool  # of the line: then it may end in a newline too many

    def piece(self, columns: Mapping[str, Any], rows: NDArray[np.int64]) -> Piece:
        """Of the line writer.  Raises NotPlain for text beyond ASCII, whose damage must be seen."""
        column = columns[self.name]
        if isinstance(column, list):
            raise NotPlain
        raw = np.ascontiguousarray(column[rows]).view(np.uint8)
        if raw.size and (raw.max() >= 128 or (self.last and (raw == ord("\n")).any())):
            raise NotPlain
        return TEXT, raw, column.dtype.itemsize, self.flags, self.width


class _Choice:
    """Anything else that depends on few numbers: evaluated once for each distinct set of them."""

    def __init__(self, printer: RowPrinter, last: bool) -> None:
        """last: the piece ends the line, a newline in it is one too many."""
        self._printer = printer
        self._end = "\n" if last else ""
        self._known: dict[Any, str] = {}

    def piece(self, columns: Mapping[str, Any], rows: NDArray[np.int64]) -> Piece:
        """Of the line writer.  Raises NotPlain for fields that are no numbers."""
        which: NDArray[np.uint32] | None = None
        for name in self._printer.columns:
            column = columns[name]
            if isinstance(column, list) or column.dtype.kind not in "iu" or column.ndim != 1:
                raise NotPlain
            which = numbered(column[rows], which)
        if which is None:
            raise NotPlain
        first = np.empty(int(which.max()) + 1 if len(which) else 0, np.int64)
        first[which[::-1]] = rows[::-1]
        cells = [cells_of(columns[name], first) for name in self._printer.columns]
        return choice(which, [self._text(values) for values in zip(*cells, strict=True)])

    def _text(self, values: tuple[Any, ...]) -> str:
        text = self._known.get(values)
        if text is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            text = self._known[values] = self._printer.text(*values).removesuffix(self._end)
        return text


def numbered(values: NDArray[Any], by: NDArray[np.uint32] | None = None) -> NDArray[np.uint32]:
    """A number for each row, equal where the values (and those of ``by``) are; small, from 0 on."""
    if by is None and len(values) and int(values.min()) >= 0 and int(values.max()) < _SMALL:
        table = np.zeros(int(values.max()) + 1, np.uint32)
        table[values] = 1
        small: NDArray[np.uint32] = (np.cumsum(table, dtype=np.uint32) - np.uint32(1))[values]
        return small
    keys = values.astype(np.int64).view(np.uint64)
    numbers, _, _ = _core.intern_pairs(keys, np.zeros(len(values), np.uint32) if by is None else by)
    return numbers


_Place = _Literal | _Number | _Text | _Choice


def _places(form: EventFormat, context: PrintContext) -> list[_Place] | None:
    """The pieces of a line; None when the event has one that no column gives."""
    try:
        parsed = parse_print_format(form.print_format, context.long_size)
        by_name = {one.name: one for one in form.fields}
        made: list[_Place] = []
        arguments = list(parsed.arguments)
        at = 0
        for found in SPECIFICATION.finditer(parsed.text):
            made.append(_Literal(parsed.text[at : found.start()].encode(errors="replace")))
            at = found.end()
            if found["letter"] == "%":
                made.append(_Literal(b"%"))
                continue
            count = 1 + (found["width"] == "*") + (found["precision"] == "*")
            used, arguments = arguments[:count], arguments[count:]
            last = at == len(parsed.text)
            place = _plain_place(found, used, by_name, context, last)
            made.append(place or _other_place(form, found[0], used, context, last))
        made.append(_Literal(parsed.text[at:].removesuffix("\n").encode(errors="replace")))
    except FormatError:
        return None
    return _merged(made)


def _merged(made: Sequence[_Place]) -> list[_Place]:
    """Literals that follow each other as one, empty ones left out."""
    found: list[_Place] = []
    for place in made:
        if isinstance(place, _Literal) and found and isinstance(found[-1], _Literal):
            found[-1] = _Literal(found[-1].text + place.text)
        elif not isinstance(place, _Literal) or place.text:
            found.append(place)
    return found


def _other_place(form: EventFormat, text: str, arguments: Sequence[Node], context: PrintContext, last: bool) -> _Place:
    """A place whose text Python makes.  Raises FormatError."""
    printer = compile_piece(form, text, arguments, context)
    return _Choice(printer, last) if printer.columns else _Literal(printer.text().encode(errors="replace"))


def _plain_place(
    found: re.Match[str], arguments: Sequence[Node], by_name: Mapping[str, Field], context: PrintContext, last: bool
) -> _Place | None:
    """A field as it stands; None when there is more to it."""
    letter, flags, width = found["letter"], found["flags"], found["width"] or "0"
    if len(arguments) != 1 or width == "*" or found["precision"] is not None or set(flags) - set("-0#"):
        return None
    made = (LEFT if "-" in flags else 0) | (ZEROS if "0" in flags and "-" not in flags else 0)
    if letter == "s":
        name = arguments[0].name if isinstance(arguments[0], FieldOf) else ""
        one = by_name.get(name)
        fixed = one is not None and is_text(one) and bool(one.length) and one.size > 0 and not one.dynamic
        return _Text(name, made & LEFT, int(width), last) if fixed else None
    if letter in ("d", "i", "u", "x", "X") and ("#" not in flags or letter in "xX"):
        size = _LONGS.get(found["size"] or "", context.long_size if found["size"] else 4)
        made |= SIGNED if letter in "di" else 0
        made |= HEX if letter in "xX" else 0
        made |= UPPER if letter == "X" else 0
        made |= PREFIX if "#" in flags else 0
        if made & PREFIX and made & ZEROS:
            return None
    elif found["pointer"] in ("p", "px", "pK") and not made & ZEROS:
        size, made = context.long_size, made | HEX | PREFIX | NIL
    else:
        return None
    taken = _field_of(arguments[0], by_name)
    if taken is None:
        return None
    name, at, casts = taken
    target = np.dtype(f"{'i' if made & SIGNED else 'u'}{size}")
    return _Number(name, at, (*casts, target), made, int(width))


def _field_of(node: Node, by_name: Mapping[str, Field]) -> tuple[str, int, tuple[np.dtype[Any], ...]] | None:
    """(field, index, casts) of an expression that is no more than that."""
    casts: list[np.dtype[Any]] = []
    while isinstance(node, Cast):
        type_: CType = node.type
        if type_.size:
            casts.insert(0, np.dtype(f"{'i' if type_.signed else 'u'}{type_.size}"))
        node = node.operand
    at = -1
    if isinstance(node, Index) and isinstance(node.at, Number):
        at, node = node.at.value, node.base
    one = by_name.get(node.name) if isinstance(node, (FieldOf, Name)) else None
    if one is None or isinstance(node, Name) or one.dynamic or is_text(one) or not one.size:
        return None
    if (at >= 0) != bool(one.length) or at >= one.length > 0:
        return None
    element = one.size // one.length if one.length else one.size
    return (one.name, at, tuple(casts)) if element in (1, 2, 4, 8) else None
