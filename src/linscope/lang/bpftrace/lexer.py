"""bpftrace text -> tokens.

Attach points ("kprobe:vfs_*") are no tokens: the parser asks for them as text where they may stand.
Source: bpftrace docs/language.md and docs/language_parsing.md (v0.26).
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.errors import Diagnostic

IDENTIFIER, VARIABLE, MAP, PARAMETER, NUMBER, STRING, SIGN, END = (
    "identifier", "variable", "map", "parameter", "number", "string", "sign", "end of the program",
)  # fmt: skip
DURATIONS = {
    "ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9,
}  # fmt: skip
_SIGNS = {
    3: frozenset(("<<=", ">>=", "...")),
    2: frozenset("-> ++ -- << >> <= >= == != && || += -= *= /= %= &= |= ^= .. ?:".split()),
    1: frozenset("+-*/%&|^!~<>=?:;,.(){}[]#"),
}
_SPACE = frozenset(" \t\n\r\f\v")
_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_DIGITS = frozenset("0123456789")
_WORD = _FIRST | _DIGITS
_HEX = frozenset("0123456789abcdefABCDEF_")
_ESCAPES = {"n": 10, "t": 9, "r": 13, "a": 7, "b": 8, "f": 12, "v": 11, "\\": 92, '"': 34, "'": 39, "?": 63}
_INTEGER_SUFFIXES = {"", "u", "l", "ul", "ll", "ull", "lu", "llu"}
_LARGEST = (1 << 64) - 1
_LONGEST = 100  # digits, zeros in front among them


class Token:
    """One token; kind is one of the names above, text as it stands, value of a NUMBER (int) or STRING (bytes)."""

    __slots__ = ("end", "kind", "start", "suffix", "text", "value")

    def __init__(
        self, kind: str, text: str, start: int, end: int, value: int | bytes = 0, suffix: str = ""
    ) -> None:  # fmt: skip
        """start, end: characters from the start of the program; suffix: of a number ("s", "ms", "u", ...)."""
        self.kind = kind
        self.text = text
        self.start = start
        self.end = end
        self.value = value
        self.suffix = suffix


class WrongProgram(Exception):
    """A place at which the text cannot be understood."""

    def __init__(self, what: str, at: int, hint: str = "", end: int = 0) -> None:
        """at: character from the start of the program; end: the one behind what is meant, 0 for one character."""
        super().__init__(what)
        self.what = what
        self.at = at
        self.end = end or at + 1
        self.hint = hint


class Lexer:
    """Tokens of one program, one at a time."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def skip_space(self) -> None:
        """Pass over white space and comments.  Raises WrongProgram for a comment that does not end."""
        text, at, end = self.text, self.at, len(self.text)
        while at < end:
            letter = text[at]
            if letter in _SPACE:
                at += 1
            elif letter == "/" and text.startswith("//", at):
                at = text.find("\n", at)
                at = end if at < 0 else at
            elif letter == "/" and text.startswith("/*", at):
                close = text.find("*/", at + 2)
                if close < 0:
                    self.at = at
                    raise WrongProgram("a comment that does not end", at)
                at = close + 2
            else:
                break
        self.at = at

    def next(self) -> Token:
        """The next token.  Raises WrongProgram."""
        self.skip_space()
        text, start = self.text, self.at
        letter = text[start : start + 1]
        if letter in _FIRST:
            return self._word(IDENTIFIER, start, start + 1)
        if not letter:
            return Token(END, "", start, start)
        if letter == '"':
            return self._string(start)
        if letter in _DIGITS:
            return self._number(start)
        if letter == "@":
            return self._word(MAP, start, start + 1)
        if letter == "$":
            following = text[start + 1 : start + 2]
            if following in _DIGITS:
                self.at = self._past(_DIGITS, start + 1)
                return Token(PARAMETER, text[start : self.at], start, self.at)
            if following == "#":
                self.at = start + 2
                return Token(PARAMETER, "$#", start, self.at)
            if following in _FIRST and following:
                return self._word(VARIABLE, start, start + 2)
        for length in (3, 2, 1):
            sign = text[start : start + length]
            if sign in _SIGNS[length]:
                self.at = start + length
                return Token(SIGN, sign, start, self.at)
        hint = 'strings stand in double quotes: "a"' if letter == "'" else ""
        raise WrongProgram(f"unexpected {letter!r}", start, hint)

    def _past(self, letters: frozenset[str], at: int) -> int:
        """Where letters of a kind end."""
        text, end = self.text, len(self.text)
        while at < end and text[at] in letters:
            at += 1
        return at

    def _word(self, kind: str, start: int, at: int) -> Token:
        self.at = self._past(_WORD, at)
        return Token(kind, self.text[start : self.at], start, self.at)

    def tuple_index(self) -> Token | None:
        """The digits behind a dot ("$t.0.1"); None when others stand here."""
        start = self.at
        self.at = self._past(_DIGITS, start)
        if self.at == start:
            return None
        digits = self.text[start : self.at]
        return Token(NUMBER, digits, start, self.at)

    def attach_point(self) -> Token:
        """The text of an attach point, up to space, a comma or a brace.  Raises WrongProgram: none."""
        self.skip_space()
        text, start = self.text, self.at
        at, end = start, len(text)
        while at < end:
            letter = text[at]
            if letter == '"':
                close = text.find('"', at + 1)
                if close < 0:
                    break
                at = close
            elif letter in _SPACE or letter == "{" or (letter == "," and not self._in_brackets(at + 1)):
                break
            at += 1
        if text.startswith("}", start):
            raise WrongProgram("a } without a { before it", start)
        if at == start:
            raise WrongProgram("a probe is missing", start, "kprobe:vfs_read, tracepoint:sched:sched_switch, begin ...")
        if not text[start:at].isprintable():
            raise WrongProgram(f"no name of a probe: {text[start:at]!a}", start, end=at)
        self.at = at
        return Token(IDENTIFIER, text[start:at], start, at)

    def _in_brackets(self, at: int) -> bool:
        """Whether a bracket closes before space or a brace: a comma in the arguments of a C++ function."""
        text, end = self.text, len(self.text)
        while at < end and text[at] not in _SPACE and text[at] not in "{(":
            if text[at] == ")":
                return True
            at += 1
        return False

    def _number(self, start: int) -> Token:
        text = self.text
        if text[start : start + 2] in ("0x", "0X"):
            digits_end = self._past(_HEX, start + 2)
        elif text[start : start + 2] in ("0b", "0B"):
            digits_end = self._past(frozenset("01_"), start + 2)
        else:
            digits_end = self._past(_DIGITS | {"_"}, start)
            if text[digits_end : digits_end + 1] in ("e", "E") and text[digits_end + 1 : digits_end + 2] in _DIGITS:
                digits_end = self._past(_DIGITS, digits_end + 1)
        self.at = self._past(_WORD, digits_end)
        digits, suffix = text[start:digits_end].replace("_", ""), text[digits_end : self.at]
        if suffix and suffix not in DURATIONS and suffix.lower() not in _INTEGER_SUFFIXES:
            hint = f"durations are {', '.join(DURATIONS)}; integers may end in u, l, ul, ll, ull"
            raise WrongProgram(f"a number cannot end in {suffix!r}", digits_end, hint)
        base, _, exponent = digits.lower().partition("e") if digits[:2].lower() != "0x" else (digits, "", "")
        if len(base) > _LONGEST:
            raise WrongProgram(f"a number of {len(base)} digits does not fit into 64 bits", start)
        octal = len(base) > 1 and base[0] == "0" and base.isdigit()
        try:
            value = int(base, 8 if octal else 0)
        except ValueError:
            hint = "octal numbers have the digits 0 to 7" if octal else "digits are missing"
            raise WrongProgram(f"no number: {digits!r}", start, hint, digits_end) from None
        if exponent:
            if len(exponent) > 2 or int(exponent) > 19:
                raise WrongProgram(f"{digits} does not fit into 64 bits", start)
            value *= 10 ** int(exponent)
        value *= DURATIONS.get(suffix, 1)
        if value > _LARGEST:
            raise WrongProgram(f"{text[start : self.at]} does not fit into 64 bits", start)
        return Token(NUMBER, text[start : self.at], start, self.at, value, suffix)

    def _string(self, start: int) -> Token:
        out = bytearray()
        at = start + 1
        text = self.text
        while at < len(text):
            letter = text[at]
            if letter == '"':
                self.at = at + 1
                return Token(STRING, text[start : self.at], start, self.at, bytes(out))
            if letter != "\\":
                try:
                    out += letter.encode(errors="surrogateescape")  # bytes of the command line that are not UTF-8
                except UnicodeEncodeError:
                    raise WrongProgram(f"no character: {letter!a}", at) from None
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
            end = min(self._past(_HEX - {"_"}, at + 1), at + 3)
            if end > at + 1:
                return int(text[at + 1 : end], 16), end
        elif letter and letter in "01234567":
            end = min(self._past(frozenset("01234567"), at), at + 3)
            return int(text[at:end], 8) & 0xFF, end
        elif letter in _ESCAPES and letter:
            return _ESCAPES[letter], at + 1
        raise WrongProgram(f"no escape: {chr(92) + letter!r}", at - 1, r"\n \t \\ \" \0nn \xnn")


def diagnostic(text: str, wrong: WrongProgram) -> Diagnostic:
    """A mistake with its line and columns in the program."""
    from linscope.lang.bpftrace.problems import diagnostic_at

    return diagnostic_at(text, (wrong.at, wrong.end), wrong.what, wrong.hint)
