"""Filters of trace events: parsed, and checked against an event's format before the kernel sees them.

    id == 0 && (ret < 0 || count > 4096)        comm ~ "post*"        flags & 0x10        !(prev_state & 1)

Source: Documentation/trace/events.rst, "Event filtering"; kernel/trace/trace_events_filter.c, parse_pred.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from linscope.binfmt.event_format import EventFormat, Field, is_text
from linscope.errors import UsageError

_TOKEN = re.compile(
    r"""\s*(?:(?P<op>&&|\|\||==|!=|<=|>=|[<>!&~()])
    |(?P<text>"[^"]*"|'[^']*')
    |(?P<word>[^\s&|=!<>~()"']+))""",
    re.VERBOSE,
)
_NUMBER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|[0-9]+)$")
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=", "&", "~")
_TEXT_COMPARISONS = ("==", "!=", "~")
_MAX_DEPTH = 200
_EVERYWHERE = ("CPU", "cpu", "COMM", "comm", "common_pid", "common_type", "common_flags", "common_preempt_count")


@dataclass(frozen=True)
class Test:
    """One comparison of a field."""

    field: str
    operator: str
    value: int | str
    quoted: bool
    at: int  # where the field's name begins in the text
    value_at: int


@dataclass(frozen=True)
class Not:
    """The opposite of a condition."""

    of: Node


@dataclass(frozen=True)
class Both:
    """Two conditions joined by && or ||."""

    operator: str
    left: Node
    right: Node


Node = Test | Not | Both


def iter_tests(node: Node) -> Iterator[Test]:
    """The comparisons in a condition, from left to right."""
    if isinstance(node, Test):
        yield node
    elif isinstance(node, Not):
        yield from iter_tests(node.of)
    else:
        yield from iter_tests(node.left)
        yield from iter_tests(node.right)


def parse_filter(text: str) -> Node:
    """The condition of its text.  Raises UsageError that points at the place."""
    return _Parser(text).parse()


def filter_error(text: str, what: str, at: int, next_step: str = "") -> UsageError:
    """An error that points at a place of a filter."""
    return UsageError(f"the filter is wrong: {what}", why=f"\n    {text}\n    {' ' * at}^", next_step=next_step)


def check_filter(text: str, form: EventFormat) -> None:
    """Look whether the kernel will take the filter for this event.  Raises UsageError that points at the place."""
    fields = {field.name: field for field in (*form.common, *form.fields)}
    for test in iter_tests(parse_filter(text)):
        _check_test(text, test, fields, form)


def _check_test(text: str, test: Test, fields: dict[str, Field], form: EventFormat) -> None:
    name, _, suffix = test.field.partition(".")
    if test.field in ("COMM", "comm") and name not in fields:
        textual = True
    elif test.field in ("CPU", "cpu") and name not in fields:
        textual = False
    elif name not in fields:
        import difflib

        near = difflib.get_close_matches(name, [*fields, *_EVERYWHERE], n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "fields: " + ", ".join(f.name for f in form.fields)
        raise filter_error(text, f"{form.system}:{form.name} has no field {name}", test.at, hint)
    else:
        textual = is_text(fields[name]) or suffix == "ustring"
    if textual:
        if test.operator not in _TEXT_COMPARISONS:
            raise filter_error(text, f"the field {test.field} is text", test.at, "compare it with ==, != or ~ (a glob)")
        if not test.quoted:
            raise filter_error(
                text, "text stands in quotes", test.value_at, f'{test.field} {test.operator} "{test.value}"'
            )
    elif suffix != "function" and (test.quoted or not isinstance(test.value, int)):
        raise filter_error(text, f"the field {test.field} is a number", test.value_at)
    elif test.operator == "~":
        raise filter_error(text, f"the field {test.field} is a number, ~ is for text", test.at)


class _Parser:
    """Recursive descent: || of && of negations of tests."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str, int]] = []
        self._at = 0
        self._depth = 0
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if match is None:
                raise filter_error(text, "not understood", at)
            kind = str(match.lastgroup)
            self._tokens.append((kind, match[kind], match.start(kind)))
            at = match.end()
        self._tokens.append(("end", "", len(text.rstrip())))

    def parse(self) -> Node:
        node = self._or()
        if self._kind() != "end":
            raise filter_error(self._text, "expected && or ||", self._place())
        return node

    def _kind(self) -> str:
        return self._tokens[self._at][0]

    def _word(self) -> str:
        return self._tokens[self._at][1]

    def _place(self) -> int:
        return self._tokens[self._at][2]

    def _or(self) -> Node:
        node = self._and()
        while self._word() == "||":
            self._at += 1
            node = Both("||", node, self._and())
        return node

    def _and(self) -> Node:
        node = self._not()
        while self._word() == "&&":
            self._at += 1
            node = Both("&&", node, self._not())
        return node

    def _not(self) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise filter_error(self._text, "nested too deeply", self._place())
        try:
            if self._word() == "!" and self._kind() == "op":
                self._at += 1
                return Not(self._not())
            if self._word() == "(" and self._kind() == "op":
                self._at += 1
                node = self._or()
                if self._word() != ")":
                    raise filter_error(self._text, "expected )", self._place())
                self._at += 1
                return node
            return self._test()
        finally:
            self._depth -= 1

    def _test(self) -> Test:
        if self._kind() != "word":
            raise filter_error(self._text, "expected the name of a field", self._place())
        name, at = self._word(), self._place()
        self._at += 1
        comparison = self._word()
        if self._kind() != "op" or comparison not in _COMPARISONS:
            raise filter_error(self._text, f"expected one of {' '.join(_COMPARISONS)}", self._place())
        self._at += 1
        kind, word, value_at = self._tokens[self._at]
        if kind == "text":
            value: int | str = word[1:-1]
        elif kind == "word":
            value = int(word, 16 if "x" in word.lower() else 10) if _NUMBER.match(word) else word
        else:
            raise filter_error(self._text, "expected a value", value_at)
        self._at += 1
        return Test(name, comparison, value, kind == "text", at, value_at)
