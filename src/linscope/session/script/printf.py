"""printf's format and the types of its values -> a function from an event's bytes to the text, made once.

Integers are read from the record in the width and signedness that the conversion asks for: %x takes 32 bits, %hhd
eight, %lx 64, as C does.  Source: printf(3); bpftrace 0.26 docs/language.md, printf.
"""

from __future__ import annotations

import struct

from linscope.lang import types as t
from linscope.lang.unit import event_layout, is_variable
from linscope.session.script.values import (
    buffer_escaped,
    buffer_plain,
    buffer_text,
    limited,
    make_codec,
    scalar_code,
    string_text,
)

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from linscope.session.script.resolver import Resolver

_BITS = {"hh": 8, "h": 16, "": 32, "l": 64, "ll": 64, "j": 64, "z": 64, "t": 64, "q": 64, "L": 64}
_CODES = {8: "b", 16: "h", 32: "i", 64: "q"}
_BUFFERS = {"r": buffer_text, "rx": buffer_escaped, "rh": buffer_plain}
_NUMBERS = "diuxXocp"


class Conversion:
    """One conversion of a format."""

    __slots__ = ("flags", "length", "letter", "precision", "width")

    def __init__(self, flags: str, width: str, precision: str | None, length: str, letter: str) -> None:
        """width, precision: their digits ("" and None without); letter: d i u x X o c s p r rx rh gr."""
        self.flags = flags
        self.width = width
        self.precision = precision
        self.length = length
        self.letter = letter

    def template(self, letter: str, flags: str | None = None) -> str:
        """The same for Python's % with another letter."""
        point = "" if self.precision is None else f".{self.precision}"
        return f"%{self.flags if flags is None else flags}{self.width}{point}{letter}"


def parse_format(text: str) -> list[str | Conversion]:
    """Literal texts and conversions in order; what is no conversion is literal."""
    parts: list[str | Conversion] = []
    at = begin = 0
    literal = ""
    while (at := text.find("%", at)) >= 0:
        literal += text[begin:at]
        found, end = _conversion(text, at)
        if found is None:
            literal += "%" if text[at : at + 2] == "%%" else text[at:end]
        else:
            parts += [literal, found]
            literal = ""
        at = begin = end
    parts.append(literal + text[begin:])
    return parts


def _conversion(text: str, start: int) -> tuple[Conversion | None, int]:
    """(conversion at a %, where it ends); None for %% and for what is none."""
    at = start + 1
    if text[at : at + 1] == "%":
        return None, at + 1
    first = at
    while text[at : at + 1] in ("-", "+", " ", "#", "0", "'"):
        at += 1
    flags = text[first:at].replace("'", "")
    first = at
    while text[at : at + 1].isdigit():
        at += 1
    width, precision = text[first:at], None
    if text[at : at + 1] == ".":
        first = at = at + 1
        while text[at : at + 1].isdigit():
            at += 1
        precision = text[first:at] or "0"
    length = next((word for word in ("hh", "ll", "h", "l", "j", "z", "t", "q", "L") if text.startswith(word, at)), "")
    at += len(length)
    for letter in ("rx", "rh", "gr", "r", "s", *_NUMBERS):
        if text.startswith(letter, at):
            return Conversion(flags, width, precision, length, letter), at + len(letter)
    return None, min(at + 1, len(text))


class _Fixed:
    """The fixed part of a record as a format of struct."""

    def __init__(self, types: Sequence[t.Type]) -> None:
        self.offsets, self.end = event_layout(types)
        self.code = "<"
        self.at = 0

    def add(self, place: int, code: str) -> None:
        """Read the value of a place by this code."""
        self.code += f"{self.offsets[place] - self.at}x{code}"
        self.at = self.offsets[place] + struct.calcsize("<" + code)


class Plain:
    """The formatter of an event whose numbers are shown as they are: also of many records at once."""

    __slots__ = ("_code", "_size", "_template", "_unpack")

    def __init__(self, template: bytes, code: str, size: int) -> None:
        """code: how struct reads the numbers; size: bytes that it reads."""
        self._template = template
        self._code = code
        self._size = size
        self._unpack = struct.Struct(code).unpack_from

    def __call__(self, record: bytes) -> bytes:
        """The text of one record."""
        return self._template % self._unpack(record)

    def many(self, data: bytes, stride: int) -> bytes:
        """The texts of records that lie a stride apart."""
        each = struct.Struct(f"{self._code}{stride - self._size}x")
        template = self._template
        return b"".join([template % values for values in each.iter_unpack(data)])


def make_formatter(format: bytes, types: Sequence[t.Type], resolver: Resolver) -> Callable[[bytes], bytes]:
    """The function that gives an event's text: its argument is the whole record, its header included.

    A ``Plain`` where it can be.
    """
    parts = parse_format(string_text(format))
    conversions = [part for part in parts if isinstance(part, Conversion)]
    fixed = _Fixed(types)
    names: dict[str, Any] = {}
    values: list[str] = []
    lines: list[str] = []
    templates = iter([_value(place, conversion, type, fixed, names, values, lines, resolver)
                      for place, (conversion, type) in enumerate(zip(conversions, types, strict=False))])  # fmt: skip
    text = "".join(
        part.replace("%", "%%") if isinstance(part, str) else next(templates, "")
        for part in parts
    )  # fmt: skip
    template = text.encode("utf-8", "surrogateescape")
    if not values:
        return Plain(template, "<", 0)
    names.update(unpack=struct.Struct(fixed.code).unpack_from, template=template)
    arguments = ", ".join(f"v{place}" for place in range(len(values)))
    if not lines and all(value == f"v{place}" for place, value in enumerate(values)):
        return Plain(template, fixed.code, fixed.at)
    moving = [f"    at = {fixed.end}\n"] if any(is_variable(type) for type in types) else []
    body = "".join([f"    {arguments}, = unpack(record)\n", *moving, *lines])
    body += f"    return template % ({', '.join(values)},)\n"
    exec(f"def formatter(record):\n{body}", names)
    made: Callable[[bytes], bytes] = names["formatter"]
    return made


def _value(
    place: int, conversion: Conversion, type: t.Type, fixed: _Fixed, names: dict[str, Any], values: list[str],
    lines: list[str], resolver: Resolver,
) -> str:  # fmt: skip
    """Add the reading of a value, and the expression for it; returns its place in the template."""
    name = f"v{place}"
    letter = conversion.letter
    if is_variable(type):
        fixed.add(place, "I")
        lines.append(f"    {name}_ = {name}; {name} = record[at : at + {name}_]; at += {name}_\n")
        if isinstance(type, t.Buffer) or letter in _BUFFERS:
            names[f"f{place}"] = _BUFFERS.get(letter, buffer_text)
            values.append(f"f{place}({name}).encode('utf-8', 'surrogateescape')")
        elif isinstance(type, t.String) and type.limit:
            names[f"f{place}"] = limited(type, resolver)
            values.append(f"f{place}({name})")
        else:
            values.append(name)
        return conversion.template("s", conversion.flags.replace("0", ""))
    if letter in _NUMBERS and type.is_scalar:
        return _number(place, conversion, type, fixed, values)
    if letter == "gr" and type.is_scalar:
        fixed.add(place, scalar_code(type))
        names[f"f{place}"] = resolver.gfp_flags
        values.append(f"f{place}({name}).encode()")
        return conversion.template("s", conversion.flags.replace("0", ""))
    codec = make_codec(type, resolver)
    names[f"f{place}"] = codec.text
    if type.is_scalar:
        fixed.add(place, scalar_code(type))
        values.append(f"f{place}({name}).encode('utf-8', 'surrogateescape')")
    else:
        fixed.add(place, f"{type.size}s")
        names[f"g{place}"] = codec.read
        values.append(f"f{place}(g{place}({name}, 0)).encode('utf-8', 'surrogateescape')")
    return conversion.template("s", conversion.flags.replace("0", ""))


def _number(place: int, conversion: Conversion, type: t.Type, fixed: _Fixed, values: list[str]) -> str:
    letter = conversion.letter
    bits = 8 if letter == "c" else 64 if letter == "p" else _BITS[conversion.length]
    signed = letter in "di"
    name = f"v{place}"
    if 8 * type.size >= bits:
        fixed.add(place, _CODES[bits] if signed else _CODES[bits].upper())
        values.append(name)
    else:
        fixed.add(place, scalar_code(type))
        values.append(f"({name} & {(1 << bits) - 1})" if type.signed and not signed else name)
    flags = conversion.flags
    if letter == "c":
        return conversion.template("c", flags.replace("0", ""))
    if letter == "p":
        if not conversion.width:
            return "0x%x"
        values[-1] = f"b'%#x' % {values[-1]}"
        return conversion.template("s", flags.replace("0", ""))
    if letter == "o" and "#" in flags:
        return "0" + conversion.template("o", flags.replace("#", ""))
    return conversion.template({"i": "d", "u": "d"}.get(letter, letter))
