"""help: what the commands are, and how one is used."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash import COMMANDS
from linscope.crash.session import ALIASES, Session
from linscope.picture.rows import Column, Rows

_IN_A_LINE = 4


class Help:
    """The list of commands, or one of them."""

    usage = "[COMMAND | all]..."
    help = "Shows all commands, or how one is used."
    examples = ("help", "help bt")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Names."""
        parser.add_argument("names", nargs="*")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One answer a name."""
        if not arguments.names:
            yield _all()
            return
        for name in COMMANDS if arguments.names == ["all"] else arguments.names:
            yield _one(ALIASES.get(name, [name])[0])


def _all() -> Rows:
    rows = [(name, COMMANDS.entries[name].summary) for name in COMMANDS]

    def lines() -> Iterator[str]:
        width = max(len(name) for name, _ in rows)
        for name, summary in rows:
            yield f"{name:<{width}}  {summary}\n"
        yield "\nhelp COMMAND tells more of one.  COMMAND | PROGRAM, COMMAND > FILE and >> FILE work; quit ends.\n"

    return Rows([Column("command"), Column("summary")], rows, text=lines)


def _one(name: str) -> Rows:
    command = COMMANDS[name]
    columns = [Column("command"), Column("usage"), Column("help"), Column("examples")]

    def lines() -> Iterator[str]:
        yield f"{name} {command.usage}".rstrip() + f"\n\n{command.help}\n\n"
        yield "Examples\n" + "".join(f"  {text}\n" for text in command.examples) + "\n"

    return Rows(columns, [(name, command.usage, command.help, list(command.examples))], text=lines)


HELP = Help()
