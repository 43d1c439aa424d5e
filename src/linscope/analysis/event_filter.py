"""Conditions on the fields of events, in the kernel's words (``sources.trace_filter``), asked of whole columns.

Beyond the kernel: a name may have dots (``start.id``), to which the caller gives a meaning, and text needs no quotes.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from fnmatch import translate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linscope.sources.trace_filter import Node, Not, Test, filter_error, parse_filter

Bools = NDArray[np.bool_]
ColumnOf = Callable[[str], Any]  # name of a field -> numpy array or list of str; raises UnknownNameError
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def rows_where(text: str, column_of: ColumnOf) -> Bools:
    """True for the rows that meet the condition; column_of gives the column of a field.

    Raises UsageError for a condition that is none, or that compares a field with what it is not; and what column_of
    raises for a name.
    """
    return _mask(parse_filter(text), text, column_of)


def _mask(node: Node, text: str, column_of: ColumnOf) -> Bools:
    if isinstance(node, Not):
        return ~_mask(node.of, text, column_of)
    if isinstance(node, Test):
        return _test(node, text, column_of)
    left, right = _mask(node.left, text, column_of), _mask(node.right, text, column_of)
    return left & right if node.operator == "&&" else left | right


def _test(test: Test, text: str, column_of: ColumnOf) -> Bools:
    column = column_of(test.field)
    if is_numbers(column):
        if test.operator == "~" or not isinstance(test.value, int):
            raise filter_error(text, f"the field {test.field} is a number", test.value_at)
        return _compare_numbers(column, test.operator, test.value)
    if isinstance(column, np.ndarray) and column.dtype.kind != "S":
        raise filter_error(text, f"the field {test.field} is neither a number nor text", test.at)
    if test.operator not in ("==", "!=", "~"):
        raise filter_error(text, f"the field {test.field} is text", test.at, "compare it with ==, != or ~ (a glob)")
    return _compare_text(column, test.operator, str(test.value))


def is_numbers(column: Any) -> bool:
    """True for a column of one integer a row."""
    return isinstance(column, np.ndarray) and column.dtype.kind in "iu" and column.ndim == 1


def _compare_numbers(column: NDArray[Any], sign: str, value: int) -> Bools:
    limits = np.iinfo(column.dtype)
    if sign in ("==", "!=", "&") and not limits.min <= value <= limits.max:
        value &= (1 << limits.bits) - 1  # -1 means all bits set, of an unsigned field too
        if value > limits.max:
            value -= 1 << limits.bits
    if sign == "&":
        some: Bools = (column & np.array(value, column.dtype)) != 0
        return some
    if not limits.min <= value <= limits.max:  # an order that holds for all rows or for none
        return np.full(len(column), _COMPARE[sign](0, value), np.bool_)
    found: Bools = _COMPARE[sign](column, np.array(value, column.dtype))
    return found


def _compare_text(column: Any, sign: str, value: str) -> Bools:
    """Each distinct text is looked at once."""
    matches: Callable[[str], object]
    if sign == "~":
        matches = re.compile(translate(value)).match
    else:
        matches = value.__eq__
    codes, texts = text_codes(column)
    found = np.array([bool(matches(text)) for text in texts], np.bool_)[codes]
    return ~found if sign == "!=" else found


def text_codes(column: Any) -> tuple[NDArray[np.int64], list[str]]:
    """(index of each row's text, the distinct texts) of a column of text: bytes of one size, or a list of str."""
    if not isinstance(column, np.ndarray):
        numbers: dict[str, int] = {}
        codes = np.fromiter((numbers.setdefault(text, len(numbers)) for text in column), np.int64, len(column))
        return codes, list(numbers)
    column = np.ascontiguousarray(column)
    size = column.dtype.itemsize
    words = np.zeros((len(column), (size + 7) // 8 * 8), np.uint8)
    words[:, :size] = column.view(np.uint8).reshape(len(column), size)
    code = np.zeros(len(column), np.int64)
    for word in words.view(np.uint64).T:  # numbers sort far faster than texts
        values, index = np.unique(word, return_inverse=True)
        _, code = np.unique(code * len(values) + index, return_inverse=True)
    _, first = np.unique(code, return_index=True)
    texts = [bytes(column[i]).split(b"\0", 1)[0].decode(errors="replace") for i in first.tolist()]
    return code.astype(np.int64), texts
