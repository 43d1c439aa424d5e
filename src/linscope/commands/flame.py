"""linscope flame"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from linscope.commands import _options
from linscope.commands.record import numbers
from linscope.errors import OutputError, UsageError

if TYPE_CHECKING:
    import argparse

    from linscope.recording import Recording

_FORMS = (".html", ".svg", ".txt")
_FREQUENCY = 999  # samples a second; off the round numbers at which periodic work happens
_STACK_SIZE = 16384  # bytes of user stack in each sample; what is further out stays unseen


def _default_call_graph() -> str:
    """Most distributions build without frame pointers; without them only unwinding gives true stacks."""
    return "dwarf" if os.uname().machine == "x86_64" else "fp"


class Flame:
    """A flame graph of a recording, or of a command that is recorded first."""

    summary = "Where the time went, as a flame graph: one HTML file, SVG, or text."
    examples = (
        "linscope flame -o flame.html -- python3 app.py",
        "linscope flame perf.data -o flame.svg --comm python",
        "linscope flame perf.data --group thread",
        "perf script | linscope flame - -o flame.html",
    )
    formats = False
    splits = True

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        _options.add_recording(parser, optional=True)
        parser.add_argument(
            "-o", "--output", metavar="FILE", help="flame.html, .svg or .txt; - or none: text on the terminal"
        )
        parser.add_argument("--title", default="", help="title of the picture")
        parser.add_argument("--width", type=int, help="width of SVG in pixels (1200) or of text in columns")
        parser.add_argument("--inverted", action="store_true", help="icicle: the root on top")
        parser.add_argument("--reverse", action="store_true", help="merge from the leaves: who uses the hot functions")
        parser.add_argument(
            "--group",
            choices=("comm", "process", "thread", "cpu", "none"),
            default="comm",
            help="what the lowest frames are",
        )
        parser.add_argument("--weight", choices=("period", "samples"), default="period", help="what a sample counts")
        parser.add_argument("--no-inline", action="store_true", help="do not show inlined functions as frames")
        group = parser.add_argument_group("recording a command (flame -- CMD)")
        group.add_argument(
            "-e",
            dest="record_event",
            action="append",
            metavar="EVENT",
            help="event to sample (cycles, else cpu-clock)",
        )
        group.add_argument("-F", "--freq", type=int, metavar="HZ", help="samples a second (999)")
        group.add_argument("--call-graph", metavar="MODE", help="dwarf[,SIZE] (default on x86-64), fp or lbr")
        group.add_argument("-p", dest="record_pid", metavar="PID", help="record this process instead of a command")
        group.add_argument("--duration", metavar="T", help="stop recording after T")
        group.add_argument("--keep", metavar="FILE", help="keep the recording (perf.data) in FILE")
        _options.add_filters(parser)
        _options.add_symbols(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        """Record if asked to, then draw."""
        output = arguments.output or "-"
        if output != "-" and Path(output).suffix not in _FORMS:  # before the command runs, not after
            raise UsageError(
                f"cannot tell the form of the picture from {output!r}", next_step="end it in .html, .svg or .txt"
            )
        folder = Path(output).parent
        if output != "-" and not os.access(folder, os.W_OK | os.X_OK):
            why = "no such folder" if not folder.exists() else "not writable"
            raise OutputError("cannot write the picture", where=output, why=why)
        if arguments.command or arguments.record_pid:
            if arguments.file:
                raise UsageError(
                    f"both a recording ({arguments.file}) and something to record", next_step="leave one out"
                )
            return self._record_and_draw(arguments, output)
        arguments.file = arguments.file or "perf.data"
        self._draw(arguments, _options.open_file(arguments), output)
        return 0

    def _record_and_draw(self, arguments: argparse.Namespace, output: str) -> int:
        """Record the command to a file of its own, draw it, and print the top of the tree; the command's exit code."""
        import tempfile

        from linscope.session.options import RecordOptions
        from linscope.session.record import record
        from linscope.units import parse_bytes, parse_duration

        call_graph, _, size = (arguments.call_graph or _default_call_graph()).partition(",")
        stack_size = parse_bytes(size) if size else _STACK_SIZE

        with tempfile.TemporaryDirectory(prefix="linscope-") as folder:
            path = arguments.keep or str(Path(folder) / "perf.data")
            options = RecordOptions(
                events=tuple(arguments.record_event or ()),
                frequency=arguments.freq or _FREQUENCY,
                call_graph=call_graph,
                stack_size=stack_size,
                pids=numbers(arguments.record_pid, "process id"),
                output=path,
                duration_ns=parse_duration(arguments.duration) if arguments.duration else 0,
                command_line=("linscope", "flame", "--", *arguments.command),
            )
            result = record(arguments.command or None, options)
            sys.stdout.flush()
            for note in result.notes:
                print(f"linscope: {note}", file=sys.stderr)
            arguments.file = path
            recording = _options.open_file(arguments)
            if not len(recording.samples):
                print(
                    "linscope: no samples: the command used too little CPU time; try a higher -F",
                    file=sys.stderr,
                )
            self._draw(arguments, recording, output, also_text=True)
        return 130 if result.interrupted else result.exit_status

    def _draw(
        self, arguments: argparse.Namespace, recording: Recording, output: str, *, also_text: bool = False
    ) -> None:
        picture = recording.flame(
            _options.filter_of(arguments, recording),
            title=arguments.title,
            weight=arguments.weight,
            group=arguments.group,
            inlines=not arguments.no_inline,
            splits=output.endswith(".html"),
        )
        _options.tell_symbol_notes(recording)
        if output == "-" or also_text:
            columns = shutil.get_terminal_size((80, 24)).columns if output != "-" else arguments.width
            sys.stdout.write(
                picture.text(
                    width=min(columns or shutil.get_terminal_size((80, 24)).columns, 160),
                    color=sys.stdout.isatty(),
                    reverse=arguments.reverse,
                    encoding=sys.stdout.encoding or "ascii",
                )
            )
        if output != "-":
            picture.save(output, width=arguments.width, inverted=arguments.inverted, reverse=arguments.reverse)
            if also_text:
                print(f"\nThe whole picture: {output}")


FLAME = Flame()
