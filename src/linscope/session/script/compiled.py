"""Scripts that were compiled before: kept as bytes, so that the compiler is not even imported when one runs again.

A file for each script, in the cache folder: first all that the result depends on (the script, its parameters and
settings, this version, the kernel since it was booted), which must be equal; then the result.  Files are written beside
and renamed; one that is damaged, or of another version, is not there.
"""

from __future__ import annotations

import _imp
import marshal
import os

from linscope.bpf.instructions import decode, encode
from linscope.bpf.program import Function, Line, Map, Program
from linscope.errors import Diagnostic
from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.built import Built
from linscope.lang.nodes import Node
from linscope.lang.probe import Probe
from linscope.sys.folders import cache_folder
from linscope.version import VERSION

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import Any

_FORM = 1  # of the files
_MOST_FILES = 200
_PACKAGES = ("lang", "lang/bpftrace", "lang/codegen", "lang/definitions", "lang/probes", "abi")
_MAP_FIELDS = ("name", "type", "key_size", "value_size", "max_entries", "flags", "initial", "frozen")
_PROGRAM_FIELDS = ("type", "name", "attach_type", "target", "flags", "license")
_DIAGNOSTIC_FIELDS = ("line", "column", "source", "hint", "end", "severity")


def state_of_compiler() -> int:
    """A number that changes with the compiler's files, in a checkout too: the newest time of change, in ns."""
    root = __file__.rpartition("/session/")[0]
    newest = 0
    for package in _PACKAGES:
        with os.scandir(f"{root}/{package}") as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    newest = max(newest, entry.stat().st_mtime_ns)
    return newest


def key_of(text: str, where: str, *more: object) -> bytes:
    """All that the result depends on.  more: parameters, options, settings."""
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        boot = file.read()
    parts = (_FORM, VERSION, state_of_compiler(), boot, os.stat("/proc/self/ns/pid").st_ino, text, where, repr(more))
    return marshal.dumps(parts, 2)


def _path(key: bytes) -> str:
    return f"{cache_folder('scripts')}/{_imp.source_hash(_FORM, key).hex()}-{len(key)}"


def find(key: bytes) -> tuple[ir.Unit, Built] | None:
    """The result that is kept for a key; None: there is none."""
    try:
        with open(_path(key), "rb") as file:
            data = file.read()
    except OSError:
        return None
    if not data.startswith(key):
        return None
    try:
        return _Decoder(marshal.loads(data[len(key) :])).result()
    except (ValueError, EOFError, TypeError, KeyError, IndexError):
        return None


def keep(key: bytes, unit: ir.Unit, built: Built) -> None:
    """Write a result down; nothing happens where that is not possible."""
    encoder = _Encoder()
    try:
        data = key + marshal.dumps(encoder.result(unit, built), 2)
    except ValueError:  # something in it cannot be kept
        return
    path = _path(key)
    folder = path.rpartition("/")[0]
    beside = f"{path}.{os.getpid()}"
    try:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - pathlib takes longer than the rest
        with open(beside, "wb") as file:
            file.write(data)
        os.replace(beside, path)  # noqa: PTH105
        _make_room(folder)
    except OSError:  # a cache that cannot be written to is none
        return


def _make_room(folder: str) -> None:
    """Remove the oldest files when there are many."""
    files = sorted((entry.stat().st_mtime_ns, entry.path) for entry in os.scandir(folder))
    for _, path in files[:-_MOST_FILES]:
        os.unlink(path)


class _Encoder:
    """Nodes -> what marshal writes.  A node that is met again is the same one when it is read."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.places: dict[int, int] = {}
        self.kept: list[object] = []  # so that no id is used twice

    def result(self, unit: ir.Unit, built: Built) -> Any:
        programs = [ir.Program(one.name, one.probes, [], None if one.dispatch is None else {}) for one in unit.programs]
        bare = ir.Unit(unit.text, unit.where, unit.maps, unit.events, programs, unit.settings, [])
        warnings = [
            (one.what, *(getattr(one, name) for name in _DIAGNOSTIC_FIELDS))
            for one in unit.warnings
            if isinstance(one, Diagnostic)
        ]
        top = self.value(bare)
        maps = [tuple(getattr(one, name) for name in _MAP_FIELDS) for one in built.maps]
        return top, self.nodes, warnings, maps, [_program(one) for one in built.programs], built.script_maps

    def value(self, value: object) -> Any:
        if isinstance(value, Node):
            return ("n", self.node(value))
        if isinstance(value, list):
            return ("l", [self.value(one) for one in value])
        if isinstance(value, tuple):
            return ("t", [self.value(one) for one in value])
        if isinstance(value, dict):
            return ("d", [(self.value(key), self.value(one)) for key, one in value.items()])
        return value

    def node(self, node: Node) -> int:
        place = self.places.get(id(node))
        if place is None:
            place = self.places[id(node)] = len(self.nodes)
            self.kept.append(node)
            self.nodes.append(None)
            self.nodes[place] = (type(node).__name__, self.fields(node))
        return place

    def fields(self, node: Node) -> list[tuple[str, Any]]:
        if isinstance(node, t.Pointer):  # what it points to is not shown
            return [("target", self.value(t.VOID)), ("space", node.space)]
        if isinstance(node, t.Struct):
            head = [("name", node.name), ("width", node.size), ("tag", node.tag)]
            return [*head, ("fields", self.value(list(node.fields)))]
        if isinstance(node, t.Field):
            _ = node.type  # looked up now
        return [(name, self.value(getattr(node, name))) for name in node._fields if hasattr(node, name)]


def _program(program: Program) -> Any:
    btf = b""
    if program.btf is not None:
        from linscope.bpf.kernel.types import btf_bytes

        btf = btf_bytes(program.btf)
    head = tuple(getattr(program, name) for name in _PROGRAM_FIELDS)
    functions, lines = ([tuple(one) for one in rows] for rows in (program.functions, program.lines))
    return head, encode(program.instructions), functions, lines, btf


class _Decoder:
    """The way back."""

    def __init__(self, data: Any) -> None:
        self.top, self.rows, self.warnings, self.maps, self.programs, self.script_maps = data
        self.nodes: list[Node | None] = [None] * len(self.rows)

    def result(self) -> tuple[ir.Unit, Built]:
        unit: ir.Unit = self.value(self.top)
        unit.warnings = [
            Diagnostic(what, **dict(zip(_DIAGNOSTIC_FIELDS, rest, strict=True))) for what, *rest in self.warnings
        ]
        maps = []
        for name, kind, key, value, entries, flags, initial, frozen in self.maps:
            maps.append(Map(name, kind, key, value, entries, flags=flags, initial=initial, frozen=frozen))
        return unit, Built(maps, [self.program(row, maps) for row in self.programs], self.script_maps)

    def program(self, row: Any, maps: list[Map]) -> Program:
        head, code, functions, lines, btf = row
        made = Program(decode(code), **dict(zip(_PROGRAM_FIELDS, head, strict=True)))
        made.maps = maps
        made.functions = [Function(*one) for one in functions]
        made.lines = [Line(*one) for one in lines]
        if btf:
            from linscope.binfmt.btf import Btf

            made.btf = Btf(btf)
        return made

    def value(self, value: Any) -> Any:
        if not isinstance(value, tuple):
            return value
        kind, inside = value
        if kind == "n":
            return self.node(inside)
        if kind == "l":
            return [self.value(one) for one in inside]
        if kind == "t":
            return tuple([self.value(one) for one in inside])
        return {self.value(key): self.value(one) for key, one in inside}

    def node(self, place: int) -> Node:
        found = self.nodes[place]
        if found is None:
            name, fields = self.rows[place]
            kind = getattr(t, name, None) or getattr(ir, name, None) or {"Probe": Probe}[name]
            found = self.nodes[place] = kind.__new__(kind)
            given = {field: self.value(value) for field, value in fields}
            if isinstance(found, t.Struct):
                inner = given.pop("fields")
                given["read_fields"] = lambda: inner
            found.__dict__.update(given)
        return found
