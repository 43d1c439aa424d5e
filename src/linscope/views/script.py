"""Every sample as one row, in time order, in the words of perf script."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linscope.abi import perf_event as pe
from linscope.analysis.frames import ResolvedFrames
from linscope.binfmt.perf_records import KIND_EXACT, NO_CPU
from linscope.columns.profile import Loss, Profile
from linscope.errors import UnknownNameError
from linscope.formats.perf_data.details import SampleDetails
from linscope.picture.rows import Column, Rows
from linscope.views.payloads import Payloads
from linscope.views.sample_details import DETAIL_FIELDS, detail_text, detail_values
from linscope.views.trace_lines import TraceLines

FIELDS = (
    "comm",
    "pid",
    "tid",
    "cpu",
    "time",
    "period",
    "event",
    "addr",
    "ip",
    "sym",
    "symoff",
    "dso",
    "srcline",
    "trace",
    *DETAIL_FIELDS,
)
_DEFAULT = frozenset(("comm", "tid", "cpu", "time", "period", "event", "ip", "sym", "symoff", "dso", "trace"))
_BLOCK = 20_000  # rows turned into Python values at once
_CACHED_STACKS = 50_000


def parse_fields(text: str | None) -> frozenset[str]:
    """Fields of a comma list; +F and -F change the default.  Raises UnknownNameError."""
    if text is None:
        return _DEFAULT
    chosen: set[str] = set(_DEFAULT) if text[:1] in "+-" and text else set()
    for word in text.split(","):
        name = word.lstrip("+-")
        if name not in FIELDS:
            raise UnknownNameError("field", name, FIELDS, next_step=f"fields: {','.join(FIELDS)}")
        if word.startswith("-"):
            chosen.discard(name)
        else:
            chosen.add(name)
    return frozenset(chosen)


class _Stacks:
    """Text and values of stacks, made once for those that come again."""

    def __init__(self, profile: Profile, resolved: ResolvedFrames, fields: frozenset[str]) -> None:
        self._profile = profile
        self._resolved = resolved
        self._fields = fields
        self._lines: dict[int, str] = {}
        self._text: dict[int, str] = {}

    def frame_text(self, frame: int) -> str:
        """ "7f12 symbol+0x1a (object)" as perf script has it."""
        found = self._lines.get(frame)
        if found is None:
            found = self._lines[frame] = self._make(frame)
        return found

    def _make(self, frame: int) -> str:
        resolved, fields = self._resolved, self._fields
        words = []
        place = resolved.places[int(resolved.place[frame])]
        after = 0 if self._profile.frames.kind[frame] & KIND_EXACT else 1
        if "ip" in fields:  # of a file: the offset in it
            in_file = place.key.kind in ("user", "vdso")
            shown = (
                int(resolved.address[frame]) + after if in_file else int(self._profile.frames.address[frame])
            )
            words.append(f"{shown:16x}")
        if "sym" in fields:
            name = resolved.name(frame)
            if "symoff" in fields and resolved.symbol[frame] >= 0:
                name += f"+{resolved.offset(frame) + after:#x}"
            words.append(name)
        if "dso" in fields:
            words.append(f"({place.path})")
        line = " ".join(words)
        if "srcline" in fields and (where := resolved.source_line(frame)):
            line += f"\n  {where}"
        return line

    def lines(self, stack: int) -> str:
        """All frames, one a line, the sampled one first."""
        found = self._text.get(stack)
        if found is None:
            if len(self._text) > _CACHED_STACKS:
                self._text.clear()
            frames = self._profile.stacks.frames_of(stack)
            lines = [self.frame_text(f) for f in frames if f < len(self._resolved.place)]
            found = self._text[stack] = "".join(f"\t{line}\n" for line in lines)
        return found

    def values(self, stack: int) -> list[dict[str, Any]]:
        """All frames as values, for JSON."""
        resolved = self._resolved
        return [
            {
                "address": int(self._profile.frames.address[f]),
                "symbol": resolved.name(f) if resolved.symbol[f] >= 0 else None,
                "offset": resolved.offset(f),
                "object": resolved.places[int(resolved.place[f])].path if resolved.place[f] else None,
            }
            for f in self._profile.stacks.frames_of(stack)
            if f < len(resolved.place)
        ]


def script_rows(
    profile: Profile,
    resolved: ResolvedFrames,
    keep: NDArray[np.bool_],
    fields: frozenset[str],
    details: Sequence[SampleDetails | None] | None = None,
) -> Rows:
    """The rows.  details: what each sample carries besides, when a field of them is asked for."""
    if (written := profile.features.get("LATENCY_TEXT")) is not None:  # trace-cmd of a latency tracer keeps text alone
        return Rows([Column("line")], [[line] for line in written.splitlines()], streaming=True, headings=False)
    payloads = Payloads(profile, resolved.symbolizer)
    stacks = _Stacks(profile, resolved, fields)
    columns = [
        Column("line", in_data=False),
        *(
            Column(n, in_text=False)
            for n in ("comm", "pid", "tid", "cpu", "time_ns", "event", "period", "address")
        ),
        Column("fields", in_text=False, value=profile.payload),
        Column("frames", in_text=False, value=stacks.values),
    ]
    if details is not None:
        columns.append(Column("details", in_text=False, value=lambda row: detail_values(details[row])))
    chained = [e.attr is None or bool(e.attr.sample_type & pe.PERF_SAMPLE_CALLCHAIN) for e in profile.events]
    rows = _rows(profile, stacks, keep, fields, payloads, chained, details)
    text = None
    if _like_ftrace(profile, fields) and details is None:
        lines = TraceLines(profile, payloads)
        text = functools.partial(lines.blocks, _order(profile, keep))
    notes = payloads.notes if "trace" in fields else ()
    return Rows(columns, rows, streaming=True, headings=False, notes=notes, text=text)


def _like_ftrace(profile: Profile, fields: frozenset[str]) -> bool:
    """True where lines read as those of trace-cmd report."""
    return "TRACE_CLOCK" in profile.features and fields == _DEFAULT


def _order(profile: Profile, keep: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The samples to show, in time order."""
    samples = profile.samples
    order = np.flatnonzero(keep & (samples.event < len(profile.events)))
    return order[np.argsort(samples.time_ns[order], kind="stable")]


def _rows(
    profile: Profile,
    stacks: _Stacks,
    keep: NDArray[np.bool_],
    fields: frozenset[str],
    payloads: Payloads,
    chained: list[bool],
    details: Sequence[SampleDetails | None] | None,
) -> Iterator[Sequence[Any]]:
    samples = profile.samples
    order = _order(profile, keep)
    width = max((len(event.name) for event in profile.events), default=0)
    tracepoint = [e.attr is not None and e.attr.type == pe.PERF_TYPE_TRACEPOINT for e in profile.events]
    like_ftrace = _like_ftrace(profile, fields)
    ticks = "TRACE_CLOCK_TICKS" in profile.features
    names = [f"{event.name.partition(':')[2] + ':':<21}" for event in profile.events]
    tasks: dict[tuple[int, int, int], str] = {}
    instances = profile.features.get("INSTANCES", []) if like_ftrace else []
    first_samples = [first for first, _ in instances]
    widest = max((len(name) for _, name in instances), default=0) + 2
    prefixes = [(name and f"{name}: ").ljust(widest) for _, name in instances]
    losses = _losses_by_cpu(profile) if like_ftrace else {}
    with_frames = bool(fields & {"ip", "sym", "dso"}) and not like_ftrace  # which has lines of events of their own
    machine = str(profile.features.get("ARCH", ""))
    more: tuple[int, ...]
    for begin in range(0, len(order), _BLOCK):
        rows = order[begin : begin + _BLOCK]
        block = zip(
            rows.tolist(),
            samples.comm[rows].tolist(),
            samples.pid[rows].tolist(),
            samples.tid[rows].tolist(),
            samples.cpu[rows].tolist(),
            samples.time_ns[rows].tolist(),
            samples.event[rows].tolist(),
            samples.weight[rows].tolist(),
            samples.address[rows].tolist(),
            samples.stack[rows].tolist(),
            strict=True,
        )
        texts = payloads.texts(rows) if "trace" in fields else {}
        for row, comm_number, pid, tid, cpu, time, event, period, address, stack in block:
            comm = profile.comms[comm_number]
            text = texts.get(row)
            head = []
            if like_ftrace:
                task = tasks.get((comm_number, tid, cpu))
                if task is None:
                    task = tasks[comm_number, tid, cpu] = f"{comm:>16}-{_signed(tid):<5} [{cpu:03d}]"
                micros = (time + 500) // 1000  # trace-cmd report rounds
                stamp = f"{time:12d}" if ticks else f" {micros // 1000000:5d}.{micros % 1000000:06d}"
                if prefixes:
                    task = prefixes[bisect.bisect_right(first_samples, row) - 1] + task
                if cpu in losses and losses[cpu][0].time_ns <= time:
                    before = len(prefixes[0]) if prefixes else 0
                    task = task[:before] + _dropped(losses, cpu) + task[before:]
                head.append(f"{task}{stamp}: {names[event]}")
            else:
                if "comm" in fields:
                    head.append(comm if chained[event] else f"{comm:>16}")
                if "pid" in fields:
                    head.append(f"{_signed(pid):7}/{_signed(tid):<7}" if "tid" in fields else f"{_signed(pid):7}")
                elif "tid" in fields:
                    head.append(f"{_signed(tid):7}")
                if "cpu" in fields and cpu != NO_CPU:
                    head.append(f"[{cpu:03d}]")
                if "time" in fields:
                    head.append(f"{time // 10**9:5d}.{time % 10**9 // 1000:06d}:")
                if "period" in fields and not tracepoint[event]:
                    head.append(f"{period:10d}")
                if "event" in fields:
                    head.append(f"{profile.events[event].name + ':':>{width + 1}}")
                if "addr" in fields:
                    head.append(f"{address:16x}")
            if text is not None:
                head.append(text.removesuffix("\n"))
            line = " ".join(head)
            if with_frames and not chained[event] and not tracepoint[event]:
                line += " " + stacks.lines(stack).strip("\t\n")
            if details is not None:
                line = f"{line} {detail_text(details[row], fields, machine)}".rstrip()
            if with_frames and chained[event]:
                line += f" \n{stacks.lines(stack)}"
            number = None if cpu == NO_CPU else cpu
            name = profile.events[event].name
            more = (row,) if details is not None else ()
            yield line, comm, _signed(pid), _signed(tid), number, time, name, period, address, row, stack, *more


def _losses_by_cpu(profile: Profile) -> dict[int, list[Loss]]:
    """Losses of each CPU, the first one first."""
    found: dict[int, list[Loss]] = {}
    for loss in sorted(profile.losses, key=lambda loss: loss.time_ns):
        if not loss.of_event:  # else counted at the end, without a time
            found.setdefault(loss.cpu, []).append(loss)
    return found


def _dropped(losses: dict[int, list[Loss]], cpu: int) -> str:
    """The line of trace-cmd report for the CPU's next loss, which is taken out; one event: the kernel did not count."""
    loss = losses[cpu].pop(0)
    if not losses[cpu]:
        del losses[cpu]
    return f"CPU:{cpu} [{f'{loss.lost} ' if loss.lost > 1 else ''}EVENTS DROPPED]\n"


def _signed(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number
