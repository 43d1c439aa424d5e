"""The tracers of the running kernel and the functions they can trace, as rows."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence

from linscope.errors import NotInKernel, PermissionDenied, UnknownNameError
from linscope.picture.rows import Column, Rows
from linscope.session.tracing.instance import TRACERS, missing_option
from linscope.sources.trace_events import traceable_functions
from linscope.sys.tracefs import find_tracefs, read_text


def tracer_list() -> Rows:
    """Every tracer we know or the kernel has, what it tells, and what it would need where the kernel lacks it."""
    tracefs = find_tracefs()
    there = read_text(f"{tracefs}/available_tracers").split()

    def rows() -> Iterator[tuple[str, bool, str, str]]:
        for name in [*TRACERS, *(name for name in there if name not in TRACERS and name != "nop")]:
            summary = TRACERS[name].summary if name in TRACERS else ""
            yield name, name in there, summary, "" if name in there else missing_option(name)

    columns = [
        Column("tracer"),
        Column("available", "here", format=lambda value: "yes" if value else "no"),
        Column("summary", "what it tells"),
        Column("needs"),
    ]
    return Rows(columns, rows())


def function_list(patterns: Sequence[str]) -> Rows:
    """Functions that can be traced and match a pattern.  Raises NotInKernel, UnknownNameError."""
    tracefs = find_tracefs()
    try:
        functions = traceable_functions(tracefs)
    except FileNotFoundError:
        raise NotInKernel(
            "the running kernel traces no functions", why="CONFIG_DYNAMIC_FTRACE and CONFIG_FUNCTION_TRACER"
        ) from None
    except PermissionError as error:
        what = "the list of functions cannot be read"
        raise PermissionDenied(what, errno=error.errno or 0, next_step="run as root") from None
    found = [
        (function, module)
        for function, module in functions
        if not patterns or any(fnmatch.fnmatchcase(function, pattern) for pattern in patterns)
    ]
    if not found:
        raise UnknownNameError("function to trace", patterns[0], [function for function, _ in functions])
    return Rows([Column("function"), Column("module")], found)
