"""What is wrong in a script, collected: the compiler goes on, and shows up to twenty places at once."""

from __future__ import annotations

from linscope.errors import Diagnostic, SourceError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.lang.bpftrace.syntax import Span

_MOST = 20
TOO_DEEP = "too much is nested here"


class Wrong(Exception):
    """A place that cannot be compiled; ends the statement that it stands in."""

    def __init__(self, span: Span, what: str, hint: str = "") -> None:
        """span: characters of the program; hint: what may have been meant."""
        super().__init__(what)
        self.span = span
        self.what = what
        self.hint = hint


class Unresolved(Exception):
    """The type of a map or variable is not known yet: a later pass over the program may know it."""

    def __init__(self, span: Span, what: str) -> None:
        """what: the message when no pass finds it."""
        super().__init__(what)
        self.span = span
        self.what = what


class Problems:
    """Errors and warnings of one compilation."""

    def __init__(self, text: str, where: str) -> None:
        """where: name of the script, for messages."""
        self.text = text
        self.where = where
        self.errors: list[Diagnostic] = []
        self.warnings: list[Diagnostic] = []

    def clear(self) -> None:
        """Forget all: the program is looked at again."""
        self.errors.clear()
        self.warnings.clear()

    def error(self, span: Span, what: str, hint: str = "") -> None:
        """Add an error; the same one at the same place is kept once."""
        made = diagnostic_at(self.text, span, what, hint)
        if all((made.line, made.column, what) != (e.line, e.column, e.what) for e in self.errors):
            self.errors.append(made)

    def warn(self, span: Span, what: str, hint: str = "") -> None:
        """Add a warning."""
        made = diagnostic_at(self.text, span, what, hint, severity="WARNING")
        if all((made.line, made.column, what) != (e.line, e.column, e.what) for e in self.warnings):
            self.warnings.append(made)

    def raise_errors(self) -> None:
        """Raises SourceError when there is an error."""
        if self.errors:
            self.errors.sort(key=lambda one: (one.line, one.column))
            raise SourceError(self.errors[:_MOST], where=self.where)


def diagnostic_at(text: str, span: Span, what: str, hint: str = "", *, severity: str = "ERROR") -> Diagnostic:
    """A problem with line and columns; one of several lines is marked to the end of its first."""
    start, end = span
    begin = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    column = start - begin + 1
    last = max(min(end, line_end) - begin + 1, column + 1)
    return Diagnostic(
        what, line=text.count("\n", 0, start) + 1, column=column, source=text[begin:line_end], hint=hint, end=last,
        severity=severity,
    )  # fmt: skip
