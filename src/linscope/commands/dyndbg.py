"""`linscope dyndbg`: the kernel's debug prints: list, switch for a while, follow."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from linscope.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from linscope.picture.rows import Column, Rows
    from linscope.session.dynamic_debug import DynamicDebug, WatchedRecord
    from linscope.sources.dynamic_debug import Change, Site

_ACTIONS = ("list", "set", "watch", "boot")


class Dyndbg:
    """The subcommand; see linscope.contracts.Command."""

    summary = "the kernel's debug prints: list, switch on for a while, follow"
    examples = (
        "linscope dyndbg list 'module usbcore'",
        "linscope dyndbg watch 'file kernel/module/main.c' -- modprobe loop",
        "linscope dyndbg set 'func svc_process +p' --keep",
        "linscope dyndbg boot 'module nvme +p'",
    )
    formats = True
    splits = True

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add = parser.add_argument
        add("action", choices=_ACTIONS, help="list sites, set flags, watch what they print, boot parameters")
        add("query", nargs="*", metavar="QUERY", help="'module M file F func F line A-B format T class C +pmflt'")
        add("--dry-run", action="store_true", help="of set: show what would change, and change nothing")
        add("--keep", action="store_true", help="of set: leave it so, instead of until CMD ends or Ctrl-C")
        add("--duration", metavar="TIME", help="stop after this time (10s, 500ms)")
        add("--control", default="", metavar="FILE", help="the control file, where it is not found")

    def run(self, arguments: argparse.Namespace) -> Rows | int | None:
        """Do it."""
        from linscope.session.dynamic_debug import DynamicDebug

        queries = _queries(arguments.query)
        if arguments.action != "list" and not queries:
            raise UsageError("no query", next_step="linscope dyndbg set 'module usbcore +p'")
        if arguments.action == "boot":
            return _boot(queries)
        debug = DynamicDebug(arguments.control)
        if arguments.action == "list":
            return _list(debug.select(queries))
        if arguments.action == "set":
            return _set(debug, queries, arguments)
        return _watch(debug, queries, arguments)


def _queries(words: Sequence[str]) -> list[str]:
    """Each word with a blank in it is a query of its own; words without are one query together."""
    return list(words) if any(" " in word for word in words) else [" ".join(words)] if words else []


def _duration(arguments: argparse.Namespace) -> int:
    from linscope.units import parse_duration

    return parse_duration(arguments.duration) if arguments.duration else 0


def _site_columns() -> list[Column]:
    from linscope.picture.rows import Column

    return [
        Column("file", in_text=False),
        Column("line", in_text=False),
        Column("place", "PLACE", in_data=False),
        Column("module", "MODULE"),
        Column("function", "FUNCTION"),
        Column("flags", "FLAGS", format=lambda flags: f"={flags or '_'}"),
    ]


def _site_cells(site: Site) -> tuple[Any, ...]:
    return site.file, site.line, f"{site.file}:{site.line}", site.module, site.function, site.flags


def _list(sites: Sequence[Site]) -> Rows:
    from linscope.picture.rows import Column, Rows

    columns = [*_site_columns(), Column("class", "CLASS"), Column("format", "FORMAT", format=_escaped)]
    return Rows(columns, ((*_site_cells(site), site.class_, site.format) for site in sites))


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")


def _set(debug: DynamicDebug, queries: Sequence[str], arguments: argparse.Namespace) -> Rows:
    from linscope.picture.rows import Column, Rows

    columns = [
        *_site_columns(),
        Column("new_flags", "NEW", format=lambda flags: f"={flags or '_'}"),
        Column("format", "FORMAT", format=_escaped),
    ]
    if arguments.dry_run:
        return Rows(columns, _change_cells(debug.plan(queries)))
    if arguments.keep:
        if arguments.command:
            raise UsageError("--keep and a command exclude each other", next_step="linscope dyndbg set QUERY -- CMD")
        with debug:
            changes = debug.set(queries)
            debug.keep()
        return Rows(columns, _change_cells(changes), notes=debug.notes)
    held = _Held(debug, debug.set(queries), _duration(arguments), arguments.command)
    return Rows(columns, held, live=True, streaming=True, exit_code=lambda: held.status)


def _change_cells(changes: Sequence[Change]) -> Iterator[tuple[Any, ...]]:
    for change in changes:
        yield (*_site_cells(change.site), change.flags, change.site.format)


class _Held:
    """The rows of what is switched; at their end the command runs, or Ctrl-C is waited for, and all is put back."""

    def __init__(
        self, debug: DynamicDebug, changes: Sequence[Change], duration_ns: int, command: Sequence[str]
    ) -> None:
        self.status = 0
        self._debug = debug
        self._changes = changes
        self._duration_ns = duration_ns
        self._command = command

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        from linscope.session.dynamic_debug import wait

        try:
            yield from _change_cells(self._changes)
            sys.stdout.flush()
            if not self._command and not self._duration_ns:
                print("linscope dyndbg: until Ctrl-C", file=sys.stderr)
            self.status = wait(self._duration_ns, self._command)
        finally:
            _close(self._debug)


def _close(debug: DynamicDebug) -> None:
    debug.close()
    for note in debug.notes:
        print(f"linscope dyndbg: {note}", file=sys.stderr)


def _watch(debug: DynamicDebug, queries: Sequence[str], arguments: argparse.Namespace) -> Rows:
    from linscope.picture.rows import Column, Rows
    from linscope.session.dynamic_debug import watch

    followed = _Followed(debug, watch(debug, queries, duration_ns=_duration(arguments), command=arguments.command))
    columns = [
        Column("time_s", "TIME", ">", lambda seconds: f"{seconds:.6f}", width=13),
        Column("module", "MODULE", width=16),
        Column("function", "FUNCTION", width=24),
        Column("file", in_text=False),
        Column("line", "LINE", ">", width=5),
        Column("text", "TEXT"),
    ]
    return Rows(columns, followed, live=True, streaming=True, exit_code=lambda: followed.status)


class _Followed:
    """The rows of what sites print; at their end all is put back."""

    def __init__(self, debug: DynamicDebug, stream: Generator[WatchedRecord, None, int]) -> None:
        self.status = 0
        self._debug = debug
        self._stream = stream

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        try:
            while True:
                try:
                    one = next(self._stream)
                except StopIteration as end:
                    self.status = end.value
                    return
                site = one.site
                yield one.time_ns / 1e9, site.module, site.function, site.file, site.line, one.text
        finally:
            self._stream.close()
            _close(self._debug)


def _boot(queries: Sequence[str]) -> Rows:
    from linscope.picture.rows import Column, Rows
    from linscope.sources.dynamic_debug import boot_parameters

    rows = [pair for query in queries for pair in boot_parameters(query)]
    return Rows([Column("parameter", "PARAMETER"), Column("acts", "ACTS")], rows)


DYNDBG = Dyndbg()
