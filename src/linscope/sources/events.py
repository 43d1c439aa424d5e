"""Event descriptions as people type them (`-e`) -> perf_event_attr.

The grammar is perf's (perf-list(1), perf-record(1)): `cycles:u`, `L1-dcache-load-misses`,
`sched:sched_switch`, `sched:*`, `r1a8`, `cpu/event=0x3c,umask=0/`, `cycles/period=1000,name=x/`,
`mem:0x1000/8:rw`, `{a,b}:S`, lists by comma.
"""

from __future__ import annotations

import os

from linscope.abi import perf_event as pe
from linscope.errors import LinscopeError, UnknownNameError, UsageError
from linscope.sources import pmus
from linscope.sources.event_names import SYMBOLIC, cache_event_names, find_cache_event
from linscope.sys.perf_event_open import Attr
from linscope.sys.tracefs import find_tracefs, read_text

HOW_TO_LIST = "linscope record --list-events [GLOB]"
_MODIFIERS = "ukhGHIpPSDeWb"


class Event:
    """One event asked for: its attr (what is counted; sampling is set later) and how it was written.

    ``leader``: the group's first event, itself when alone.  ``terms``: what `/period=.../` and kin asked for.
    ``tracepoint``: ("sched", "sched_switch") or None.  ``scale`` and ``unit``: to show counts in.
    """

    __slots__ = (
        "attr",
        "cpus",
        "leader",
        "name",
        "precise_max",
        "sample_read",
        "scale",
        "terms",
        "tracepoint",
        "unit",
    )

    def __init__(self, name: str, attr: Attr) -> None:
        self.name = name
        self.attr = attr
        self.leader: Event = self
        self.cpus: list[int] | None = None
        self.precise_max = False
        self.sample_read = False
        self.scale = 1.0
        self.unit = ""
        self.terms: dict[str, str] = {}
        self.tracepoint: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return f"Event({self.name!r}, {self.attr!r})"


class Catalog:
    """Where names are looked up; tests give folders of their own."""

    def __init__(self, devices: str = pmus.DEVICES, tracefs: str = "") -> None:
        """tracefs: empty finds (and as root mounts) the kernel's on first use."""
        self.devices = devices
        self._tracefs = tracefs

    @property
    def tracefs(self) -> str:
        """Folder of tracefs.  Raises PermissionDenied or NotInKernel."""
        if not self._tracefs:
            self._tracefs = find_tracefs()
        return self._tracefs

    def tracepoint_systems(self) -> list[str]:
        """Names of the folders under events/."""
        return _folders(self.tracefs + "/events")

    def tracepoint_names(self, system: str) -> list[str]:
        """Names of the tracepoints of a system; empty when there is no such system."""
        return _folders(f"{self.tracefs}/events/{system}")

    def tracepoint_id(self, system: str, name: str) -> int:
        """attr.config of a tracepoint.  Raises OSError."""
        return int(read_text(f"{self.tracefs}/events/{system}/{name}/id"))

    def known_names(self) -> list[str]:
        """Every name that `-e` takes here, tracepoints too where they can be listed."""
        names = list(SYMBOLIC) + cache_event_names()
        for pmu in pmus.all_pmus(self.devices):
            names += [f"{pmu.name}/{event}/" for event in pmu.event_names()]
        try:
            for system in self.tracepoint_systems():
                names += [f"{system}:{name}" for name in self.tracepoint_names(system)]
        except LinscopeError:
            pass  # without tracefs the others remain
        return names


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return []
    except PermissionError as error:
        from linscope.errors import PermissionDenied

        raise PermissionDenied(
            "tracepoints cannot be looked up",
            errno=error.errno or 13,
            where=path,
            next_step="run as root, or: sudo mount -o remount,mode=755 /sys/kernel/tracing",
        ) from error


def parse_events(text: str, catalog: Catalog | None = None) -> list[Event]:
    """The events of one `-e` argument, in order.

    Raises UnknownNameError (with near names and how to list them), UsageError for bad syntax,
    PermissionDenied and
    NotInKernel when tracepoints cannot be looked up.
    """
    catalog = catalog or Catalog()
    events: list[Event] = []
    for item in _split_list(text):
        if item.startswith("{"):
            body, brace, modifiers = item[1:].rpartition("}")
            if not brace:
                raise UsageError(
                    f"group without its closing brace: {item}", next_step="write {a,b} or {a,b}:S"
                )
            members = [event for part in _split_list(body) for event in _parse_one(part, catalog)]
            for event in members:
                event.leader = members[0]
                _apply_modifiers(event, modifiers.removeprefix(":"), item)
            events += members
        else:
            events += _parse_one(item, catalog)
    if not events:
        raise UsageError("no event named", next_step=HOW_TO_LIST)
    return events


def _split_list(text: str) -> list[str]:
    """Split at commas outside {...} and outside /.../ terms."""
    parts, start, depth, in_terms = [], 0, 0, False
    for index, character in enumerate(text):
        if character == "/" and not text[start:index].lstrip("{").startswith("mem:"):
            in_terms = not in_terms
        elif in_terms:
            continue
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:index].strip())
            start = index + 1
    if in_terms:
        raise UsageError(f"terms without their closing slash: {text}", next_step="write pmu/term=value/")
    parts.append(text[start:].strip())
    return [part for part in parts if part]


def _parse_one(text: str, catalog: Catalog) -> list[Event]:
    if text.startswith("mem:"):
        return [_breakpoint(text)]
    if "/" in text:
        return _with_terms(text, catalog)
    name, _colon, rest = text.partition(":")
    if name in SYMBOLIC:
        type_, config = SYMBOLIC[name]
        return [_finish(Event(text, Attr(type=type_, config=config)), rest, text)]
    if name[:1] == "r" and len(name) > 1 and all(c in "0123456789abcdefABCDEF" for c in name[1:]):
        return [_finish(Event(text, Attr(type=pe.PERF_TYPE_RAW, config=int(name[1:], 16))), rest, text)]
    cache = find_cache_event(name)
    if cache is not None:
        return [_finish(Event(text, Attr(type=pe.PERF_TYPE_HW_CACHE, config=cache)), rest, text)]
    if rest:
        return _tracepoints(text, name, rest, catalog)
    for pmu in pmus.all_pmus(catalog.devices):
        if name in pmu.event_names():
            return _pmu_events([pmu], [(name, "")], "", text)
    raise UnknownNameError("event", text, catalog.known_names(), next_step=HOW_TO_LIST)


def _tracepoints(text: str, system: str, rest: str, catalog: Catalog) -> list[Event]:
    name, _colon, modifiers = rest.partition(":")
    pairs: list[tuple[str, str]] = []
    if any(c in "*?[" for c in system + name):
        from fnmatch import fnmatchcase

        for found in catalog.tracepoint_systems():
            if fnmatchcase(found, system):
                pairs += [(found, n) for n in catalog.tracepoint_names(found) if fnmatchcase(n, name)]
    else:
        pairs = [(system, name)]
    events = []
    for found, event_name in pairs:
        try:
            number = catalog.tracepoint_id(found, event_name)
        except FileNotFoundError:
            continue
        except PermissionError as error:
            from linscope.errors import PermissionDenied

            raise PermissionDenied(
                f"cannot look up the tracepoint {found}:{event_name}",
                errno=error.errno or 13,
                next_step="run as root, or: sudo mount -o remount,mode=755 /sys/kernel/tracing",
            ) from error
        shown = f"{found}:{event_name}" + (f":{modifiers}" if modifiers else "")
        event = Event(shown, Attr(type=pe.PERF_TYPE_TRACEPOINT, config=number))
        event.tracepoint = (found, event_name)
        events.append(_finish(event, modifiers, text))
    if not events:
        raise UnknownNameError("event", text, catalog.known_names(), next_step=HOW_TO_LIST)
    return events


def _breakpoint(text: str) -> Event:
    """mem:ADDR[/LEN][:[r][w][x]][:modifiers]; a length of 4 for data, of sizeof(long) for code."""
    location, _colon, rest = text[4:].partition(":")
    address, _slash, length = location.partition("/")
    access, _colon, modifiers = rest.partition(":")
    if not all(c in "rwx" for c in access) or not access:
        if access and not modifiers:
            access, modifiers = "", access
        elif access:
            raise UsageError(f"not an access of a breakpoint: {access}", next_step="write mem:ADDR[/LEN]:rwx")
    kind = sum(bit for c, bit in (("r", 1), ("w", 2), ("x", 4)) if c in (access or "rw"))
    if kind & pe.HW_BREAKPOINT_X and kind != pe.HW_BREAKPOINT_X:
        raise UsageError("a breakpoint is for data (r, w) or for code (x), not for both", where=text)
    default_length = 8 if kind == pe.HW_BREAKPOINT_X else 4
    attr = Attr(
        type=pe.PERF_TYPE_BREAKPOINT,
        bp_type=kind,
        config1=pmus.parse_number(address, "mem"),
        config2=pmus.parse_number(length, "length") if length else default_length,
        sample_period=1,
    )
    return _finish(Event(text, attr), modifiers, text)


def _with_terms(text: str, catalog: Catalog) -> list[Event]:
    name, _slash, rest = text.partition("/")
    body, slash, modifiers = rest.rpartition("/")
    if not slash:
        raise UsageError(f"terms without their closing slash: {text}", next_step="write pmu/term=value/")
    terms = pmus.split_terms(body)
    plain, colon, _ = name.partition(":")
    if plain in SYMBOLIC or colon or (cache := find_cache_event(name)) is not None:
        if plain in SYMBOLIC:
            attr = Attr(type=SYMBOLIC[name][0], config=SYMBOLIC[name][1])
            events = [Event(text, attr)]
        elif colon:
            events = _parse_one(name, catalog)
        else:
            events = [Event(text, Attr(type=pe.PERF_TYPE_HW_CACHE, config=cache or 0))]
        for event in events:
            for term, value in terms:
                _general_term(event, term, value)
            _finish(event, modifiers.removeprefix(":"), text)
        return events
    return _pmu_events(pmus.find_pmus(name, catalog.devices), terms, modifiers.removeprefix(":"), text)


def _pmu_events(
    units: list[pmus.Pmu], terms: list[tuple[str, str]], modifiers: str, text: str
) -> list[Event]:
    events = []
    for pmu in units:
        words, others, named = pmus.encode_terms(pmu, terms)
        event = Event(text, Attr(type=pmu.type, **words))
        event.cpus = pmu.cpus()
        if named:
            event.scale, event.unit = pmu.scale_and_unit(named)
        for term, value in others:
            _general_term(event, term, value)
        events.append(_finish(event, modifiers, text))
    return events


def _general_term(event: Event, name: str, value: str) -> None:
    if name not in pmus.GENERAL_TERMS:
        if name.startswith("config"):
            setattr(event.attr, name, getattr(event.attr, name) | pmus.parse_number(value, name))
            return
        raise UnknownNameError("term", name, pmus.GENERAL_TERMS, next_step="linscope record --help")
    if name == "name":
        event.name = value
    elif name in ("period", "freq", "stack-size", "max-stack"):
        pmus.parse_number(value, name)
    event.terms[name] = value


def _finish(event: Event, modifiers: str, text: str) -> Event:
    _apply_modifiers(event, modifiers, text)
    return event


def _apply_modifiers(event: Event, modifiers: str, text: str) -> None:
    """As tools/perf/util/parse-events.c, get_event_modifier: what is excluded, precision, group reading."""
    attr = event.attr
    if not modifiers:
        if not attr.flags & (pe.ATTR_EXCLUDE_HOST | pe.ATTR_EXCLUDE_USER | pe.ATTR_EXCLUDE_KERNEL):
            attr.flags |= pe.ATTR_EXCLUDE_GUEST
        return
    wrong = [c for c in modifiers if c not in _MODIFIERS]
    if wrong:
        raise UsageError(
            f"no modifier {wrong[0]!r} of events: {text}", why=f"modifiers are {' '.join(_MODIFIERS)}"
        )
    if modifiers.count("p") > 3:
        raise UsageError(f"more than three p: {text}", why="precision goes from p to ppp, P takes the best")
    privilege = pe.ATTR_EXCLUDE_USER | pe.ATTR_EXCLUDE_KERNEL | pe.ATTR_EXCLUDE_HV
    both = pe.ATTR_EXCLUDE_GUEST | pe.ATTR_EXCLUDE_HOST
    hosts_given = False
    allowed = {"u": pe.ATTR_EXCLUDE_USER, "k": pe.ATTR_EXCLUDE_KERNEL, "h": pe.ATTR_EXCLUDE_HV}
    for character in modifiers:
        if character in allowed:
            if not attr.flags & privilege:
                attr.flags |= privilege
            attr.flags &= ~allowed[character]
            if character == "u" and not hosts_given:
                attr.flags |= pe.ATTR_EXCLUDE_GUEST
        elif character in "GH":
            if not hosts_given:
                attr.flags |= both
                hosts_given = True
            attr.flags &= ~(pe.ATTR_EXCLUDE_GUEST if character == "G" else pe.ATTR_EXCLUDE_HOST)
        elif character == "p":
            if not hosts_given:
                attr.flags |= pe.ATTR_EXCLUDE_GUEST
        elif character == "P":
            event.precise_max = True
        elif character == "S":
            event.sample_read = True
        else:
            attr.flags |= {"I": pe.ATTR_EXCLUDE_IDLE, "D": pe.ATTR_PINNED, "e": pe.ATTR_EXCLUSIVE}.get(
                character, 0
            )
    if modifiers.count("p"):
        attr.precise_ip = modifiers.count("p")


def list_events(pattern: str, catalog: Catalog) -> list[str]:
    """Names that match a shell pattern ("" for all), case ignored."""
    from fnmatch import fnmatch

    wanted = pattern.lower()
    return [name for name in catalog.known_names() if not wanted or fnmatch(name.lower(), wanted)]
