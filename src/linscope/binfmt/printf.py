"""printf formats as the kernel writes them -> a template for Python's % and the code of its values.

Source: Documentation/core-api/printk-formats.rst; lib/vsprintf.c, format_decode and pointer.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from linscope.binfmt import print_text as texts
from linscope.binfmt.print_format import CType
from linscope.errors import FormatError

SPECIFICATION = re.compile(
    r"%(?P<flags>[-+ #0]*)(?P<width>\*|\d{1,4})?(?:\.(?P<precision>\*|-?\d{1,4})?)?(?P<point>)"
    r"(?P<size>hh|h|ll|l|q|L|j|z|Z|t)?(?:(?P<pointer>p[a-zA-Z0-9]*)|(?P<letter>[a-zA-Z%]))"
)
_LONG_LONG = ("ll", "q", "L", "j")
_LONG = ("l", "z", "Z", "t")


class Value(NamedTuple):
    """Code of a value, and what C would know of it."""

    code: ast.expr
    kind: str  # "int", "text" (str), "data" (bytes) or "list" (of int)
    type: CType  # of the number, or of an array's elements


class Template(NamedTuple):
    """``text % values``"""

    text: str
    values: tuple[ast.expr, ...]


class Context(Protocol):
    """A print fmt's records, and the machine that wrote them."""

    @property
    def long_size(self) -> int:
        """Bytes of a long."""

    @property
    def order(self) -> str:
        """Byte order: "little" or "big"."""

    @property
    def symbol(self) -> texts.Symbol:
        """Name of a kernel address."""


class Generator(Protocol):
    """What is needed of the generator of values."""

    @property
    def context(self) -> Context:
        """The machine."""

    def convert(self, value: Value, type_: CType) -> Value:
        """The number as one of another type."""

    def text(self, value: Value) -> Value:
        """The value as %s shows it."""

    def data(self, value: Value) -> ast.expr:
        """The bytes of an array."""

    def call(self, function: Callable[..., Any], *arguments: ast.expr | str | int) -> ast.expr:
        """Code that calls a helper."""

    def keep(self, name: str, thing: Any) -> ast.expr:
        """Code for a thing that the function needs."""


def make_template(text: str, values: Sequence[Value], generator: Generator) -> Template:
    """The template of a printf format.  Raises FormatError where it and the values do not fit."""
    return _Maker(iter(values), generator).make(text)


class _Maker:
    def __init__(self, values: Iterator[Value], generator: Generator) -> None:
        self.values = values
        self.generator = generator
        self.codes: list[ast.expr] = []

    def next(self) -> Value:
        """The next argument."""
        value = next(self.values, None)
        if value is None:
            raise FormatError("print fmt: fewer values than the format has places")
        return value

    def number(self, size: int, signed: bool) -> ast.expr:
        """The next argument as a number of that type."""
        value = self.next()
        if value.kind != "int":
            raise FormatError("print fmt: an array or text where a number belongs")
        return self.generator.convert(value, CType(size, signed)).code

    def make(self, text: str) -> Template:
        """All of the format."""
        parts, at = [], 0
        for found in SPECIFICATION.finditer(text):
            parts.append(text[at : found.start()].replace("%", "%%"))
            parts.append(self.one(found))
            at = found.end()
        parts.append(text[at:].replace("%", "%%"))
        return Template("".join(parts), tuple(self.codes))

    def one(self, found: re.Match[str]) -> str:
        """One place; returns what stands for it in the template."""
        letter = found["letter"]
        if letter == "%":
            return "%%"
        if letter is None:
            return self.pointer(found)
        if letter in "sc":
            return self.string(found)
        if letter not in "diouxX":
            raise FormatError(f"print fmt: %{letter} is not known")
        return self.integer(found)

    def integer(self, found: re.Match[str]) -> str:
        """%d, %x and their like."""
        letter, size = found["letter"], found["size"]
        signed = letter in "di"
        width = found["width"] or ""
        precision = "" if found["precision"] is None else "." + found["precision"]
        for star in (width, precision):
            if "*" in star:
                self.codes.append(self.number(4, True))
        bytes_ = 8 if size in _LONG_LONG else self.generator.context.long_size if size in _LONG else 4
        bytes_ = {"hh": 1, "h": 2}.get(size or "", bytes_)
        code = self.number(bytes_, signed)
        flags = found["flags"] if signed else found["flags"].replace("+", "").replace(" ", "")
        letter = "d" if letter in "iu" else letter
        if "#" in flags and letter in "xXo":  # C writes no 0x before a zero, and 0 alone before octal digits
            plain = flags.replace("#", "")
            if "*" in width + precision:
                return f"%{plain}{width}{precision}{letter}"
            zero = f"%{plain}{width}{precision}{letter}" % 0
            self.codes.append(self.generator.call(alternate, code, f"%{flags}{width}{precision}{letter}", zero))
            return "%s"
        self.codes.append(code)
        return f"%{flags}{width}{precision}{letter}"

    def string(self, found: re.Match[str]) -> str:
        """%s and %c."""
        width, precision = found["width"] or "", found["precision"]
        stars = [self.number(4, True) for star in (width, precision) if star == "*"]
        left = "-" if "-" in found["flags"] else ""
        if found["letter"] == "c":
            code = self.generator.call(texts.character, self.number(4, True))
        else:
            code = self.generator.text(self.next()).code
            if precision == "*":
                code = self.generator.call(texts.cut_text, code, stars[-1])
            elif precision is not None and not precision.startswith("-"):
                code = self.generator.call(texts.cut_text, code, int(precision))
        if width == "*":
            code = self.generator.call(texts.padded, code, stars[0])
            width = ""
        self.codes.append(code)
        return f"%{left}{width}s" if width else "%s"

    def pointer(self, found: re.Match[str]) -> str:
        """%p and its extensions."""
        form, generator = found["pointer"][1:], self.generator
        width = found["width"] or ""
        star = self.number(4, True) if width == "*" else None
        order, long_size = generator.context.order, generator.context.long_size
        kind = form[:1]
        if kind in ("", "K", "x") or not form:
            value = self.next()
            if value.kind != "int":
                raise FormatError("print fmt: an array's address is not recorded")
            code = generator.call(texts.pointer_text, generator.convert(value, CType(long_size, False)).code)
        elif kind in "sSfFB":
            table = texts.AddressTexts(generator.context.symbol, offsets=kind in "SFB")
            address = self.number(long_size, False)
            code = ast.Subscript(generator.keep("symbols", table), address, ast.Load())
        elif kind == "e":
            code = generator.call(texts.error_text, self.number(long_size, False))
        else:
            code = self.array(form, star, width, order, long_size)
            width = ""
        self.codes.append(code)
        left = "-" if "-" in found["flags"] else ""
        return f"%{left}{width}s" if width and width != "*" else "%s"

    def array(self, form: str, star: ast.expr | None, width: str, order: str, long_size: int) -> ast.expr:
        """Extensions that take the address of bytes."""
        generator, kind = self.generator, form[:1]
        data = generator.data(self.next())
        if kind in "mM":
            return generator.call(texts.mac_text, data, "" if kind == "m" else "-" if form[1:2] == "F" else ":")
        if form[:2] in ("I4", "i4"):
            return generator.call(texts.ip4_text, data, int(kind == "i"))
        if form[:2] in ("I6", "i6"):
            return generator.call(texts.ip6_text, data, form)
        if form[:2] in ("IS", "iS"):
            return generator.call(texts.socket_text, data, form, order)
        if kind == "U":
            return generator.call(texts.uuid_text, data, form[1:2])
        if kind == "h":
            size = star if star is not None else ast.Constant(int(width or 1))
            separator = {"C": ":", "D": "-", "N": ""}.get(form[1:2], " ")
            return generator.call(texts.hex_text, data, size, separator)
        if form == "bl":
            return generator.call(texts.bit_list_text, data, long_size, order)
        if form == "b":
            return generator.call(texts.bitmask_text, data, long_size, order)
        raise FormatError(f"print fmt: %p{form} is not known")


def alternate(value: int, template: str, zero: str) -> str:
    """%#x, whose zero has no 0x; %#o, whose prefix is 0."""
    if value == 0:
        return zero
    text = template % value
    return text.replace("0o", "0", 1) if template.endswith("o") else text
