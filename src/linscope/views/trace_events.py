"""Trace events of the running kernel as rows: which there are, and what one of them carries."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence

from linscope.binfmt.event_format import EventFormat
from linscope.errors import UnknownNameError, UsageError
from linscope.picture.rows import Column, Rows
from linscope.sources.trace_events import all_events, find_events, read_format
from linscope.sys.tracefs import find_tracefs


def event_list(patterns: Sequence[str]) -> Rows:
    """Events that match a pattern (SYS:NAME, with wildcards; none: all) and their fields.  Raises UnknownNameError."""
    tracefs = find_tracefs()
    events = all_events(tracefs)
    if patterns:
        wanted = {pair for pattern in patterns for pair in _matching(events, pattern)}
        events = [pair for pair in events if pair in wanted]
    return Rows([Column("event"), Column("fields")], _list_rows(tracefs, sorted(events)), streaming=True)


def _matching(events: list[tuple[str, str]], pattern: str) -> list[tuple[str, str]]:
    glob = pattern if ":" in pattern else f"*{pattern}*" if not any(s in pattern for s in "*?[") else pattern
    found = [pair for pair in events if fnmatch.fnmatchcase(f"{pair[0]}:{pair[1]}", glob)]
    if not found and ":" not in pattern:
        found = [pair for pair in events if fnmatch.fnmatchcase(pair[1], pattern)]
    if not found:
        raise UnknownNameError("event", pattern, [f"{a}:{b}" for a, b in events])
    return found


def _list_rows(tracefs: str, events: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for system, name in events:
        form = read_format(tracefs, system, name)
        yield f"{system}:{name}", " ".join(field.name for field in form.fields if field.name != "__syscall_nr")


def event_details(names: Sequence[str]) -> Rows:
    """The fields of events, with the C types, offsets and sizes of their records, and how they are printed."""
    if not names:
        raise UsageError("show which event?", next_step="linscope events show sched:sched_switch")
    tracefs = find_tracefs()
    pairs = [pair for name in names for pair in find_events(tracefs, name)]
    forms = [read_format(tracefs, system, name) for system, name in pairs]
    columns = [
        Column("event", in_text=len(forms) > 1),
        Column("id", align=">", in_text=False),
        Column("field"),
        Column("type"),
        Column("offset", "offset", ">"),
        Column("size", "size", ">"),
        Column("signed", format=lambda value: "yes" if value else ""),
        Column("common", format=lambda value: "of every event" if value else "", heading=""),
    ]
    title = [f"{form.system}:{form.name} (id {form.id}) prints {form.print_format}" for form in forms]
    return Rows(columns, (row for form in forms for row in _field_rows(form)), title=title)


def _field_rows(form: EventFormat) -> Iterator[tuple[str, int, str, str, int, int, bool, bool]]:
    for common, fields in ((False, form.fields), (True, form.common)):
        for field in fields:
            type_ = f"{field.type}[{field.length}]" if field.length else field.type
            if field.dynamic:
                type_ = f"__{field.dynamic} {field.type}"
            event = f"{form.system}:{form.name}"
            yield event, form.id, field.name, type_, field.offset, field.size, field.signed, common
