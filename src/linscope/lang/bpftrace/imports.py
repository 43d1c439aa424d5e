"""``import "file.bt";``: the macros, maps and probes of another script."""

from __future__ import annotations

import os

from linscope.errors import SourceError
from linscope.lang.bpftrace.parser import parse
from linscope.lang.nodes import Node

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.lang.bpftrace import syntax as sx
    from linscope.lang.bpftrace.options import Options
    from linscope.lang.bpftrace.problems import Problems
    from linscope.lang.bpftrace.syntax import Span

_OPTION = "unstable_import_statement"


def read_imports(
    program: sx.Program, options: Options, settings: dict[str, str | int], problems: Problems,
    seen: frozenset[str] = frozenset(),
) -> None:  # fmt: skip
    """Put what is imported into the program; what is wrong goes to problems.

    A file is looked for beside the script, then in the folders of -I; a folder stands for all scripts in it.
    """
    for one in program.imports:
        if settings[_OPTION] == "error":
            problems.error(
                one.span, "Import statements are not enabled by default. To enable this unstable feature, set this "
                f"config flag to enable: {_OPTION}=enable",
            )  # fmt: skip
            continue
        if settings[_OPTION] == "warn":
            problems.warn(one.span, "Script is using an unstable feature: import statement")
        paths = _files(one.path, problems.where, options)
        if not paths:
            problems.error(one.span, f"cannot import {one.path}: no such file")
        for path in paths:
            if path not in seen:
                _merge(program, path, one.span, options, settings, problems, seen | {path})


def _files(name: str, where: str, options: Options) -> list[str]:
    """The files that an import may mean."""
    places = [where.rpartition("/")[0] or ".", *options.include_dirs]
    path = next((f"{place}/{name}" for place in places if os.path.exists(f"{place}/{name}")), "")
    if os.path.isdir(path):
        return sorted(entry.path for entry in os.scandir(path) if entry.name.endswith(".bt"))
    return [path] if path else []


def _merge(
    program: sx.Program, path: str, span: Span, options: Options, settings: dict[str, str | int], problems: Problems,
    seen: frozenset[str],
) -> None:  # fmt: skip
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            other = parse(file.read(), where=path)
    except OSError as error:
        problems.error(span, f"cannot import {path}: {error.strerror}")
        return
    except SourceError as error:
        problems.error(span, f"cannot import {path}: {error.diagnostics[0].what} (line {error.diagnostics[0].line})")
        return
    read_imports(other, options, settings, problems, seen)
    for part in ("definitions", "maps", "macros", "functions", "probes"):
        items = getattr(other, part)
        for item in items:
            _move(item, span)
        getattr(program, part)[:0] = items


def _move(node: Node, span: Span) -> None:
    """What is imported stands where the import stands, for messages."""
    for value in node.__dict__.values():
        for one in value if isinstance(value, list) else (value,):
            if isinstance(one, Node):
                _move(one, span)
    if "span" in node.__dict__:
        node.__dict__["span"] = span
