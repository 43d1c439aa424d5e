"""The tree of errors.  Fields first; the text is derived from them.

LinscopeError                what was tried, and why it cannot be
|-- UsageError               the command line or an argument is wrong                (exit 2)
|   |-- UnknownNameError     no such event, field, command; offers the nearest names
|   |-- ExpressionError      a text that a person wrote is wrong at one place; shows it with a caret
|   `-- SourceError          a file that a person wrote is wrong at some places; shows each
|-- InputError               a file or stream is not what it should be; carries the offset
|   |-- FormatError          damaged, truncated or not this format
|   |-- UnsupportedError     intact, but of a kind that we do not read
|   `-- MemoryFault          memory of a kernel that cannot be read; carries the address and the reason
|-- SystemCallError          the kernel said no; carries errno
|   |-- PermissionDenied     names the capability or the sysctl that would allow it
|   `-- NotInKernel          names the CONFIG_ symbol or the hardware that is missing
`-- OutputError              a result could not be written
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterable


class LinscopeError(Exception):
    """What went wrong, where, why, and what to do next; ``str()`` joins them into one or two lines."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", why: str = "", next_step: str = "") -> None:
        self.what = what
        self.where = where
        self.why = why
        self.next_step = next_step
        super().__init__(what)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.why:
            text += f": {self.why}"
        if self.next_step:
            text += f"\n  try: {self.next_step}"
        return text


class UsageError(LinscopeError):
    """The command line, or an argument of the API, is wrong."""

    exit_code = 2


class UnknownNameError(UsageError):
    """No thing of that name; the text offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str] = (), *, next_step: str = "") -> None:
        """kind: singular noun ("event", "command"); known: the names to look for near ones in."""
        import difflib  # only on the sad path

        self.kind = kind
        self.name = name
        self.near = difflib.get_close_matches(name, list(known), n=3)
        why = f"did you mean {' or '.join(self.near)}?" if self.near else ""
        super().__init__(f"no {kind} named {name!r}", why=why, next_step=next_step)


class ExpressionError(UsageError):
    """A text that a person wrote (a probe, a query) is wrong at one place; ``str()`` shows it with a caret."""

    def __init__(self, what: str, *, text: str, position: int, why: str = "", next_step: str = "") -> None:
        """text: the whole of what was written; position: the character of it that is wrong, from 0."""
        self.text = text
        self.position = position
        super().__init__(what, why=why, next_step=next_step)

    def __str__(self) -> str:
        before, _, rest = self.text[: self.position].rpartition("\n")
        line = self.text[len(before) + 1 if before else 0 :].partition("\n")[0]
        head, try_, tail = super().__str__().partition("\n  try: ")
        return f"{head}\n  {line}\n  {' ' * len(rest)}^{try_}{tail}"


class Diagnostic:
    """One thing that is wrong in a text of several lines."""

    __slots__ = ("column", "end", "hint", "line", "severity", "source", "what")

    def __init__(
        self, what: str, *, line: int, column: int, source: str = "", hint: str = "", end: int = 0,
        severity: str = "ERROR",
    ) -> None:  # fmt: skip
        """line, column: from 1, in characters; source: the whole line; hint: what may have been meant.

        end: the column behind the last one that is meant, 0 when only the beginning is known; severity: ERROR, WARNING.
        """
        self.what = what
        self.line = line
        self.column = column
        self.source = source
        self.hint = hint
        self.end = end
        self.severity = severity

    def __repr__(self) -> str:
        return f"<{self.line}:{self.column}: {self.what}>"

    def text(self, where: str = "") -> str:
        """Place, what, the line with a caret (or all that is meant underlined) below, and the hint."""
        if self.end:
            text = f"{where}:{self.line}:{self.column}-{self.end}: {self.severity}: {self.what}"
            marks, indent = "~" * (self.end - self.column), ""
        else:
            place = f"{where}:{self.line}:{self.column}" if where else f"line {self.line}, column {self.column}"
            text = f"{place}: {self.what}"
            marks, indent = "^", "  "
        if self.source:
            before = "".join("\t" if c == "\t" else " " for c in self.source[: self.column - 1])
            text += f"\n{indent}{self.source}\n{indent}{before}{marks}"
        if not self.hint:
            return text
        return f"{text}\nHINT: {self.hint}" if self.end else f"{text}\n  {self.hint}"


class SourceError(UsageError):
    """A text of several lines is wrong; ``diagnostics`` has the places in order."""

    SHOWN = 20

    def __init__(self, diagnostics: Iterable[Diagnostic], *, where: str = "") -> None:
        """where: name of the file, "" when there is none."""
        self.diagnostics = list(diagnostics)
        super().__init__(self.diagnostics[0].what, where=where)

    def __str__(self) -> str:
        shown = [one.text(self.where) for one in self.diagnostics[: self.SHOWN]]
        if len(self.diagnostics) > self.SHOWN:
            shown.append(f"and {len(self.diagnostics) - self.SHOWN} more")
        return "\n".join(shown)


class InputError(LinscopeError):
    """A file or stream is not what it should be."""

    def __init__(
        self, what: str, *, where: str = "", offset: int | None = None, why: str = "", next_step: str = ""
    ) -> None:
        """offset: byte offset in the file (or in the decompressed stream), None when there is none to name."""
        self.offset = offset
        if offset is not None:
            what = f"{what} at offset {offset} ({offset:#x})"
        super().__init__(what, where=where, why=why, next_step=next_step)


class FormatError(InputError):
    """Damaged, truncated, or not of this format."""


class UnsupportedError(InputError):
    """Intact, but of a kind that linscope does not read."""


class MemoryFault(InputError):
    """An address of a kernel's memory that cannot be read; ``reason`` is one of the constants.

    ``address``: the first byte that cannot be read; ``space``: "physical" or "virtual".
    """

    HOLE = "not in the dump"
    EXCLUDED = "a page that was filtered out when the dump was made"
    DAMAGED = "the page is damaged"
    CUT = "the dump ends before it"
    UNMAPPED = "not mapped"
    WIDTH = "beyond the width of addresses"

    def __init__(
        self, address: int, space: str, reason: str, *, where: str = "", offset: int | None = None, why: str = ""
    ) -> None:
        """reason: one of the constants; where: the file; offset: the place in it that is damaged; why: details."""
        self.address = address
        self.space = space
        self.reason = reason
        self.detail = why
        why = f"{reason} ({why})" if why else reason
        super().__init__(f"no {space} memory at {address:#x}", where=where, why=why)
        self.offset = offset
        if offset is not None:
            self.why += f", file offset {offset:#x}"


class SystemCallError(LinscopeError):
    """The kernel refused a call."""

    def __init__(
        self, what: str, *, errno: int = 0, where: str = "", why: str = "", next_step: str = ""
    ) -> None:
        import os

        self.errno = errno
        super().__init__(
            what, where=where, why=why or (os.strerror(errno) if errno else ""), next_step=next_step
        )


class PermissionDenied(SystemCallError):
    """EPERM or EACCES; next_step names the capability or sysctl that would allow it."""


class NotInKernel(SystemCallError):
    """The running kernel or machine lacks the feature; why names the CONFIG_ symbol or the hardware."""


class OutputError(LinscopeError):
    """A result could not be written (disk full, no such folder, not writable)."""
