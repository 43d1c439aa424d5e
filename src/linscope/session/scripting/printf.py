"""printf formats, compiled once: the bytes of an event -> text.

Conversions are C's, with %r %rx %rh for buffers and %gr for allocation flags.  Source: bpftrace docs/language.md, printf.
"""

from __future__ import annotations

import struct

from linscope.lang import types as t
from linscope.lang.unit import event_layout, is_variable
from linscope.session.script.values import buffer_escaped, buffer_plain, buffer_text, make_codec, scalar_code

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from linscope.session.scripting.resolver import Resolver

_WIDTHS = {"hh": 1, "h": 2, "": 4, "l": 8, "ll": 8, "j": 8, "z": 8, "t": 8, "q": 8}
_FLAGS = "-+ #0'"


class Conversion:
    """One conversion: flags and width as they stand, bytes of its length, its letter."""

    __slots__ = ("head", "letter", "width")

    def __init__(self, head: str, width: int, letter: str) -> None:
        self.head = head
        self.width = width
        self.letter = letter


def parse_format(text: str) -> tuple[list[str], list[Conversion]]:
    """(the texts around the conversions, one more than these; the conversions)."""
    texts, found = [""], []
    at = 0
    while at < len(text):
        letter = text[at]
        if letter != "%":
            texts[-1] += letter
            at += 1
            continue
        at += 1
        if text[at : at + 1] == "%":
            texts[-1] += "%"
            at += 1
            continue
        start = at
        while text[at : at + 1] and (text[at] in _FLAGS or text[at].isdigit() or text[at] == "."):
            at += 1
        head = text[start:at]
        length = next((one for one in ("hh", "h", "ll", "l", "j", "z", "t", "q") if text.startswith(one, at)), "")
        at += len(length)
        letter = text[at : at + 1]
        at += 1
        if letter == "r" and not length and text[at : at + 1] in ("x", "h"):
            letter, at = letter + text[at], at + 1
        elif letter == "g" and text[at : at + 1] == "r":
            letter, at = "gr", at + 1
        found.append(Conversion(head, _WIDTHS[length], letter))
        texts.append("")
    return texts, found


def compile_format(format: bytes, types: tuple[t.Type, ...], resolver: Resolver) -> Callable[[bytes], str]:
    """What makes the text of an event with values of these types."""
    texts, conversions = parse_format(format.decode("utf-8", "replace"))
    readers = value_readers(types, resolver)
    plain = [part.replace("%", "%%") for part in texts]
    template = plain[0]
    shown: list[Callable[[bytes], Any]] = []
    for conversion, type, read, rest in zip(conversions, types, readers, plain[1:], strict=True):
        mark, convert = _converter(conversion, type, resolver)
        template += mark + rest
        shown.append(_joined(read, convert) if convert is not None else read)
    fast = _fast(template, conversions, types, shown)
    if fast is not None:
        return fast
    return lambda data: template % tuple([read(data) for read in shown])


def _joined(read: Callable[[bytes], Any], convert: Callable[[Any], Any]) -> Callable[[bytes], Any]:
    return lambda data: convert(read(data))


def _fast(
    template: str, conversions: list[Conversion], types: tuple[t.Type, ...], shown: list[Callable[[bytes], Any]]
) -> Callable[[bytes], str] | None:
    """Numbers only, all in full: one unpacking for all.  None: something else is among them."""
    if not types:
        text = template % ()
        return lambda data: text
    if not all(type.is_scalar and isinstance(type, t.Int) for type in types):
        return None
    if not all(_is_whole(one, type) for one, type in zip(conversions, types, strict=True)):
        return None
    offsets, end = event_layout(types)
    code, at = "<", 0
    for type, offset in zip(types, offsets, strict=True):
        code += f"{offset - at}x{scalar_code(type)}" if offset > at else scalar_code(type)
        at = offset + type.size
    unpack = struct.Struct(code).unpack_from
    return lambda data: template % unpack(data)


def _is_whole(conversion: Conversion, type: t.Type) -> bool:
    """Whether a number is shown as it is."""
    if conversion.letter in ("d", "i"):
        return type.signed and type.size <= conversion.width
    return conversion.letter in ("u", "x", "X", "o") and not type.signed and type.size <= conversion.width


def _converter(
    conversion: Conversion, type: t.Type, resolver: Resolver
) -> tuple[str, Callable[[Any], Any] | None]:  # fmt: skip
    """(Python's conversion, what is done with the value before)."""
    letter, head = conversion.letter, conversion.head
    if letter in ("d", "i", "u", "x", "X", "o"):
        return f"%{head}{'d' if letter in 'diu' else letter}", _cut(conversion.width, letter in ("d", "i"))
    if letter == "p":
        return f"%{head}s", lambda value: f"{value & (1 << 64) - 1:#x}"
    if letter == "c":
        return f"%{head}s", lambda value: chr(value & 0xFF)
    if letter in ("r", "rx", "rh"):
        form = {"r": buffer_text, "rx": buffer_escaped, "rh": buffer_plain}[letter]
        return f"%{head}s", lambda value: form(value)
    if letter == "gr":
        return f"%{head}s", lambda value: resolver.gfp_flags(value)
    if isinstance(type, t.String):
        return f"%{head}s", None
    codec = make_codec(type, resolver)
    return f"%{head}s", codec.text


def _cut(width: int, signed: bool) -> Callable[[int], int]:
    mask, top = (1 << 8 * width) - 1, 1 << 8 * width - 1

    def unsigned(value: int) -> int:
        return value & mask

    def with_sign(value: int) -> int:
        value &= mask
        return (value ^ top) - top

    return with_sign if signed else unsigned


def value_readers(types: tuple[t.Type, ...], resolver: Resolver) -> list[Callable[[bytes], Any]]:
    """What reads each value of an event: numbers, str for strings, bytes for buffers, else the codec's values."""
    offsets, end = event_layout(types)
    readers: list[Callable[[bytes], Any]] = []
    variable: list[int] = []  # where the lengths of those before lie
    for type, offset in zip(types, offsets, strict=True):
        if is_variable(type):
            readers.append(_variable_reader(type, offset, end, tuple(variable), resolver))
            variable.append(offset)
        else:
            readers.append(_fixed_reader(make_codec(type, resolver).read, offset))
    return readers


def _fixed_reader(read: Callable[[bytes, int], Any], offset: int) -> Callable[[bytes], Any]:
    return lambda data: read(data, offset)


def _variable_reader(
    type: t.Type, offset: int, end: int, before: tuple[int, ...], resolver: Resolver
) -> Callable[[bytes], Any]:  # fmt: skip
    limit = type.limit if isinstance(type, t.String) else 0
    trailer = resolver.trailer
    is_text = isinstance(type, t.String)

    def read(data: bytes) -> Any:
        start = end
        for place in before:
            start += int.from_bytes(data[place : place + 4], "little")
        found = data[start : start + int.from_bytes(data[offset : offset + 4], "little")]
        if limit and len(found) >= limit:
            found += trailer
        return found.decode("utf-8", "surrogateescape") if is_text else found

    return read
