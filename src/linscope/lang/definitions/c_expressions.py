"""Constant expressions of C: of #if, of array sizes, of enumerators, of what macros stand for.

Source: C11, 6.5 and 6.6; 6.3.1.8 for the types of the results.
"""

from __future__ import annotations

from linscope.lang.definitions.c_tokens import END, NAME, NUMBER, Token, tokens

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Value = tuple[int, int, bool]  # number, bits (32 or 64), signed
    FindName = Callable[[str], int | None]
    FindType = Callable[[Sequence[Token], int], tuple[int, bool, int] | None]

# sign -> strength; stronger binds first
_STRENGTH = {
    "*": 10, "/": 10, "%": 10, "+": 9, "-": 9, "<<": 8, ">>": 8, "<": 7, ">": 7, "<=": 7, ">=": 7, "==": 6, "!=": 6,
    "&": 5, "^": 4, "|": 3, "&&": 2, "||": 1,
}  # fmt: skip
_CONDITIONAL = 0
_DEEPEST = 100


class NotConstant(Exception):
    """The text is no constant expression, or one of names that are not known."""


def evaluate(text: str, find_name: FindName | None = None, find_type: FindType | None = None) -> int | None:
    """The value of an expression; None: it has none.

    find_name: the value of a name (None: every name is 0, as in #if).  find_type(tokens, place): (bytes, signed, place
    behind it) of a type that is named at a place, None when none is; for casts and sizeof.
    """
    found = tokens(text)
    try:
        value, at = Evaluator(found, find_name, find_type).expression(0)
    except NotConstant:
        return None
    return value[0] if found[at].kind == END else None


class Evaluator:
    """Expressions in a list of tokens."""

    def __init__(self, found: Sequence[Token], find_name: FindName | None, find_type: FindType | None) -> None:
        self.tokens = found
        self.find_name = find_name
        self.find_type = find_type
        self._depth = 0

    def expression(self, at: int, least: int = _CONDITIONAL) -> tuple[Value, int]:
        """(value, place behind it) of the expression at a place, of operators at least so strong."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NotConstant
        left, at = self._unary(at)
        while True:
            sign = self.tokens[at].text
            strength = _STRENGTH.get(sign, -1) if self.tokens[at].kind != END else -1
            if sign == "?" and least <= _CONDITIONAL:
                left, at = self._conditional(left, at + 1)
                continue
            if strength <= 0 or strength < least:
                self._depth -= 1
                return left, at
            right, at = self.expression(at + 1, strength + 1)
            left = _binary(sign, left, right)

    def _conditional(self, condition: Value, at: int) -> tuple[Value, int]:
        yes, at = self.expression(at)
        if self.tokens[at].text != ":":
            raise NotConstant
        no, at = self.expression(at + 1)
        return (yes if condition[0] else no), at

    def _unary(self, at: int) -> tuple[Value, int]:
        token = self.tokens[at]
        if token.kind == NUMBER:
            return (_wrap(token.value, token.bits, token.signed), token.bits, token.signed), at + 1
        if token.text in ("sizeof", "_Alignof", "__alignof__"):
            return self._size(at + 1)
        if token.kind == NAME:
            value = 0 if self.find_name is None else self.find_name(token.text)
            if value is None:
                raise NotConstant
            bits = 32 if -(1 << 31) <= value < 1 << 31 else 64
            return (value, bits, True), at + 1
        if token.text == "(":
            kind = self.find_type(self.tokens, at + 1) if self.find_type is not None else None
            if kind is not None and self.tokens[kind[2]].text == ")":
                (value, _, _), behind = self._unary(kind[2] + 1)
                cut = _wrap(value, 8 * kind[0], kind[1])
                return (cut, max(8 * kind[0], 32), kind[1] or kind[0] < 4), behind
            inner, at = self.expression(at + 1)
            if self.tokens[at].text != ")":
                raise NotConstant
            return inner, at + 1
        if token.text in ("-", "+", "~", "!"):
            self._depth += 1
            if self._depth > _DEEPEST:
                raise NotConstant
            (value, bits, signed), at = self._unary(at + 1)
            self._depth -= 1
            if token.text == "!":
                return (int(not value), 32, True), at
            value = {"-": -value, "+": value, "~": ~value}[token.text]
            return (_wrap(value, bits, signed), bits, signed), at
        raise NotConstant

    def _size(self, at: int) -> tuple[Value, int]:
        """sizeof(type)."""
        kind = None
        if self.tokens[at].text == "(" and self.find_type is not None:
            kind = self.find_type(self.tokens, at + 1)
        if kind is None or self.tokens[kind[2]].text != ")":
            raise NotConstant
        return (kind[0], 64, False), kind[2] + 1


def _wrap(value: int, bits: int, signed: bool) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def _binary(sign: str, left: Value, right: Value) -> Value:
    if sign in ("&&", "||"):
        both = bool(left[0] and right[0]) if sign == "&&" else bool(left[0] or right[0])
        return int(both), 32, True
    if sign in ("<<", ">>"):
        bits, signed = left[1:]
        if not 0 <= right[0] < bits:
            raise NotConstant
        return _wrap(left[0] << right[0] if sign == "<<" else left[0] >> right[0], bits, signed), bits, signed
    bits = max(left[1], right[1])
    signed = all(value[2] or value[1] < bits for value in (left, right))
    a, b = _wrap(left[0], bits, signed), _wrap(right[0], bits, signed)
    if sign in ("<", ">", "<=", ">=", "==", "!="):
        holds = {"<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b, "==": a == b, "!=": a != b}[sign]
        return int(holds), 32, True
    if sign in ("/", "%"):
        if not b:
            raise NotConstant
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)  # towards zero
        return _wrap(quotient if sign == "/" else a - b * quotient, bits, signed), bits, signed
    result = {"+": a + b, "-": a - b, "*": a * b, "&": a & b, "|": a | b, "^": a ^ b}[sign]
    return _wrap(result, bits, signed), bits, signed
