"""What is wrong with an attach point."""

from __future__ import annotations

from linscope.errors import Diagnostic, SourceError


def probe_error(text: str, what: str, hint: str = "") -> SourceError:
    """The error of an attach point that is ``text``; hint: what may have been meant, or what would allow it."""
    return SourceError([Diagnostic(what, line=1, column=1, source=text, hint=hint, end=len(text) + 1)])


def near(name: str, known: list[str], prefix: str = "") -> str:
    """ "did you mean prefix:name?", "" when nothing is near."""
    import difflib  # only on the sad path

    found = difflib.get_close_matches(name, known, 3)
    return f"did you mean {' or '.join(prefix + one for one in found)}?" if found else ""
