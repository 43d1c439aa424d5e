"""Fields of tracepoints: the file ``format`` of tracefs as a struct whose offsets are those of the context.

Source: Documentation/trace/events.rst.
"""

from __future__ import annotations

import os

from linscope.lang import types as t

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

_FOLDERS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
_CHARACTERS = ("char", "unsigned char", "signed char")
_COMMON = "common_"
_SYSCALL = ("sys_enter_", "sys_exit_")


def tracing_folder() -> str:
    """Where tracefs is.  Raises PermissionDenied, NotInKernel."""
    for folder in _FOLDERS:
        if os.path.exists(folder + "/events/header_page"):
            return folder
    from linscope.sys.tracefs import find_tracefs

    return find_tracefs()


def read_format(system: str, event: str) -> str | None:
    """The text of a tracepoint's format; None: there is no such tracepoint.  Raises PermissionDenied, NotInKernel."""
    try:
        with open(f"{tracing_folder()}/events/{system}/{event}/format", encoding="utf-8") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def parse_format(
    text: str, name: str, find_type: Callable[[str | None, str], t.Type | None], *, string_size: int, user: bool = False
) -> t.Struct:
    """The fields of a format, without those that all events have.

    find_type(tag, name): of C; string_size: room for strings of no fixed length; user: pointers are the process's.
    """
    fields = []
    size = 8
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("print fmt"):
            break
        if not line.startswith("field:"):
            continue
        parts = dict(part.strip().partition(":")[::2] for part in line.split(";") if ":" in part)
        declaration = parts["field"].strip()
        offset, width, signed = int(parts["offset"]), int(parts["size"]), parts.get("signed") == "1"
        size = max(size, offset + width)
        field = _field(declaration, offset, width, signed, find_type, string_size, user)
        if not field.name.startswith(_COMMON):
            fields.append(field)
    return t.Struct(name, size, lambda: fields)


def _field(
    declaration: str, offset: int, width: int, signed: bool, find_type: Callable[[str | None, str], t.Type | None],
    string_size: int, user: bool,
) -> t.Field:  # fmt: skip
    words, _, name = declaration.rpartition(" ")
    name, bracket, _ = name.partition("[")
    location = ""
    for mark, kind in (("__data_loc ", "data_loc"), ("__rel_loc ", "rel_loc")):
        if words.startswith(mark):
            words, location = words.removeprefix(mark), kind
    while name.startswith("*"):
        words, name = words + " *", name[1:]
    element = words.removesuffix("[]").removeprefix("const ").strip()
    if location:
        type: t.Type = t.String(string_size, string_size - 1)
        if element not in _CHARACTERS:
            type = t.Array(_scalar(element, _width_of(element), False, find_type, user), 0)
        return t.Field(name, type, offset, 0, 0, location)
    if bracket and not element.endswith("*"):
        count = _count(declaration)
        if element in _CHARACTERS and element == "char":
            rest = t.String(string_size, string_size - 1)  # up to the end of the record
            return t.Field(name, t.String(width) if width else rest, offset)
        step = width // count if count and width % count == 0 else 1
        return t.Field(name, t.Array(_scalar(element, step, signed, find_type, user), width // max(step, 1)), offset)
    return t.Field.lazy(name, lambda: _scalar(element, width, signed, find_type, user), offset)


def _count(declaration: str) -> int:
    inside = declaration.rpartition("[")[2].rstrip("] ")
    return int(inside) if inside.isdigit() else 0


def _width_of(element: str) -> int:
    return {"u8": 1, "u16": 2, "u32": 4, "int": 4, "unsigned int": 4, "short": 2}.get(element.removeprefix("__"), 8)


def _scalar(
    words: str, width: int, signed: bool, find_type: Callable[[str | None, str], t.Type | None], user: bool
) -> t.Type:
    """A type by its words in C; an integer of its width when they say no more."""
    if words.endswith("*"):
        inner = words[:-1].strip().removeprefix("const ").removesuffix("const").strip()
        space = t.USER if user else t.KERNEL
        if inner.endswith("*"):
            return t.Pointer(_scalar(inner, 8, False, find_type, user), space)
        return t.Pointer.lazy(lambda: _target(inner, find_type), space)
    if words.startswith("enum "):
        found = find_type("enum", words[5:].strip())
        if found is not None and found.size == width:
            return found
    if words == "bool":
        return t.BOOL
    if width not in (1, 2, 4, 8):
        tag, _, name = words.partition(" ")
        found = find_type(tag, name) if tag in ("struct", "union") else find_type(None, words)
        return found if found is not None and found.size == width else t.Array(t.UINT8, width)
    return t.Int(width, signed, words)


def _target(words: str, find_type: Callable[[str | None, str], t.Type | None]) -> t.Type:
    """What C calls by some words; void when nobody knows it."""
    words = words.replace("__user", "").strip()
    tag, _, name = words.partition(" ")
    if words == "char":
        return t.Int(1, True, "char")
    found = find_type(tag, name.strip()) if tag in ("struct", "union", "enum") else find_type(None, words)
    return found or t.VOID
