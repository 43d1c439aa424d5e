"""Types of BTF as rows: members with their places; and lists of what a BTF holds."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from typing import Any

from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf import Btf
from linscope.binfmt.btf_holes import Layouts
from linscope.binfmt.btf_layout import size_of
from linscope.binfmt.btf_text import declare, type_text
from linscope.errors import UnknownNameError
from linscope.picture.rows import Column, Rows

KINDS = {
    "struct": (bt.KIND_STRUCT,),
    "union": (bt.KIND_UNION,),
    "enum": (bt.KIND_ENUM, bt.KIND_ENUM64),
    "typedef": (bt.KIND_TYPEDEF,),
    "func": (bt.KIND_FUNC,),
    "var": (bt.KIND_VAR,),
    "int": (bt.KIND_INT,),
    "float": (bt.KIND_FLOAT,),
    "datasec": (bt.KIND_DATASEC,),
    "fwd": (bt.KIND_FWD,),
}
_WORDS = {kind: word for word, kinds in KINDS.items() for kind in kinds}
_WILD = "*?["


def type_rows(btf: Btf, names: Sequence[str], kind: str = "") -> Rows:
    """Types by name (or by id: "#17") in full; names with wildcards, or none at all: a list.

    kind: one of KINDS, "" for any.  Raises UnknownNameError, FormatError.
    """
    kinds = KINDS[kind] if kind else tuple(_WORDS)
    if not names or any(mark in name for name in names for mark in _WILD):
        return _list(btf, names, kinds)
    ids: list[int] = []
    for name in names:
        found = [int(name[1:])] if name.startswith("#") and name[1:].isdigit() else btf.find(name, kinds)
        if not found:
            raise UnknownNameError(kind or "type", name, _all_names(btf, kinds))
        ids += found

    def text() -> Iterator[str]:
        for number, one in enumerate(ids):
            yield f"{chr(10) if number else ''}{type_text(btf, one)}\n"

    columns = [
        Column("id", align=">"),
        Column("kind"),
        Column("type"),
        Column("member"),
        Column("declaration"),
        Column("offset_bytes", align=">"),
        Column("size_bytes", align=">"),
        Column("bit_offset", align=">"),
        Column("bits", align=">"),
        Column("hole_bytes", align=">"),
        Column("value", align=">"),
    ]
    layouts = Layouts(btf)
    return Rows(columns, (row for one in ids for row in _members(btf, layouts, one)), text=text)


def _all_names(btf: Btf, kinds: tuple[int, ...]) -> list[str]:
    return [btf.name(one) for kind in kinds for one in btf.iter_ids(kind)]


def _members(btf: Btf, layouts: Layouts, type_id: int) -> Iterator[tuple[Any, ...]]:
    """A row a member, parameter, or value; one alone for what has none."""
    word = _WORDS.get(btf.kind(type_id), bt.KIND_NAMES[btf.kind(type_id)])
    head = type_id, word, btf.name(type_id)
    match btf.type(type_id):
        case bt.Struct():
            for one in layouts.of(type_id).members:
                bits = (one.bit_offset, one.bits) if one.bits else (None, None)
                found = btf.type(one.type)
                inline = isinstance(found, bt.Struct | bt.Enum) and not found.name
                spelled = one.name if inline else declare(btf, one.type, one.name)
                yield *head, one.name, spelled, one.byte_offset, one.size, *bits, one.hole, None
        case bt.Enum(values=values, size=size):
            for name, value in values:
                yield *head, name, name, None, size, None, None, None, value
        case bt.Func(proto=proto) if isinstance(prototype := btf.type(proto), bt.FuncProto):
            for number, parameter in enumerate(prototype.parameters):
                size = size_of(btf, parameter.type)
                spelled = declare(btf, parameter.type, parameter.name)
                yield *head, parameter.name, spelled, None, size, None, None, None, number
            size = size_of(btf, prototype.returns)
            yield *head, "return", declare(btf, prototype.returns), None, size, None, None, None, -1
        case _:
            yield *head, "", type_text(btf, type_id), None, size_of(btf, type_id), None, None, None, None


def _list(btf: Btf, patterns: Sequence[str], kinds: tuple[int, ...]) -> Rows:
    columns = [
        Column("id", align=">", width=6),
        Column("kind", width=7),
        Column("name", width=40),
        Column("size_bytes", "size", ">"),
    ]

    def rows() -> Iterator[tuple[int, str, str, int]]:
        for kind in kinds:
            for one in btf.iter_ids(kind):
                name = btf.name(one)
                if name and (not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)):
                    yield one, _WORDS[kind], name, size_of(btf, one)

    return Rows(columns, rows(), streaming=True)
