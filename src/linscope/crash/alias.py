"""alias: shorter names for commands."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash import COMMANDS
from linscope.crash.session import ALIASES, Session
from linscope.errors import UsageError
from linscope.picture.rows import Column, Rows


class Alias:
    """Shows aliases, makes or ends one."""

    usage = "[NAME [COMMAND...]]"
    help = """\
Shows all aliases, or one.  With a command NAME stands for it in this session; with an empty one ("") no more."""
    examples = ("alias", "alias kp bt -a", 'alias kp ""')

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """All words as they are."""
        parser.add_argument("words", nargs=argparse.REMAINDER)

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """What stands for what."""
        words = [word for text in arguments.words if (word := text.strip("\"'")) or text]
        if len(words) > 1:
            name, *command = words
            if name in COMMANDS:
                raise UsageError(f"{name!r} is a command of its own")
            if not any(command):
                session.aliases.pop(name, None)
                return
            session.aliases[name] = command
        names = words[:1] or list(session.aliases)
        rows = []
        for name in names:
            stands_for = session.aliases.get(name)
            if stands_for is not None:
                origin = "builtin" if stands_for is ALIASES.get(name) else "session"
                rows.append((origin, name, " ".join(stands_for)))
        if not rows:
            raise UsageError(f"{words[0]!r} is no alias")

        def lines() -> Iterator[str]:
            yield "ORIGIN   ALIAS    COMMAND\n"
            for origin, name, command in rows:
                yield f"{origin:<8} {name:<8} {command}\n"

        yield Rows([Column("origin"), Column("alias"), Column("command")], rows, text=lines)


ALIAS = Alias()
