"""The command line: parse, run, render, and turn errors into exit codes.

0 fine, 1 cannot, 2 usage, 70 our bug (a report file says what happened), 130 Ctrl-C, else what a command returns.
"""

from __future__ import annotations

import gc
import os
import sys

from linscope.commands import COMMANDS, find_command
from linscope.errors import LinscopeError, OutputError, UsageError
from linscope.tables import Group
from linscope.version import VERSION

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import Any

    from linscope.contracts import Command
    from linscope.picture.rows import Rows

EXIT_BUG = 70
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit the process."""
    _open_standard_streams()
    code = run(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
    sys.stderr.flush()
    os._exit(code) if not _threads_left() else sys.exit(code)


def _open_standard_streams() -> None:
    """Point streams that the caller closed to /dev/null: the next file that we open would become one of them."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest that is free: the stream's own
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))


def _threads_left() -> bool:
    """True if an orderly end of the interpreter has something to wait for."""
    threading = sys.modules.get("threading")
    return threading is not None and threading.active_count() > 1


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code."""
    gc.set_threshold(200_000)  # a run is short and its tables make no cycles: collecting early only costs
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's threads would spin, and we have no use for them
    try:
        return _run(list(arguments))
    except LinscopeError as error:
        print(f"linscope: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("linscope: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return 0
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        print(f"linscope: {named}{error.strerror or error}", file=sys.stderr)
        return 1
    except Exception as error:  # noqa: BLE001 - the one place where a bug of ours ends
        return _report_bug(error, arguments)


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        if len(arguments) > 1 and arguments[0] == "help":
            return _run([*arguments[1:], "--help"])
        sys.stdout.write(_help())
        return 0 if arguments else UsageError.exit_code
    name = arguments[0]
    if name in ("-V", "--version", "version"):
        print(f"linscope {VERSION}")
        return 0
    if name.startswith("-"):
        raise UsageError(f"no such option: {name}", next_step="linscope --help")
    name, command, rest = find_command(arguments)
    if isinstance(command, Group):
        if rest and rest[0] not in ("-h", "--help"):
            raise UsageError(f"no such option: {rest[0]}", next_step=f"linscope {name} --help")
        sys.stdout.write(_group_help(name, command))
        return 0 if rest else UsageError.exit_code
    scan = getattr(command, "scan", None)  # a command of its own grammar, or one that must start at once
    parsed = scan(rest) if scan is not None else _parse(name, command, rest)
    result = command.run(parsed)
    if result is None or isinstance(result, int):
        return result or 0
    _write(result, parsed if "format" in parsed else None)
    return result.exit_code() if result.exit_code else 0


def _help() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = [
        "usage: linscope COMMAND [ARGUMENTS]",
        "",
        "Trace, profile, debug and see Linux.",
        "",
        *(f"  {name:<{width}}  {entry.summary}" for name, entry in COMMANDS.entries.items()),
        "",
        "  linscope flame -o flame.html -- python3 app.py    see where its time goes",
        "  linscope COMMAND --help                           arguments and examples",
        "",
    ]
    return "\n".join(lines)


def _group_help(name: str, group: Group) -> str:
    width = max(len(one) for one in group)
    lines = [
        f"usage: linscope {name} SUBCOMMAND [ARGUMENTS]",
        "",
        f"{group.summary}",
        "",
        *(f"  {one:<{width}}  {entry.summary}" for one, entry in group.entries.items()),
        "",
        "examples:",
        *(f"  {example}" for example in group.examples),
        "",
        f"linscope {name} SUBCOMMAND --help: its arguments",
        "",
    ]
    return "\n".join(lines)


def _parse(name: str, command: Command, arguments: list[str]) -> argparse.Namespace:
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> Any:
            raise UsageError(message, next_step=f"linscope {name} --help")

    examples = "\n".join(f"  {example}" for example in command.examples)
    parser = Parser(
        prog=f"linscope {name}",
        description=command.summary,
        epilog=f"examples:\n{examples}",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=28, width=79
        ),
        allow_abbrev=False,
    )
    command.arguments(parser)
    if command.formats:
        group = parser.add_argument_group("output")
        group.add_argument(
            "-f", "--format", choices=("text", "json", "csv"), default="text", help="form of the rows"
        )
        group.add_argument(
            "--json", action="store_const", const="json", dest="format", help="same as -f json"
        )
        group.add_argument("-o", "--output", metavar="FILE", help="write to FILE instead of the terminal")
    words: list[str] = []
    if command.splits and "--" in arguments:
        at = arguments.index("--")
        arguments, words = arguments[:at], arguments[at + 1 :]
        if not words:
            raise UsageError("no command behind --", next_step=f"linscope {name} --help")
    if not command.splits:
        return parser.parse_args(arguments)
    parsed = parser.parse_intermixed_args(arguments)  # options may stand between words: set --keep QUERY
    parsed.command = words
    return parsed


def _write(rows: Rows, arguments: argparse.Namespace | None) -> None:
    """Print rows as the arguments say; None: as text."""
    from linscope.render.rows import write_rows

    if arguments is None or arguments.output in (None, "-"):
        write_rows(rows, arguments.format if arguments else "text", sys.stdout)
        return
    try:
        with open(arguments.output, "w", encoding="utf-8") as out:
            write_rows(rows, arguments.format, out)
    except OSError as error:
        raise OutputError(
            "cannot write the result", where=arguments.output, why=error.strerror or ""
        ) from None


def _forget_stdout() -> None:
    """Nobody reads on: make the interpreter's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report_bug(error: Exception, arguments: Sequence[str]) -> int:
    """Write what happened to a file and say where; a bug of ours never looks like the user's fault."""
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile("w", prefix="linscope-bug-", suffix=".txt", delete=False) as report:
        report.write(f"linscope {VERSION}, Python {sys.version}\narguments: {list(arguments)}\n\n{text}")
    print(
        f"linscope: a bug of linscope: {type(error).__name__}: {error}\n  the report is in {report.name}",
        file=sys.stderr,
    )
    return EXIT_BUG
