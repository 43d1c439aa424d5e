"""bpftrace text -> tokens.

Attach points ("kprobe:vfs_*") are no tokens: the parser asks for them as text where they may stand.
Source: bpftrace docs/language.md and docs/language_parsing.md (v0.26).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from linscope.errors import Diagnostic

IDENTIFIER, VARIABLE, MAP, PARAMETER, NUMBER, STRING, SIGN, END = (
    "identifier", "variable", "map", "parameter", "number", "string", "sign", "end of the program",
)  # fmt: skip
DURATIONS = {
    "ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9,
}  # fmt: skip
_SIGNS = (
    "<<=", ">>=", "...",
    "->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=",
    "..", "?:",
    *"+-*/%&|^!~<>=?:;,.(){}[]#",
)  # fmt: skip
_SPACE = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_TOKEN = re.compile(
    r"(?P<number>0[xX][0-9a-fA-F_]+|0[bB][01_]+|[0-9][0-9_]*(?:[eE][0-9]+)?)(?P<suffix>(?:[A-Za-z]\w*)?)"
    r"|(?P<variable>\$[A-Za-z_]\w*)"
    r"|(?P<parameter>\$(?:\d+|\#))"
    r"|(?P<map>@[A-Za-z_]?\w*)"
    r"|(?P<word>[A-Za-z_]\w*)"
    r'|(?P<string>")'
    r"|(?P<sign>" + "|".join(map(re.escape, _SIGNS)) + ")"
)
_DIGITS = re.compile(r"[0-9]+")
_ATTACH_POINT = re.compile(r'(?:"[^"\n]*"|[^\s{,"]|,(?=[^\s{]*\)))+')
_ESCAPES = {"n": 10, "t": 9, "r": 13, "a": 7, "b": 8, "f": 12, "v": 11, "\\": 92, '"': 34, "'": 39, "?": 63}
_INTEGER_SUFFIXES = {"", "u", "l", "ul", "ll", "ull", "lu", "llu"}
_LARGEST = (1 << 64) - 1


class Token(NamedTuple):
    """One token; kind is one of the names above, text as it stands, value of a NUMBER (int) or STRING (bytes)."""

    kind: str
    text: str
    start: int  # characters from the start of the program
    end: int
    value: int | bytes = 0
    suffix: str = ""  # of a number: "s", "ms", "u", ...


class WrongProgram(Exception):
    """A place at which the text cannot be understood."""

    def __init__(self, what: str, at: int, hint: str = "") -> None:
        """at: character from the start of the program."""
        super().__init__(what)
        self.what = what
        self.at = at
        self.hint = hint


class Lexer:
    """Tokens of one program, one at a time."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def skip_space(self) -> None:
        """Pass over white space and comments.  Raises WrongProgram for a comment that does not end."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        if self.text.startswith("/*", self.at):
            raise WrongProgram("a comment that does not end", self.at)

    def next(self) -> Token:
        """The next token.  Raises WrongProgram."""
        self.skip_space()
        start = self.at
        if start >= len(self.text):
            return Token(END, "", start, start)
        match = _TOKEN.match(self.text, start)
        if match is None:
            raise WrongProgram(f"unexpected {self.text[start]!r}", start)
        if match["string"]:
            return self._string(start)
        self.at = match.end()
        text = match[0]
        if match["number"]:
            return self._number(match, start)
        kind = next(
            kind
            for group, kind in (
                ("variable", VARIABLE), ("parameter", PARAMETER), ("map", MAP), ("word", IDENTIFIER), ("sign", SIGN),
            )
            if match[group] is not None
        )  # fmt: skip
        return Token(kind, text, start, self.at)

    def tuple_index(self) -> Token | None:
        """The digits behind a dot ("$t.0.1"); None when others stand here."""
        match = _DIGITS.match(self.text, self.at)
        if match is None:
            return None
        start, self.at = self.at, match.end()
        return Token(NUMBER, match[0], start, self.at, int(match[0]))

    def attach_point(self) -> Token:
        """The text of an attach point, up to space, a comma or a brace.  Raises WrongProgram: none."""
        self.skip_space()
        start = self.at
        match = _ATTACH_POINT.match(self.text, start)
        if match is None:
            raise WrongProgram("a probe is missing", start, "kprobe:vfs_read, tracepoint:sched:sched_switch, begin ...")
        self.at = match.end()
        return Token(IDENTIFIER, match[0], start, self.at)

    def _number(self, match: re.Match[str], start: int) -> Token:
        text, suffix = match["number"].replace("_", ""), match["suffix"]
        if suffix and suffix not in DURATIONS and suffix.lower() not in _INTEGER_SUFFIXES:
            hint = f"durations are {', '.join(DURATIONS)}; integers may end in u, l, ul, ll, ull"
            raise WrongProgram(f"a number cannot end in {suffix!r}", match.end("number"), hint)
        base, _, exponent = text.lower().partition("e") if text[:2].lower() != "0x" else (text, "", "")
        octal = len(base) > 1 and base[0] == "0" and base.isdigit()
        try:
            value = int(base, 8 if octal else 0)
        except ValueError:
            raise WrongProgram(f"no number: {text!r}", start, "octal numbers have the digits 0 to 7") from None
        if exponent:
            if int(exponent) > 19:
                raise WrongProgram(f"{text} does not fit into 64 bits", start)
            value *= 10 ** int(exponent)
        value *= DURATIONS.get(suffix, 1)
        if value > _LARGEST:
            raise WrongProgram(f"{match[0]} does not fit into 64 bits", start)
        return Token(NUMBER, match[0], start, self.at, value, suffix)

    def _string(self, start: int) -> Token:
        out = bytearray()
        at = start + 1
        text = self.text
        while at < len(text):
            letter = text[at]
            if letter == '"':
                self.at = at + 1
                return Token(STRING, text[start : self.at], start, self.at, bytes(out))
            if letter == "\n":
                break
            if letter != "\\":
                out += letter.encode()
                at += 1
                continue
            code, at = self._escape(at + 1)
            out.append(code)
        raise WrongProgram("a string that does not end", start)

    def _escape(self, at: int) -> tuple[int, int]:
        """(byte, where it goes on) of what stands behind a backslash."""
        text = self.text
        letter = text[at : at + 1]
        if letter == "x":
            digits = re.compile(r"[0-9a-fA-F]{1,2}").match(text, at + 1)
            if digits:
                return int(digits[0], 16), digits.end()
        elif letter and letter in "01234567":
            digits = re.compile(r"[0-7]{1,3}").match(text, at)
            assert digits is not None
            return int(digits[0], 8) & 0xFF, digits.end()
        elif letter in _ESCAPES and letter:
            return _ESCAPES[letter], at + 1
        raise WrongProgram(f"no escape: {chr(92) + letter!r}", at - 1, r"\n \t \\ \" \0nn \xnn")


def diagnostic(text: str, wrong: WrongProgram) -> Diagnostic:
    """A mistake with its line and column in the program."""
    begin = text.rfind("\n", 0, wrong.at) + 1
    end = text.find("\n", wrong.at)
    source = text[begin : end if end >= 0 else len(text)]
    line, column = text.count("\n", 0, wrong.at) + 1, wrong.at - begin + 1
    return Diagnostic(wrong.what, line=line, column=column, source=source, hint=wrong.hint)
