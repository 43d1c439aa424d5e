"""Trace events by the names people type, and what tracefs tells about them."""

from __future__ import annotations

import os

from linscope.errors import NotInKernel, UnknownNameError
from linscope.sys.tracefs import read_text

TYPE_CHECKING = False  # typing and the parser of formats are start-up time
if TYPE_CHECKING:
    from linscope.binfmt.event_format import EventFormat

_LIST = "linscope events list"


def all_events(tracefs: str) -> list[tuple[str, str]]:
    """(system, name) of every event, in the order of tracefs' available_events."""
    pairs = (line.partition(":") for line in read_text(f"{tracefs}/available_events").splitlines())
    return [(system, name) for system, _, name in pairs]


def find_events(tracefs: str, pattern: str) -> list[tuple[str, str]]:
    """(system, name) of the events that a pattern means: "sched:sched_switch", "sched:*", "sched", "sched_switch".

    Without a colon it is a system, else the names of events in all systems; * ? and [ match any system or name.
    Raises UnknownNameError.
    """
    system, colon, name = pattern.replace("/", ":", 1).partition(":")
    if colon and not any(sign in pattern for sign in "*?["):
        if os.path.exists(f"{tracefs}/events/{system}/{name}/format"):
            return [(system, name)]
    elif not colon and os.path.isdir(f"{tracefs}/events/{system}") and system:
        name = "*"
    elif not colon:
        system, name = "*", system
    if name == "*" and os.path.isdir(f"{tracefs}/events/{system}") and system not in ("", "ftrace"):
        return [(system, name) for name in _events_of(tracefs, system)]
    import fnmatch

    events = all_events(tracefs)
    found = [(a, b) for a, b in events if fnmatch.fnmatchcase(a, system or "*") and fnmatch.fnmatchcase(b, name or "*")]
    if not found:
        if system == "syscalls" and not os.path.isdir(f"{tracefs}/events/syscalls"):
            raise NotInKernel("no events of system calls", why="CONFIG_FTRACE_SYSCALLS is not set")
        known = [f"{a}:{b}" for a, b in events] if colon else [b for _, b in events]
        raise UnknownNameError("event", pattern, known, next_step=f"{_LIST} '*{pattern.rpartition(':')[2][:6]}*'")
    return found


def _events_of(tracefs: str, system: str) -> list[str]:
    """Names of the events of a system, sorted."""
    with os.scandir(f"{tracefs}/events/{system}") as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())


def traceable_functions(tracefs: str) -> list[tuple[str, str]]:
    """(function, module) of what the function tracers can trace; "" for the kernel itself.  Raises OSError."""
    lines = (line.split() for line in read_text(f"{tracefs}/available_filter_functions").splitlines())
    return [(words[0], words[1].strip("[]") if len(words) > 1 else "") for words in lines]


def read_format(tracefs: str, system: str, name: str) -> EventFormat:
    """The parsed format of an event.  Raises UnknownNameError."""
    from linscope.binfmt.event_format import parse_format

    try:
        form = parse_format(read_text(f"{tracefs}/events/{system}/{name}/format"), system)
    except FileNotFoundError:
        form = None
    if form is None:
        raise UnknownNameError("event", f"{system}:{name}", [], next_step=_LIST)
    return form
