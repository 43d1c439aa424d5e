"""The format of one kind of trace event: tracefs' events/SYSTEM/NAME/format, as recordings keep it too.

Source: kernel/trace/trace_events.c, f_show; tools/lib/traceevent/event-parse.c reads the same text.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

from linscope.binfmt.print_format import unescape

_LARGEST = 1 << 20  # bytes: no event is larger than a page
_REMEMBERED = 8192  # formats; a kernel has 2,000 to 3,000


class Field(NamedTuple):
    """One field of an event, as its format file declares it."""

    name: str
    type: str  # C type as declared, without the name: "char", "__data_loc char[]", "unsigned long"
    offset: int  # bytes from the start of the raw record
    size: int  # bytes
    signed: bool
    length: int  # elements of an array; 0: not an array
    dynamic: str  # "": in place; "data_loc" or "rel_loc": a u32 of (length << 16 | offset) that points at the data


@dataclass(frozen=True)
class EventFormat:
    """A tracepoint's format: /sys/kernel/tracing/events/SYSTEM/NAME/format."""

    system: str
    name: str
    id: int
    common: tuple[Field, ...]
    fields: tuple[Field, ...]
    print_format: str


def _parse_field(line: str) -> Field | None:
    parts = dict(p.strip().split(":", 1) for p in line.strip().rstrip(";").split(";") if ":" in p)
    try:
        declaration, offset, size = parts["field"].strip(), int(parts["offset"]), int(parts["size"])
        signed = int(parts.get("signed", "0")) == 1
    except (KeyError, ValueError):
        return None
    if not (0 <= offset <= _LARGEST and 0 <= size <= _LARGEST):
        return None
    count = 0
    dynamic = "data_loc" if declaration.startswith("__data_loc") else ""
    dynamic = "rel_loc" if declaration.startswith("__rel_loc") else dynamic
    if declaration.endswith("]") and not dynamic:
        declaration, _, inside = declaration[:-1].rpartition("[")
        count = int(inside) if inside.isdigit() else -1  # -1: a symbol; the size decides
    type_, _, name = declaration.rpartition(" ")
    if dynamic:
        type_ = type_.removeprefix("__data_loc").removeprefix("__rel_loc").strip()
    if count == -1:
        count = size // max(1, element_size(type_))
    return Field(name, type_, offset, size, signed, count, dynamic)


def is_text(one: Field) -> bool:
    """True for a field that is text in the tables: char, of any length."""
    words = one.type.replace("[", " [").split()
    return "char" in words and "unsigned" not in words and "*" not in one.type


def element_size(type_: str, long_size: int = 8) -> int:
    """Bytes of an element of an array, told by its declaration; 1 for types that are not known."""
    words = type_.replace("[", " [").split()
    for name, size in (("8", 1), ("16", 2), ("32", 4), ("64", 8)):
        if any(word.rstrip("_t").endswith(name) and word[:1] in "_usbl" for word in words):
            return size
    if "short" in words:
        return 2
    if "long" in words or "*" in type_:
        return 8 if words.count("long") > 1 else long_size
    return 4 if "int" in words or ("unsigned" in words and "char" not in words) else 1


@functools.lru_cache(_REMEMBERED)
def parse_format(text: str, system: str) -> EventFormat | None:
    """The text of a format file; None if it is not one.  Recordings of one kernel share their formats."""
    name, id_, print_format = "", -1, ""
    groups: list[list[Field]] = [[], []]
    group = 0
    lines = iter(text.splitlines())
    for line in lines:
        stripped = line.strip()
        if stripped.startswith("name:"):
            name = stripped[5:].strip()
        elif stripped.startswith("ID:"):
            number = stripped[3:].strip()
            id_ = int(number) if number.isdigit() else -1
        elif stripped.startswith("field:"):
            parsed = _parse_field(stripped)
            if parsed is not None:
                groups[group].append(parsed)
        elif stripped.startswith("print fmt:"):
            print_format = "\n".join([stripped[len("print fmt:") :].strip(), *lines])
        elif not stripped and groups[0]:
            group = 1  # an empty line ends the common fields
    if not name or id_ < 0:
        return None
    return EventFormat(system, name, id_, tuple(groups[0]), tuple(groups[1]), print_format)


def parse_printk_formats(text: str) -> dict[int, str]:
    """Constant strings of the kernel by address; text: of tracefs' printk_formats, ``0xffff... : "text"`` a line.

    Source: kernel/trace/trace_printk.c, t_show, which escapes newlines, tabs, quotes and backslashes.
    """
    found = {}
    for line in text.splitlines():
        address, colon, literal = line.partition(" : ")
        try:
            number = int(address, 16)
        except ValueError:
            continue
        if colon and len(literal) >= 2 and literal[0] == literal[-1] == '"':
            found[number] = unescape(literal[1:-1])
    return found
