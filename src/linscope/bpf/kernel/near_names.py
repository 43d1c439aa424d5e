"""What somebody may have meant who named a tracepoint or a kernel function that is not there; for messages only."""

from __future__ import annotations

import os

from linscope.errors import LinscopeError, UnknownNameError

_HEAD = 4  # characters that a kernel function must share: comparing with all of them takes seconds


def near_tracepoints(name: str, category: str = "") -> str:
    """ "did you mean sched:sched_switch?", or "" when nothing is near or tracefs is not to be read.

    category "": of a raw tracepoint, which has none.
    """
    from linscope.sys.tracefs import find_tracefs

    known: dict[str, str] = {}  # name -> as it is to be written
    try:
        folder = f"{find_tracefs()}/events"
        groups = [each.name for each in os.scandir(folder) if each.is_dir()]
        for group in groups if category else set(groups) - {"syscalls", "ftrace"}:
            for each in os.scandir(f"{folder}/{group}"):
                known.setdefault(each.name, f"{group}:{each.name}" if category else each.name)
    except (OSError, LinscopeError):
        return ""
    near = [known[each] for each in UnknownNameError("tracepoint", name, known).near]
    same = [each for each in near if each.partition(":")[0] == category]
    return _question(same or near)


def near_functions(name: str) -> str:
    """The same for a kernel function that a probe was to be put to, by /proc/kallsyms."""
    try:
        with open("/proc/kallsyms", encoding="ascii", errors="replace") as file:
            words = (line.split() for line in file)
            known = {each[2] for each in words if each[1] in "tT" and each[2].startswith(name[:_HEAD])}
    except OSError:
        return ""
    return _question(UnknownNameError("function", name, known).near)


def _question(names: list[str]) -> str:
    return f"did you mean {' or '.join(names)}?" if names else ""
