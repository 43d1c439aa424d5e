"""Let the kernel count: hist triggers in a private instance while a command runs, read back as tables."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import NamedTuple

from linscope.errors import NotInKernel, SystemCallError, UsageError
from linscope.session.tracing.error_log import ErrorLog
from linscope.session.tracing.instance import FILES_NEED
from linscope.session.tracing.options import TraceOptions
from linscope.session.tracing.session import TraceSession
from linscope.sources.histograms import Histogram, LatencyTriggers, latency_triggers, parse_histograms, split_trigger
from linscope.sources.known_pairs import find_pair
from linscope.sources.trace_events import find_events, read_format
from linscope.sys.tracefs import read_bytes


class HistResult(NamedTuple):
    """What the kernel counted."""

    histograms: list[tuple[str, Histogram]]  # with the event that each belongs to
    exit_status: int
    interrupted: bool
    notes: Sequence[str]


def split_event(text: str) -> tuple[str, str]:
    """("sched:sched_switch", "hist:keys=...") of "sched:sched_switch:keys=...", also behind a "hist:".

    Raises UsageError.
    """
    parts = text.removeprefix("hist:").split(":", 2)
    if len(parts) < 3 or "=" in parts[0] or "=" in parts[1]:
        raise UsageError(f"not a histogram: {text!r}", next_step="'sched:sched_switch:keys=next_comm'")
    words = split_trigger(parts[2])
    if not any(word.startswith(("keys=", "key=")) for word in words):
        raise UsageError(f"a histogram needs keys: {text!r}", next_step=f"'{parts[0]}:{parts[1]}:keys=FIELD'")
    return f"{parts[0]}:{parts[1]}", "hist:" + parts[2].replace("values=", "vals=", 1)


def _add_synthetic(session: TraceSession, definition: str) -> None:
    """Define a synthetic event, which exists once for all instances, until the end.  Raises UsageError."""
    log = ErrorLog(session.instance.tracefs)
    name = definition.split()[0]
    try:
        session.instance.define("synthetic_events", definition, undo=f"!{definition}")
    except SystemCallError as error:
        if error.errno in (errno.EEXIST, errno.EBUSY):
            raise UsageError(f"there is a synthetic event {name} already", next_step="another name") from None
        raise log.error("the synthetic event", definition) from None


def count(
    command: Sequence[str] | None, triggers: Sequence[str], options: TraceOptions, *, synthetic: Sequence[str] = ()
) -> HistResult:
    """Count with hist triggers while a command runs (or what the options name).

    triggers: "SYSTEM:EVENT:keys=...", set in this order; synthetic: definitions of synthetic events they use.
    Raises UsageError with the kernel's reason and a caret, PermissionDenied, NotInKernel.
    """
    pairs = [split_event(text) for text in triggers]
    with TraceSession(command, options) as session:
        _need(session, bool(synthetic))
        for definition in synthetic:
            _add_synthetic(session, definition)
        events = []
        for event, trigger in pairs:
            system, name = _one_event(session, event)
            session.add_trigger(system, name, trigger)
            events.append((system, name))
        return _run(session, list(dict.fromkeys(events)))


def count_latency(
    command: Sequence[str] | None,
    events: tuple[str, str],
    options: TraceOptions,
    *,
    keys: tuple[str, str] | None = None,
    condition: str = "",
    by_key: bool = False,
) -> HistResult:
    """Count microseconds from one event to the next other one with the same key, all inside the kernel.

    keys: field of the first, field of the second; None for what is known of the pair.  condition: filter of the first.
    """
    with TraceSession(command, options) as session:
        _need(session, True)
        first, second = (_one_event(session, event) for event in events)
        keys = keys or _known_keys(":".join(first), ":".join(second))
        tracefs = session.instance.tracefs
        name = f"linscope_{os.getpid()}_lat"
        made: LatencyTriggers = latency_triggers(
            name, read_format(tracefs, *first), read_format(tracefs, *second), keys, condition=condition, by_key=by_key
        )
        _add_synthetic(session, made.synthetic)
        session.add_trigger(*first, made.first)
        session.add_trigger(*second, made.second)
        session.add_trigger("synthetic", name, made.result)
        result = _run(session, [("synthetic", name)])
        label = f"{events[0]}..{events[1]}"
        return result._replace(histograms=[(label, one) for _, one in result.histograms])


_PSEUDO = {"tid": "common_pid", "cpu": "common_cpu"}


def _known_keys(first: str, second: str) -> tuple[str, str]:
    """The fields by which two events belong together.  Raises UsageError when that is not known."""
    pair = find_pair(first, second)
    if pair is None:
        raise UsageError(f"what do {first} and {second} have in common?", next_step="--key FIELD=FIELD")
    if len(pair.key) > 1:
        step = f"linscope events record, then linscope heat --event {first}..{second}"
        raise UsageError(f"{first}..{second} needs more than one key", next_step=step)
    one, other = pair.key[0]
    return _PSEUDO.get(one, one), _PSEUDO.get(other, other)


def _need(session: TraceSession, synthetic: bool) -> None:
    """Raises NotInKernel where the kernel does not count."""
    instance = session.instance
    if not instance.has("events/sched/sched_switch/hist"):
        what, file = "hist triggers", "hist"
    elif synthetic and not os.path.exists(f"{instance.tracefs}/synthetic_events"):
        what, file = "synthetic events", "synthetic_events"
    else:
        return
    raise NotInKernel(f"the running kernel has no {what}", why=f"{FILES_NEED[file]} is not set", next_step=_LAB)


_LAB = "linscope lab run -- linscope hist ..."


def _one_event(session: TraceSession, event: str) -> tuple[str, str]:
    found = find_events(session.instance.tracefs, event)
    if len(found) > 1 and ":" not in event:
        names = " or ".join(f"{system}:{name}" for system, name in found[:3])
        raise UsageError(f"{event} is more than one event", next_step=names)
    return found[0]


def _run(session: TraceSession, events: list[tuple[str, str]]) -> HistResult:
    session.run()
    found: list[tuple[str, Histogram]] = []
    for system, name in events:
        text = read_bytes(f"{session.instance.path}/events/{system}/{name}/hist").decode(errors="replace")
        found += [(f"{system}:{name}", one) for one in parse_histograms(text)]
    return HistResult(found, session.exit_status, session.interrupted, session.notes)


