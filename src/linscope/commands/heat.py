"""linscope heat"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from linscope.commands import _options
from linscope.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from linscope.picture.rows import Rows
    from linscope.pictures import HeatPicture, Limits

_FORMS = (".html", ".svg", ".txt")


class Heat:
    """A heat map of latencies between two events, or of when or how large one event is."""

    summary = "Latencies between two events over time, as a heat map."
    examples = (
        "linscope heat perf.data --event sched_waking..sched_switch -o heat.html",
        "linscope heat perf.data --event sys_enter..sys_exit --where 'id == 0'",
        "linscope heat trace.dat --event irq_handler_entry..irq_handler_exit --cpu 1",
        "linscope heat perf.data --select 10%,20%,5ms, --flame slow.html",
        "linscope heat perf.data --event cpu-clock --by offset -o subsecond.html",
    )
    formats = True
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        _options.add_recording(parser)
        parser.add_argument("--by", choices=("latency", "offset", "size"), help="latency of A..B, offset or size of A")
        parser.add_argument("--key", metavar="A=B,..", help="fields by which A and B belong together; also tid, cpu")
        parser.add_argument("--where", metavar="COND", help="'start.id == 0 && end.ret < 0 || latency > 1000'")
        parser.add_argument("--repeat", choices=("last", "first", "nested"), help="of several A before a B")
        parser.add_argument("--field", metavar="NAME", help="the size, by --by size")
        parser.add_argument("--period", metavar="T", help="time of a column, by --by offset (1s)")
        parser.add_argument("--scale", choices=("auto", "log", "linear"), default="auto", help="of the values")
        parser.add_argument("--range", metavar="LO,HI", help="values to draw: 10us,5ms")
        parser.add_argument("--stack", choices=("auto", "start", "end"), default="auto", help="whose call chain counts")
        parser.add_argument(
            "--weight", choices=("period", "samples"), default="period", help="flame graphs by time or by count"
        )
        parser.add_argument("--select", metavar="T,T,LO,HI", help="print the events of this rectangle: 12.5,13,1ms,")
        parser.add_argument("--flame", metavar="FILE", help="write the flame graph (.html, .svg, .txt) of them")
        parser.add_argument("--title", default="", help="title of the picture")
        parser.add_argument("--width", type=int, help="width of SVG in pixels (1200) or of text in columns")
        _options.add_filters(parser, event="A..B: from A to the next B of its key; or A alone")
        _options.add_symbols(parser)

    def run(self, arguments: argparse.Namespace) -> Rows | None:
        """Read the recording, then draw it, or print the intervals."""
        from linscope.units import parse_duration

        output = arguments.output
        if arguments.format == "text" and not arguments.select and output not in (None, "-"):
            _must_be_picture(output)
        if arguments.flame:
            _must_be_picture(arguments.flame)
        if arguments.select and output and output.endswith(_FORMS[:2]):
            raise UsageError("a selection is rows, not a picture", next_step=f"--flame {output} for its flame graph")
        recording = _options.open_file(arguments, tables=True)
        picture = recording.heat(
            arguments.event,
            keep=replace(_options.filter_of(arguments, recording), event=None),
            title=arguments.title,
            scale=arguments.scale,
            limits=_values(arguments.range) if arguments.range else (None, None),
            weight=arguments.weight,
            command=_command(arguments),
            by=arguments.by,
            key=arguments.key,
            where=arguments.where,
            repeat=arguments.repeat,
            field=arguments.field,
            frame_ns=parse_duration(arguments.period) if arguments.period else None,
            stack=arguments.stack,
        )
        if arguments.select:
            time, value = _rectangle(arguments.select, recording)
            picture = picture.select(time, value)
        if arguments.flame:
            picture.flame().save(arguments.flame)
            _options.tell_symbol_notes(recording)
        if arguments.format != "text" or arguments.select:
            for note in picture.points.notes:
                print(f"linscope: {note}", file=sys.stderr)
            return picture.rows(texts=bool(arguments.select))
        _draw(picture, output, arguments.width)
        return None


def _must_be_picture(path: str) -> None:
    if not path.endswith(_FORMS):
        next_step = "end it in .html, .svg or .txt"
        raise UsageError(f"cannot tell the form of the picture from {path!r}", next_step=next_step)


def _draw(picture: HeatPicture, output: str | None, width: int | None) -> None:
    if output not in (None, "-"):
        picture.save(str(output), width=width)
        return
    color = ""
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        color = "truecolor" if os.environ.get("COLORTERM") in ("truecolor", "24bit") else "256"
    columns = width or min(shutil.get_terminal_size((80, 24)).columns, 200)
    sys.stdout.write(picture.text(width=columns, color=color, encoding=sys.stdout.encoding or "ascii"))


def _command(arguments: argparse.Namespace) -> str:
    """The command line, for the page: with --select added it prints the events of a selection."""
    words = ["linscope", "heat", arguments.file]
    options = ("event", "by", "key", "where", "repeat", "field", "period", "comm", "pid", "tid", "cpu", "time", "dso")
    for name in (*options, "symbol"):
        value = getattr(arguments, name)
        if value is not None:
            words += [f"--{name}", value]
    return shlex.join(words)


def _values(text: str) -> Limits:
    """Two values: durations ("10us") or numbers, either may be missing."""
    from linscope.units import parse_duration

    low, comma, high = text.partition(",")
    if not comma:
        raise UsageError(f"not a range: {text!r}", next_step="write it as 10us,5ms or 1ms,")
    first, last = (parse_duration(part, "ns") if part.strip() else None for part in (low, high))
    return first, last


def _rectangle(text: str, recording: object) -> tuple[Limits, Limits]:
    """(times, values) of "T,T,LO,HI"."""
    parts = text.split(",")
    if len(parts) != 4:
        next_step = "--select FROM,TO,LOW,HIGH: 12.5,13,1ms,10ms or ,,1ms,"
        raise UsageError(f"not a rectangle: {text!r}", next_step=next_step)
    return _options.times_of(f"{parts[0]},{parts[1]}", recording), _values(f"{parts[2]},{parts[3]}")


HEAT = Heat()
