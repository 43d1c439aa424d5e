"""C text -> tokens.

Source: C11, 6.4.
"""

from __future__ import annotations

NAME, NUMBER, FRACTION, STRING, SIGN, END = "name", "number", "fraction", "string", "sign", "end"
_SIGNS_3 = frozenset(("<<=", ">>=", "..."))
_SIGNS_2 = frozenset("-> ++ -- << >> <= >= == != && || += -= *= /= %= &= |= ^= ##".split())
_SPACE = frozenset(" \t\n\r\f\v\\")
_DIGITS = frozenset("0123456789")
FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_$")
WORD = FIRST | _DIGITS
_NUMBER = WORD | {"."}
_ESCAPES = {"n": 10, "t": 9, "r": 13, "a": 7, "b": 8, "f": 12, "v": 11, "0": 0}
_INT_MAX, _LONG_MAX = (1 << 31) - 1, (1 << 63) - 1


class Token:
    """One token.  value: of a NUMBER or a character, with ``bits`` (32 or 64) and ``signed`` as C has them."""

    __slots__ = ("bits", "end", "kind", "signed", "start", "text", "value")

    def __init__(self, kind: str, text: str, start: int, value: int = 0, bits: int = 32, signed: bool = True) -> None:
        """start: characters from the start of the text."""
        self.kind, self.text, self.start, self.end = kind, text, start, start + len(text)
        self.value, self.bits, self.signed = value, bits, signed

    def __repr__(self) -> str:
        return f"<{self.kind} {self.text!r}>"


def tokens(text: str) -> list[Token]:
    """All tokens, with an END at the end.  What is none (a lone quote) becomes a sign of its own."""
    found: list[Token] = []
    add = found.append
    at, end = 0, len(text)
    while at < end:
        letter = text[at]
        if letter in _SPACE:
            at += 1
        elif letter in FIRST:
            start = at
            at += 1
            while at < end and text[at] in WORD:
                at += 1
            add(Token(NAME, text[start:at], start))
        elif letter in _DIGITS or (letter == "." and text[at + 1 : at + 2] in _DIGITS and at + 1 < end):
            start = at
            while at < end and (text[at] in _NUMBER or (text[at] in "+-" and _is_exponent(text, start, at))):
                at += 1
            add(_number(text[start:at], start))
        elif letter == '"':
            start = at
            at = string_end(text, at)
            add(Token(STRING, text[start:at], start))
        elif letter == "'":
            token = _character(text, at)
            add(token)
            at = token.end
        elif text.startswith("//", at):
            at = text.find("\n", at)
            at = end if at < 0 else at
        elif text.startswith("/*", at):
            at = text.find("*/", at + 2) + 2
            at = end if at < 2 else at
        else:
            sign = text[at : at + 3]
            if sign not in _SIGNS_3:
                sign = text[at : at + 2]
                if sign not in _SIGNS_2:
                    sign = letter
            add(Token(SIGN, sign, at))
            at += len(sign)
    add(Token(END, "", end))
    return found


def string_end(text: str, at: int) -> int:
    """Behind the quote that ends the string that begins at a place; of one that does not end, its line's end."""
    at += 1
    while at < len(text) and text[at] != "\n":
        if text[at] == "\\":
            at += 1
        elif text[at] == '"':
            return at + 1
        at += 1
    return min(at, len(text))


def _is_exponent(text: str, start: int, at: int) -> bool:
    """Whether a sign belongs to a number: 1e-3, 0x1p+2."""
    before = text[at - 1]
    return before in "pP" or (before in "eE" and text[start : start + 2].lower() != "0x")


def _number(text: str, start: int) -> Token:
    digits = text.rstrip("uUlL")
    suffix = text[len(digits) :].lower()
    hexadecimal = digits[:2].lower() == "0x"
    try:
        base = 16 if hexadecimal else 2 if digits[:2].lower() == "0b" else 8 if digits[:1] == "0" else 10
        value = int(digits, base if len(digits) > 1 else 10)
    except ValueError:
        return Token(FRACTION, text, start)
    bits = 64 if "l" in suffix else 32
    signed = "u" not in suffix
    decimal = base == 10 or len(digits) == 1
    if bits == 32 and value > (_INT_MAX if signed else 0xFFFFFFFF):
        signed = signed and (decimal or value > 0xFFFFFFFF)
        bits = 32 if value <= 0xFFFFFFFF and not signed else 64
    if bits == 64 and signed and value > _LONG_MAX:
        signed = False
    return Token(NUMBER, text, start, value & (1 << 64) - 1, bits, signed)


def _character(text: str, start: int) -> Token:
    """A character constant; a lone quote when it does not end."""
    letter = text[start + 1 : start + 2]
    if letter == "\\":
        letter = text[start + 2 : start + 3]
        at = start + 3
        if letter == "x" or letter in "01234567":
            at = start + 2 + (letter == "x")
            first = at
            while text[at : at + 1] in frozenset("0123456789abcdefABCDEF") and at < first + 3:
                at += 1
            digits = text[first:at]
            try:
                value = int(digits or "0", 16 if letter == "x" else 8)
            except ValueError:
                return Token(SIGN, "'", start)
        else:
            value = _ESCAPES.get(letter, ord(letter or "\0"))
    else:
        value, at = ord(letter or "\0"), start + 2
    if text[at : at + 1] != "'" or (letter in ("'", "\n", "") and at == start + 2):
        return Token(SIGN, "'", start)
    return Token(NUMBER, text[start : at + 1], start, value)
