"""Hist triggers: what the kernel prints of them, parsed; and triggers that measure between two events, composed.

Source: Documentation/trace/histogram.rst; kernel/trace/trace_events_hist.c, hist_trigger_entry_print.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from linscope.binfmt.event_format import EventFormat
from linscope.errors import UnknownNameError, UsageError

Cell = int | float | str
_INFO = "# trigger info: hist:"
_VALUE = re.compile(r"(\S+?)(?: \((%)\))?: +(\S+)")
_FRACTION = re.compile(r"\d+\.\d*|\.\d+")
_TOTAL = re.compile(r" {4}(Hits|Entries|Dropped): (\d+)")


@dataclass
class Histogram:
    """One hist trigger of one event, as it stood when it was read."""

    trigger: str  # as the kernel repeats it: "keys=next_comm:vals=hitcount:sort=hitcount:size=2048"
    keys: list[str]  # with their modifiers: "bytes_req.log2"
    values: list[str] = field(default_factory=list)
    rows: list[tuple[list[Cell], list[Cell]]] = field(default_factory=list)  # (keys, values) in the kernel's order
    saved: list[dict[str, Cell]] = field(default_factory=list)  # what onmax() and onchange() kept, by row
    hits: int = 0
    dropped: int = 0  # events that found no room in the table

    def __repr__(self) -> str:
        return f"<histogram {self.trigger}: {len(self.rows)} rows of {self.hits} hits>"


def cell(text: str) -> Cell:
    """A number where the text is one."""
    text = text.strip()
    try:
        return int(text)
    except ValueError:
        return float(text) if _FRACTION.fullmatch(text) else text


def parse_histograms(text: str) -> list[Histogram]:
    """All histograms in the text of an event's file ``hist``."""
    found: list[Histogram] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(_INFO):
            trigger = line.removeprefix(_INFO).rsplit(" [", 1)[0]
            keys = next((part for part in split_trigger(trigger) if part.startswith(("keys=", "key="))), "keys=")
            found.append(Histogram(trigger, keys.partition("=")[2].split(",")))
        elif not found:
            continue
        elif line.startswith("{"):
            while "}" not in line:  # a stack has a line a frame
                line += "\n" + next(lines, "}")
            _add_row(found[-1], line)
        elif line.startswith("\t") and found[-1].rows:
            for name, _, value in _VALUE.findall(line):
                found[-1].saved[-1][name] = cell(value)
        elif match := _TOTAL.match(line):
            if match[1] == "Hits":
                found[-1].hits = int(match[2])
            elif match[1] == "Dropped":
                found[-1].dropped = int(match[2])
    return found


def split_trigger(trigger: str) -> list[str]:
    """The parts between colons, without the condition behind " if "."""
    return trigger.partition(" if ")[0].split(":")


def _add_row(histogram: Histogram, text: str) -> None:
    inside, _, values = text[1:].rpartition("}")
    starts = []
    at = 0
    for key in histogram.keys:  # each is written "name: value", the name without its modifier
        name = key.partition(".")[0]
        at = inside.find(f" {name}:", at)
        if at < 0:
            at = inside.find(f"{name}:")
        starts.append((at, at + len(name) + 2))
        at += 1
    cells: list[Cell] = []
    for number, (_, begin) in enumerate(starts):
        end = starts[number + 1][0] - 1 if number + 1 < len(starts) else len(inside)
        cells.append(_key_cell(inside[begin:end]))
    numbers: list[Cell] = []
    names = []
    for name, percent, value in _VALUE.findall(values):
        names.append(name + (".percent" if percent else ""))
        numbers.append(cell(value))
    histogram.values = histogram.values or names
    histogram.rows.append((cells, numbers))
    histogram.saved.append({})


def _key_cell(text: str) -> Cell:
    """A key's value; a stack becomes its frames joined by semicolons, the outermost first."""
    if "\n" in text:
        frames = [line.strip() for line in text.splitlines() if line.strip()]
        return ";".join(reversed(frames))
    return cell(text.strip().removeprefix("~ "))


def bucket_start(value: Cell) -> float:
    """The lower bound of a bucket's text ("2^5", "100-199"), for sorting; a number is its own."""
    if isinstance(value, (int, float)):
        return float(value)
    low, sign, high = value.partition("^")
    if sign and low == "2" and high.strip().isdigit():
        return float(1 << int(high))
    low = value.partition("-")[0]
    return float(low) if low.isdigit() else 0.0


@dataclass(frozen=True)
class LatencyTriggers:
    """The pieces that make the kernel measure from one event to another."""

    synthetic: str  # definition of the synthetic event
    first: str  # trigger of the first event
    second: str  # trigger of the second
    result: str  # trigger of the synthetic event


def latency_triggers(
    name: str,
    first: EventFormat,
    second: EventFormat,
    keys: tuple[str, str],
    *,
    condition: str = "",
    by_key: bool = False,
) -> LatencyTriggers:
    """Triggers for the microseconds from an event to the next other one with the same key.

    name: of the synthetic event; keys: field of the first = field of the second; condition: filter of the first;
    by_key: also one row a key.  Raises UnknownNameError.
    """
    key_type = ""
    for form, key in zip((first, second), keys, strict=True):
        fields = {one.name: one for one in (*form.common, *form.fields)}
        if key not in fields:
            raise UnknownNameError(f"field of {form.system}:{form.name}", key, fields)
        key_type = fields[key].type
        if fields[key].length:
            raise UsageError(f"{key} is no number", next_step="--key a=b with fields that hold numbers")
    match = f"onmatch({first.system}.{first.name})"
    suffix = f" if {condition}" if condition else ""
    shown = "key,lat.log2" if by_key else "lat.log2"
    return LatencyTriggers(
        synthetic=f"{name} u64 lat; {key_type} key",
        first=f"hist:keys={keys[0]}:ts0=common_timestamp.usecs{suffix}",
        second=f"hist:keys={keys[1]}:lat=common_timestamp.usecs-$ts0:{match}.{name}($lat,{keys[1]})",
        result=f"hist:keys={shown}:vals=hitcount,lat:sort=lat",
    )


def iter_bars(counts: list[int], width: int = 40) -> Iterator[str]:
    """A bar for each count, the largest as wide as asked for."""
    most = max(counts, default=0) or 1
    for count in counts:
        eighths = round(count * width * 8 / most)
        yield "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
