"""What a heat map shows, measured: intervals between events, moments within a second, or sizes; one row a point."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linscope.analysis.event_filter import rows_where, text_codes
from linscope.analysis.event_rows import EventRows, backward_steps, find_events
from linscope.analysis.filters import Filter, compile_pattern, main_event
from linscope.analysis.frames import ResolvedFrames
from linscope.analysis.intervals import REPEATS, key_codes, match, spans_a_loss
from linscope.columns.profile import Profile
from linscope.errors import UnknownNameError, UsageError
from linscope.sources.known_pairs import LAST, PAIRS, Pair, find_pair
from linscope.units import format_duration

Index = NDArray[np.int64]
KINDS = ("latency", "offset", "size")
NO_PID = 0xFFFFFFFF
_FRAMES_NS = (10**9, 10**8, 10**7, 10**6)  # of the map by offset: a second, less for what took only seconds
_MIN_FRAMES = 8
# Fields that say how much, with what they count; the first that an event has is taken.
_SIZES = {
    "bytes": "bytes", "bytes_alloc": "bytes", "bytes_req": "bytes", "nr_sector": "sectors", "nr_sectors": "sectors",
    "len": "bytes", "size": "bytes", "count": "", "nr_pages": "pages", "data_len": "bytes", "length": "bytes",
    "nr_bytes": "bytes", "ret": "",
}  # fmt: skip
# Fields of one name in two events that do not tell which thing the events are about.
_NO_KEYS = frozenset((
    *_SIZES, "comm", "prio", "flags", "state", "ip", "caller", "error", "order", "type", "rwbs", "cmd", "errors",
    "target_cpu", "name", "offset", "pos", "mode", "func", "function", "args", "__syscall_nr", "nr", "now",
))  # fmt: skip


@dataclass(frozen=True)
class Question:
    """What to measure; None: what fits the recording and the events."""

    event: str | None = None  # "A..B", "A"; names with or without their system, or globs
    by: str | None = None  # one of KINDS
    key: str | None = None  # "pid=next_pid,cpu": field of A = field of B; one name for both
    repeat: str | None = None  # one of intervals.REPEATS
    where: str | None = None  # a condition on start.FIELD, end.FIELD, latency; a bare name: start's, else end's
    field: str | None = None  # of A, for sizes
    frame_ns: int | None = None  # of the map by offset: how long a column is
    stack: str = "auto"  # whose stack counts: "start", "end"; auto: start's, if it has any


@dataclass
class Points:
    """The points of a heat map, in time order; columns of one length."""

    by: str
    title: str  # "scheduler wakeup latency"
    what: str  # of the value: "latency", "offset", "nr_sector"
    unit: str  # of value: "ns", "bytes", "sectors", "pages" or ""
    events: str  # "sched:sched_waking..sched:sched_switch"
    key_name: str  # "pid=next_pid"; "" for single events
    time_ns: Index  # when it ended, by the recording's clock
    value: Index  # >= 0
    start: Index  # sample numbers
    end: Index  # the same as start for single events
    stack_sample: Index  # the sample whose stack counts
    key: Index  # code of the key; see key_text
    tid: NDArray[np.uint32]  # the thread that it is about
    pid: NDArray[np.uint32]  # NO_PID: not known
    comm: Index  # index into comms
    cpu: NDArray[np.uint32]  # where it ended
    doubtful: NDArray[np.bool_]  # events were lost on its CPU meanwhile
    comms: list[str]
    frame_ns: int = 0  # of the map by offset
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)  # starts, ends, repeated, open, ends without start
    key_columns: list[tuple[str, Any]] = field(default_factory=list)  # of each interval: the key's fields

    def __len__(self) -> int:
        return len(self.time_ns)

    def take(self, rows: NDArray[Any]) -> Points:
        """The points of a mask or an index."""
        count = len(self)
        changed: dict[str, Any] = {}
        for one in fields(self):
            column = getattr(self, one.name)
            if isinstance(column, np.ndarray) and len(column) == count:
                changed[one.name] = column[rows]
        number = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        changed["key_columns"] = [(name, _take(column, number)) for name, column in self.key_columns]
        return replace(self, **changed)

    def key_text(self, row: int) -> str:
        """ "dev=8388608 sector=2048" of a point."""
        return " ".join(f"{name}={_shown(column[row])}" for name, column in self.key_columns)


def measure(profile: Profile, question: Question) -> Points:
    """Answer the question.  Raises UsageError or UnknownNameError for one that does not fit the recording."""
    if question.by not in (None, *KINDS):
        raise UsageError(f"not a kind of heat map: {question.by!r}", next_step=", ".join(KINDS))
    spec = question.event
    if spec is None:
        pairs = question.by in (None, "latency")
        spec = _default_events(profile) if pairs else profile.events[main_event(profile)].name
    start, dots, end = spec.partition("..")
    by = question.by or ("latency" if dots else "offset")
    if by == "latency" and not dots:
        raise UsageError(
            f"one event has no latency: {spec!r}",
            next_step=f"--event {spec}..END, or --event {spec}..{spec} for the time from one to the next",
        )
    if by != "latency" and dots:
        raise UsageError(f"a heat map by {by} is of one event, not {spec!r}", next_step=f"--event {start} --by {by}")
    if not start or (dots and not end):
        raise UsageError(f"not an event: {spec!r}", next_step="write it as A..B or A")
    if dots:
        points = _intervals(profile, start, end, question)
    elif by == "offset":
        points = _offsets(profile, start, question)
    else:
        points = _sizes(profile, start, question)
    if steps := backward_steps(profile):
        often = "once" if steps == 1 else f"{steps:,} times"
        points.notes.append(f"the clock went back {often} between events of one CPU; events are taken by time")
    return points.take(np.argsort(points.time_ns, kind="stable"))


def _default_events(profile: Profile) -> str:
    """The first known pair that the recording has, else its main event."""
    names = [event.name for event in profile.events]
    counts = np.bincount(profile.samples.event, minlength=1 << 16)
    names = [name for number, name in enumerate(names) if counts[number]]
    if not names:
        if not profile.events:
            raise UsageError("the recording has no events", where=profile.where)
        return profile.events[0].name
    for pair in PAIRS:
        for start in names:
            if any(find_pair(start, end) is pair for end in names):
                glob = "*" in pair.start
                return f"{pair.start}..{pair.end}" if glob else f"{start}..{pair.end}"
    return profile.events[main_event(profile)].name


def _intervals(profile: Profile, start: str, end: str, question: Question) -> Points:
    starts = EventRows(profile, find_events(profile, start))
    ends = EventRows(profile, find_events(profile, end))
    known = find_pair(starts.names[0], ends.names[0])
    chosen, how = _key(question.key, known, starts, ends)
    if question.key:
        known = known._replace(idle=None, task=("", "")) if known and chosen != known.key else known
    left = [starts.column(name) for name, _ in chosen]
    right = [ends.column(name) for _, name in chosen]
    kept_starts, kept_ends = (_not_idle(column, known) for column in (left[0], right[0]))
    codes = key_codes(left, right)
    repeat = question.repeat or (known.repeat if known else LAST)
    if repeat not in REPEATS:
        raise UsageError(f"not a way to match: {repeat!r}", next_step=", ".join(REPEATS))
    found = match(
        (codes[0][kept_starts], starts.times()[kept_starts], starts.samples[kept_starts]),
        (codes[1][kept_ends], ends.times()[kept_ends], ends.samples[kept_ends]),
        repeat,
    )
    first, last = kept_starts[found.start], kept_ends[found.end]
    begun, ended = starts.samples[first], ends.samples[last]
    time = ends.times()[last]
    value = time - starts.times()[first]
    task = known.task if known else ("", "")
    comms, comm, tid, pid = _task(profile, ends, last, begun, task)
    same = [a if a == b else f"{a}={b}" for a, b in chosen]
    names = [a for a, _ in chosen]
    points = Points(
        by="latency",
        title=_capital(known.title) if known and chosen == known.key else "Latency",
        what="latency",
        unit="ns",
        events=f"{_event_names(starts, start)}..{_event_names(ends, end)}",
        key_name=",".join(same),
        time_ns=time,
        value=value,
        start=begun,
        end=ended,
        stack_sample=ended if _stack_of_end(profile, question.stack, begun, ended) else begun,
        key=codes[0][first].astype(np.int64),
        tid=tid,
        pid=pid,
        comm=comm,
        cpu=profile.samples.cpu[ended],
        doubtful=spans_a_loss(profile, begun, ended),
        comms=comms,
        counts={
            "starts": len(kept_starts), "ends": len(kept_ends), "repeated": found.repeated,
            "open": found.open, "lone_ends": found.ends,
        },
        key_columns=[(name, _take(column, first)) for name, column in zip(names, left, strict=True)],
    )  # fmt: skip
    if question.where:
        points = points.take(_where(question.where, points, starts, ends, first, last))
    points.notes += [*([how] if how else []), *_matching_notes(points, starts, ends)]
    return points


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _not_idle(column: Any, known: Pair | None) -> Index:
    """Places of the events that are about something."""
    if known is None or known.idle is None:
        return np.arange(len(column))
    return np.flatnonzero(column != known.idle)


def _key(
    wanted: str | None, known: Pair | None, starts: EventRows, ends: EventRows
) -> tuple[tuple[tuple[str, str], ...], str]:
    """(pairs of fields, what the reader has to know about the choice)."""
    if wanted:
        chosen = []
        for part in wanted.split(","):
            left, _, right = part.partition("=")
            chosen.append((left.strip(), (right or left).strip()))
        return tuple(chosen), ""
    if known and all(starts.has(a) and ends.has(b) for a, b in known.key):
        return known.key, ""
    if starts.events == ends.events:
        return (("tid", "tid"),), "matched by thread; --key chooses fields"
    theirs = set(ends.fields)
    common = [name for name in starts.fields if name in theirs and name not in _NO_KEYS]
    if common:
        return tuple((name, name) for name in common), f"matched by {', '.join(common)}, which both have; --key chooses"
    return (("tid", "tid"),), "matched by thread; --key chooses fields"


def _task(
    profile: Profile, ends: EventRows, last: Index, begun: Index, task: tuple[str, str]
) -> tuple[list[str], Index, NDArray[np.uint32], NDArray[np.uint32]]:
    """(names, index of the name, thread, process) of the task that each interval is about."""
    samples = profile.samples
    tid_field, comm_field = task
    if not tid_field or not {tid_field, comm_field} <= set(ends.fields):
        return profile.comms, samples.comm[begun].astype(np.int64), samples.tid[begun], samples.pid[begun]
    tid = ends.column(tid_field)[last].astype(np.uint32)
    codes, texts = text_codes(_take(ends.column(comm_field), last))
    known, number = np.unique(samples.tid, return_index=True)
    at = np.minimum(np.searchsorted(known, tid), max(len(known) - 1, 0))
    seen = known[at] == tid if len(known) else np.zeros(len(tid), np.bool_)
    pid = np.where(seen, samples.pid[number[at]] if len(known) else 0, NO_PID).astype(np.uint32)
    return texts, codes, tid, pid


def _stack_of_end(profile: Profile, wanted: str, begun: Index, ended: Index) -> bool:
    if wanted in ("start", "end"):
        return wanted == "end"
    if wanted != "auto":
        raise UsageError(f"no such stack: {wanted!r}", next_step="start or end")
    stack = profile.samples.stack
    return bool(len(begun)) and not stack[begun].any() and bool(stack[ended].any())


def _where(
    condition: str, points: Points, starts: EventRows, ends: EventRows, first: Index, last: Index
) -> NDArray[np.bool_]:
    """True for the intervals that meet the condition."""

    def column_of(name: str) -> Any:
        if name in ("latency", "latency_ns"):
            return points.value
        side, dot, bare = name.partition(".")
        if dot and side in ("start", "end"):
            rows, places = (starts, first) if side == "start" else (ends, last)
            return _take(rows.column(bare), places)
        if name in starts.fields:
            return _take(starts.own(name), first)
        if name in ends.fields:
            return _take(ends.own(name), last)
        if not starts.has(name):
            known = [*dict.fromkeys([*starts.fields, *ends.fields]), "latency", "comm", "pid", "tid", "cpu"]
            raise UnknownNameError("field of these events", name, known, next_step=f"they have: {', '.join(known)}")
        return _take(starts.column(name), first)

    return rows_where(condition, column_of)


def _matching_notes(points: Points, starts: EventRows, ends: EventRows) -> list[str]:
    counts = points.counts
    begin, finish = starts.names[0].partition(":")[2], ends.names[0].partition(":")[2]
    texts = (
        (counts["repeated"], f"{begin} came again before the end"),
        (counts["open"], f"{begin} without an end in the recording"),
        (counts["lone_ends"], f"{finish} without a start"),
        (int(points.doubtful.sum()), "intervals are doubtful: events were lost on their CPU meanwhile"),
    )
    return [f"{count:,} {text}" for count, text in texts if count]


def _event_names(rows: EventRows, asked: str) -> str:
    return rows.names[0] if len(rows.names) == 1 else asked


def _single(profile: Profile, name: str, question: Question) -> tuple[EventRows, Points]:
    """The points of one event, without values yet."""
    for option, value in (("--key", question.key), ("--repeat", question.repeat)):
        if value:
            raise UsageError(f"{option} is for intervals", next_step=f"--event {name}..END")
    rows = EventRows(profile, find_events(profile, name))
    samples, chosen = profile.samples, rows.samples
    points = Points(
        by="", title="", what="", unit="ns", events=_event_names(rows, name), key_name="",
        time_ns=rows.times(), value=np.zeros(len(rows), np.int64), start=chosen, end=chosen, stack_sample=chosen,
        key=np.zeros(len(rows), np.int64), tid=samples.tid[chosen], pid=samples.pid[chosen],
        comm=samples.comm[chosen].astype(np.int64), cpu=samples.cpu[chosen],
        doubtful=np.zeros(len(rows), np.bool_), comms=profile.comms,
    )  # fmt: skip
    return rows, points


def _only_where(points: Points, rows: EventRows, where: str | None) -> Points:
    return points if not where else points.take(rows_where(where, rows.column))


def _offsets(profile: Profile, name: str, question: Question) -> Points:
    rows, points = _single(profile, name, question)
    frame = question.frame_ns
    if frame is None:
        length = int(points.time_ns.max() - points.time_ns.min()) if len(points) else 0
        frame = next((one for one in _FRAMES_NS if length >= _MIN_FRAMES * one), _FRAMES_NS[-1])
    if frame < 1:
        raise UsageError("a column of no time", next_step="--period 1s")
    unit = "second" if frame == 10**9 else format_duration(frame).replace(".00", "")
    points = replace(points, by="offset", title=f"When in each {unit}", what="offset", frame_ns=frame)
    points.value = points.time_ns % frame
    return _only_where(points, rows, question.where)


def _sizes(profile: Profile, name: str, question: Question) -> Points:
    rows, points = _single(profile, name, question)
    numbers = rows.numeric_fields()
    wanted = question.field
    if wanted is None:
        wanted = next((one for one in _SIZES if one in numbers), None)
        if wanted is None:
            have = f"it has: {', '.join(numbers)}" if numbers else "it has no numbers"
            raise UsageError(f"which field of {points.events} is its size?", next_step=f"--field NAME; {have}")
    column = rows.own(wanted)
    if wanted not in numbers:
        raise UsageError(f"the field {wanted!r} of {points.events} is no number", next_step=", ".join(numbers))
    column = np.minimum(column, 2**62) if column.dtype == np.uint64 else column
    points = replace(points, by="size", title=f"{wanted} of {points.events}", what=wanted, unit=_SIZES.get(wanted, ""))
    points.value = np.minimum(column.astype(np.int64), 2**62)
    points = _only_where(points, rows, question.where)
    below = points.value < 0
    if below.any():
        points = points.take(~below)
        points.notes.append(f"{int(below.sum()):,} events with a negative {wanted} are not shown")
    return points


def kept(points: Points, keep: Filter, profile: Profile, resolved: ResolvedFrames | None) -> NDArray[np.bool_]:
    """True for the points that a filter keeps: by the task they are about, the CPU and time they ended at, their stack.

    keep.event is not looked at.  Raises UsageError for a pattern that is no regular expression.
    """
    mask = np.ones(len(points), np.bool_)
    if keep.comm is not None:
        search = compile_pattern(keep.comm)
        mask &= np.array([search(name) is not None for name in points.comms], np.bool_)[points.comm]
    for wanted, column in ((keep.pid, points.pid), (keep.tid, points.tid), (keep.cpu, points.cpu)):
        if wanted is not None:
            mask &= np.isin(column, np.array(sorted(wanted), np.uint32))
    first, last = keep.time
    if first is not None:
        mask &= points.time_ns >= first
    if last is not None:
        mask &= points.time_ns <= last
    if keep.dso is not None or keep.symbol is not None:
        mask &= Filter(dso=keep.dso, symbol=keep.symbol).rows(profile, resolved)[points.stack_sample]
    return mask


def _take(column: Any, rows: Any) -> Any:
    if isinstance(column, np.ndarray):
        return column[rows]
    return [column[i] for i in rows.tolist()]


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return value.split(b"\0", 1)[0].decode(errors="replace")
    return str(value)
