"""The format of one kind of trace event: tracefs' events/SYSTEM/NAME/format, as recordings keep it too.

Source: kernel/trace/trace_events.c, f_show; tools/lib/traceevent/event-parse.c reads the same text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


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
        count = size // max(1, _element_size(type_))
    return Field(name, type_, offset, size, signed, count, dynamic)


def _element_size(type_: str) -> int:
    words = type_.split()
    if "char" in words or "u8" in words or "__u8" in words:
        return 1
    if "short" in words or "u16" in words or "__u16" in words:
        return 2
    return 8 if "long" in words or "u64" in words or "__u64" in words or "*" in type_ else 4


def parse_format(text: str, system: str) -> EventFormat | None:
    """The text of a format file; None if it is not one."""
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
