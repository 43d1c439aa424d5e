"""Bytes of a type -> a value -> text as bpftrace prints it, and JSON.

A ``Codec`` is made once for each type.  Values: int, bool, bytes (strings and buffers), list (arrays), tuple (tuples,
and records and structs in the order of their fields), None (what cannot be held).
Source: bpftrace 0.26 for the forms.
"""

from __future__ import annotations

import struct

from linscope.lang import types as t

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from linscope.session.script.resolver import Resolver

    Read = Callable[[bytes, int], Any]
    Write = Callable[[Any], str]

_CODES = {(1, True): "b", (1, False): "B", (2, True): "h", (2, False): "H", (4, True): "i", (4, False): "I",
          (8, True): "q", (8, False): "Q"}  # fmt: skip
NOT_RECORDED = "<not recorded>"  # of values over recordings
_EXACT = 1 << 53  # integers up to here are exact in a double


class Codec:
    """How values of one type are read and shown."""

    __slots__ = ("json", "read", "text")

    def __init__(self, read: Read, text: Write, json: Write) -> None:
        """read: (bytes, offset) -> value; text, json: value -> str."""
        self.read = read
        self.text = text
        self.json = json


def scalar_code(type: t.Type) -> str:
    """The letter by which struct reads a scalar.  Raises TypeError for a type in memory."""
    if not type.is_scalar:
        raise TypeError(f"{type!r} is no scalar")
    return _CODES[type.size, bool(type.signed)]


def string_text(data: bytes) -> str:
    """Characters of a script's world; bytes that are no UTF-8 survive the way back."""
    return data.decode("utf-8", "surrogateescape")


def json_string(text: str) -> str:
    """A JSON string with its quotes."""
    if '"' in text or "\\" in text or not text.isprintable():
        escaped = []
        for c in text:
            known = _ESCAPES.get(c)
            if known is None:
                code = ord(c)
                known = f"\\u{code:04x}" if code < 32 else "�" if 0xDC80 <= code <= 0xDCFF else c
            escaped.append(known)
        text = "".join(escaped)
    return f'"{text}"'


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def json_integer(value: int) -> str:
    """A JSON number; as a string where a double would lose digits."""
    if -_EXACT <= value <= _EXACT or int(float(value)) == value:
        return str(value)
    return f'"{value}"'


_BUFFER_BYTES = tuple(chr(n) if 32 <= n < 127 else f"\\x{n:02x}" for n in range(256))


def buffer_text(data: bytes) -> str:
    r"""Printable characters as they are, others as \x00."""
    return "".join([_BUFFER_BYTES[byte] for byte in data])


def buffer_escaped(data: bytes) -> str:
    r"""All bytes as \x00: %rx."""
    return "".join([f"\\x{byte:02x}" for byte in data])


def buffer_plain(data: bytes) -> str:
    """All bytes in hexadecimal, a space between them: %rh."""
    return data.hex(" ")


def mac_text(data: bytes) -> str:
    """05:04:03:02:01:02"""
    return data.hex(":").upper()


def inet_text(data: bytes) -> str:
    """An address of 20 bytes: u32 family, then the address."""
    import _socket

    family = int.from_bytes(data[:4], "little")
    if family == _socket.AF_INET:
        return ".".join(map(str, data[4:8]))
    if family == _socket.AF_INET6:
        return _socket.inet_ntop(_socket.AF_INET6, data[4:20])
    return ""


def _hexadecimal(value: int) -> str:
    return f"{value:#x}"


def _flag(value: object) -> str:
    return "true" if value else "false"


def make_codec(type: t.Type, resolver: Resolver) -> Codec:
    """The codec of a type; resolver: knows symbols, users and clocks.  Raises TypeError for an unknown type."""
    for kinds, make in _MAKERS:
        if isinstance(type, kinds):
            made: Codec = make(type, resolver)
            return made
    raise TypeError(f"no text for {type!r}")


def _scalar(type: t.Type, text: Write, json: Write) -> Codec:
    unpack = struct.Struct("<" + scalar_code(type)).unpack_from

    def read(data: bytes, at: int) -> int:
        value: int = unpack(data, at)[0]
        return value

    return Codec(read, text, json)


def _integer(type: t.Type, resolver: Resolver) -> Codec:
    return _scalar(type, str, json_integer)


def _bool(type: t.Type, resolver: Resolver) -> Codec:
    return Codec(lambda data, at: data[at] != 0, _flag, _flag)


def _enum(type: t.Enum, resolver: Resolver) -> Codec:
    names = type.values
    return _scalar(type, lambda value: names.get(value) or str(value), json_integer)


def _pointer(type: t.Type, resolver: Resolver) -> Codec:
    return _scalar(type, _hexadecimal, json_integer)


def _void(type: t.Type, resolver: Resolver) -> Codec:
    return Codec(lambda data, at: None, lambda value: "null", lambda value: "null")


def limited(type: t.String, resolver: Resolver) -> Callable[[bytes], bytes]:
    """Adds the trailer to a string that was cut."""
    limit, trailer = type.limit, resolver.trailer
    return lambda data: data + trailer if len(data) >= limit else data


def _string(type: t.String, resolver: Resolver) -> Codec:
    width = type.width
    cut = limited(type, resolver) if type.limit else None

    def read(data: bytes, at: int) -> bytes:
        end = data.find(b"\0", at, at + width)
        found = data[at : end if end >= 0 else at + width]
        return cut(found) if cut is not None else found

    return Codec(read, string_text, lambda value: json_string(string_text(value)))


def _buffer(type: t.Buffer, resolver: Resolver) -> Codec:
    capacity = type.capacity

    def read(data: bytes, at: int) -> bytes:
        return data[at + 4 : at + 4 + min(int.from_bytes(data[at : at + 4], "little"), capacity)]

    def json(value: bytes) -> str:
        return "[" + ",".join([str(byte - 256 if byte > 127 else byte) for byte in value]) + "]"

    return Codec(read, buffer_text, json)


def _array(type: t.Array, resolver: Resolver) -> Codec:
    one = make_codec(type.element, resolver)
    step, count = type.element.size, type.count
    read_one, text_one, json_one = one.read, one.text, one.json

    def read(data: bytes, at: int) -> list[object]:
        return [read_one(data, at + step * number) for number in range(count)]

    return Codec(
        read,
        lambda value: "[" + ",".join([text_one(element) for element in value]) + "]",
        lambda value: "[" + ",".join([json_one(element) for element in value]) + "]",
    )


def _tuple(type: t.Tuple, resolver: Resolver) -> Codec:
    codecs = [make_codec(element, resolver) for element in type.elements]
    read = _read_parts(codecs, type.offsets)
    if type.names:
        return _named(read, codecs, type.names)
    texts, jsons = [one.text for one in codecs], [one.json for one in codecs]
    return Codec(
        read,
        lambda value: "(" + ", ".join([f(v) for f, v in zip(texts, value, strict=True)]) + ")",
        lambda value: "[" + ",".join([f(v) for f, v in zip(jsons, value, strict=True)]) + "]",
    )


def _read_parts(codecs: list[Codec], offsets: list[int]) -> Read:
    readers = [(one.read, offset) for one, offset in zip(codecs, offsets, strict=True)]
    return lambda data, at: tuple([read(data, at + offset) for read, offset in readers])


def _named(read: Read, codecs: list[Codec], names: tuple[str, ...] | list[str]) -> Codec:
    texts = [(f".{name} = ", one.text) for name, one in zip(names, codecs, strict=True)]
    jsons = [(json_string(name) + ": ", one.json) for name, one in zip(names, codecs, strict=True)]

    def text(value: tuple[object, ...]) -> str:
        if not value:
            return "{}"
        return "{ " + ", ".join([head + f(v) for (head, f), v in zip(texts, value, strict=True)]) + " }"

    def json(value: tuple[object, ...]) -> str:
        return "{" + ", ".join([head + f(v) for (head, f), v in zip(jsons, value, strict=True)]) + "}"

    return Codec(read, text, json)


def _struct(type: t.Struct, resolver: Resolver) -> Codec:
    fields = [field for field in type.fields if field.name or isinstance(field.type, t.Struct)]
    codecs = []
    for field in fields:
        codec = make_codec(field.type, resolver)
        codecs.append(_bit_field(field, codec) if field.bit_size else codec)
    return _named(_read_parts(codecs, [field.offset for field in fields]), codecs, [field.name for field in fields])


def _bit_field(field: t.Field, codec: Codec) -> Codec:
    shift, size, signed = field.bit_offset, field.bit_size, field.type.signed
    mask, top = (1 << size) - 1, 1 << size - 1
    length = (shift + size + 7) // 8

    def read(data: bytes, at: int) -> int:
        value = int.from_bytes(data[at : at + length], "little") >> shift & mask
        return (value ^ top) - top if signed else value

    return Codec(read, codec.text, codec.json)


def _resolved(type: t.Type, resolve: Callable[[int], str]) -> Codec:
    """A number that is shown as a text."""
    return _scalar(type, resolve, lambda value: json_string(resolve(value)))


def _bytes(size: int, text: Callable[[bytes], str]) -> Codec:
    return Codec(lambda data, at: data[at : at + size], text, lambda value: json_string(text(value)))


def _probe_name(type: t.ProbeName, resolver: Resolver) -> Codec:
    names = type.names
    return _resolved(type, lambda value: names[value] if 0 <= value < len(names) else str(value))


def _user_symbol(type: t.Type, resolver: Resolver) -> Codec:
    unpack = struct.Struct("<QI").unpack_from

    def text(value: tuple[int, int]) -> str:
        return resolver.user_symbol(*value)

    return Codec(unpack, text, lambda value: json_string(text(value)))


def _stack(type: t.Stack, resolver: Resolver) -> Codec:
    return _resolved(type, resolver.stack_text(type))


def _aggregation(type: t.Aggregation, resolver: Resolver) -> Codec:
    """What a loop over a map has of an aggregation: its total, in the first 8 bytes, and a count behind it."""
    signed = not isinstance(type, t.Count) and bool(getattr(type, "signed", False))
    unpack = struct.Struct("<q" if signed else "<Q").unpack_from

    def read(data: bytes, at: int) -> tuple[int, int]:
        return unpack(data, at)[0], int.from_bytes(data[at + 8 : at + 16], "little") if type.size > 8 else 0

    def number(value: tuple[int, int]) -> int:
        total, count = value
        if not isinstance(type, t.Average):
            return total
        average = abs(total) // count if count else 0
        return -average if total < 0 else average

    def text(value: tuple[int, int]) -> str:
        if isinstance(type, t.Average) and type.word == "stats":
            return f"{{ .count = {value[1]}, .average = {number(value)}, .total = {value[0]} }}"
        return str(number(value))

    return Codec(read, text, lambda value: json_integer(number(value)))


def _unrecorded(type: t.Unrecorded, resolver: Resolver) -> Codec:
    """What a recording does not have, whatever it would be."""
    return Codec(lambda data, at: None, lambda value: NOT_RECORDED, lambda value: f'"{NOT_RECORDED}"')


_MAKERS: tuple[tuple[Any, Any], ...] = (
    (t.Int, _integer),
    (t.String, _string),
    (t.Bool, _bool),
    (t.Pointer, _pointer),
    (t.Tuple, _tuple),
    (t.Enum, _enum),
    (t.Buffer, _buffer),
    (t.Array, _array),
    (t.Struct, _struct),
    (t.KernelSymbol, lambda type, resolver: _resolved(type, resolver.kernel_symbol)),
    (t.UserSymbol, _user_symbol),
    (t.Stack, _stack),
    (t.Timestamp, lambda type, resolver: _resolved(type, resolver.timestamp(type))),
    (t.UserName, lambda type, resolver: _resolved(type, resolver.user_name)),
    (t.CgroupPath, lambda type, resolver: _resolved(type, resolver.cgroup_path(type.pattern))),
    (t.ErrorText, lambda type, resolver: _resolved(type, resolver.error_text)),
    (t.SyscallName, lambda type, resolver: _resolved(type, resolver.syscall_name)),
    (t.SignalName, lambda type, resolver: _resolved(type, resolver.signal_name)),
    (t.ProbeName, _probe_name),
    (t.GfpFlags, lambda type, resolver: _resolved(type, resolver.gfp_flags)),
    (t.Inet, lambda type, resolver: _bytes(20, inet_text)),
    (t.Mac, lambda type, resolver: _bytes(6, mac_text)),
    (t.Void, _void),
    (t.Aggregation, _aggregation),
    (t.Unrecorded, _unrecorded),
)  # fmt: skip
