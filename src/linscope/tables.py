"""Tables of named things, imported when first used.

Every folder that people add to (commands, formats, views, ...) owns one ``Table`` in its ``__init__.py``: one line
per entry.  Reading the table imports nothing; ``table["perf.data"]`` imports one module.
``tests/house/test_tables.py`` keeps lines and files in step.
"""

from __future__ import annotations

import sys

from linscope.errors import LinscopeError, UnknownNameError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


class Entry:
    """One line of a table."""

    __slots__ = ("extra", "summary", "where")

    def __init__(self, where: str, summary: str, extra: str = "") -> None:
        """where: "linscope.commands.flame:FLAME"; summary: for lists; extra: the pip extra that it needs, if any."""
        self.where = where
        self.summary = summary
        self.extra = extra


class Table:
    """A read-only mapping from a name that users see to a thing that is imported on first use."""

    def __init__(self, kind: str, entries: Mapping[str, Entry]) -> None:
        """kind: the singular noun for messages ("command", "file format", "view")."""
        self.kind = kind
        self.entries = dict(entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries  # Mapping's own would import the entry

    def __getitem__(self, name: str) -> Any:
        """Import and return the thing; raises UnknownNameError, or LinscopeError when its extra is missing."""
        entry = self.entries.get(name)
        if entry is None:
            raise UnknownNameError(self.kind, name, self.entries)
        module, _, attribute = entry.where.partition(":")
        try:
            __import__(module)  # importlib itself is imported in as much time as a small module
            return getattr(sys.modules[module], attribute)
        except ModuleNotFoundError as error:
            if not entry.extra or (error.name or "").startswith("linscope"):
                raise  # our own fault: never hidden behind a hint
            raise LinscopeError(
                f"the {self.kind} {name!r} needs the Python package {error.name}",
                next_step=f"pip install 'linscope[{entry.extra}]'",
            ) from error


class Group(Table):
    """A command that is a table of subcommands: ``linscope bpf dis``."""

    def __init__(self, summary: str, examples: tuple[str, ...], entries: Mapping[str, Entry]) -> None:
        """summary, examples: as a command has them (linscope.contracts.Command)."""
        super().__init__("subcommand", entries)
        self.summary = summary
        self.examples = examples
