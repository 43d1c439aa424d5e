"""Names with wildcards: ``*`` stands for any characters, ``[ab]`` and ``[a-z]`` for one of them.

No ``re``: it takes longer to import than the names of all tracepoints take to be looked at.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def has_wildcard(text: str) -> bool:
    """Whether a text stands for more than itself."""
    return "*" in text or ("[" in text and "]" in text)


def matches(pattern: str, name: str) -> bool:
    """Whether a name is one that a pattern stands for.

    >>> matches("vfs_*d", "vfs_read"), matches("sys_[re]*", "sys_exit"), matches("a*", "ba")
    (True, True, False)
    """
    if "[" in pattern and "]" in pattern:
        return _match_sets(pattern, name)
    first, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    if not name.startswith(first):
        return False
    at = len(first)
    for part in rest[:-1]:
        at = name.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return len(name) - len(rest[-1]) >= at and name.endswith(rest[-1])


def _match_sets(pattern: str, name: str) -> bool:
    from fnmatch import fnmatchcase  # imports re

    return fnmatchcase(name, pattern.replace("?", "[?]"))


def filter_names(pattern: str, names: Iterable[str]) -> Iterator[str]:
    """The names that a pattern stands for, in their order."""
    if pattern == "*":
        yield from names
        return
    for name in names:
        if matches(pattern, name):
            yield name


def longest_literal(pattern: str) -> str:
    """The longest part of a pattern that stands for itself; to search large texts for.

    >>> longest_literal("vfs_*d"), longest_literal("*")
    ('vfs_', '')
    """
    plain = pattern
    while "[" in plain and "]" in plain[plain.index("[") :]:
        head, _, tail = plain.partition("[")
        plain = head + "*" + tail.partition("]")[2]
    return max(plain.split("*"), key=len)
