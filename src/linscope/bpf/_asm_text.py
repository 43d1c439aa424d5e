"""The letters of a line of assembler: signs, words, numbers, registers, each wrong one with its place."""

from __future__ import annotations

import re

from linscope.abi import bpf as b

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Mapping

_NO_MAPS: dict[str, int] = {}
_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[A-Za-z_.$][\w.$-]*")
_NUMBER = re.compile(r"[+-]?\s*(0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)\b")
_REGISTER = re.compile(r"%?([rw])(\d+)\b|%?(fp)\b")
_LABEL = re.compile(r"\s*([A-Za-z_.$<][\w.$<>-]*):(?=\s|$)")
_BYTES = r"(?:[0-9a-f]{2} ){7}(?:(?:[0-9a-f]{2} ){8})?[0-9a-f]{2}\s+"
_NUMBERED = re.compile(rf"\s*(?:\d+:\s*)?(?:{_BYTES})?(?:\([0-9a-f]{{2}}\))?")  # "3: b7 00 ... (b7) "
_COMMENT = re.compile(r"(?:^|\s)#|;|//")
_ANGLE = re.compile(r"\s*<[^>]*>\s*$")  # <LBB0_2> behind a jump of llvm-objdump


class WrongText(Exception):
    """One line cannot be understood: what, at which character of it (from 0), and what may have been meant."""

    def __init__(self, what: str, at: int, hint: str = "") -> None:
        self.what = what
        self.at = at
        self.hint = hint
        super().__init__(what)


class Register:
    """One that was read: its number, and whether it was written as its lower half (w1)."""

    __slots__ = ("at", "half", "number")

    def __init__(self, number: int, half: bool, at: int) -> None:
        self.number = number
        self.half = half
        self.at = at


class Scanner:
    """Reads one line from left to right."""

    def __init__(self, line: str, maps: Mapping[str, int] = _NO_MAPS) -> None:
        """maps: places of the maps that have a name."""
        self.maps = maps
        comment = _COMMENT.search(line)
        self.line = _ANGLE.sub("", line[: comment.start()] if comment else line)
        numbered = _NUMBERED.match(self.line)
        self.at = numbered.end() if numbered else 0

    def labels(self) -> list[str]:
        """The labels that the line begins with; they are passed over."""
        found = []
        while label := _LABEL.match(self.line, self.at):
            found.append(label[1].strip("<>"))
            self.at = label.end()
        return found

    def space(self) -> None:
        """Pass over white space."""
        match = _SPACE.match(self.line, self.at)
        self.at = match.end() if match else self.at

    def at_end(self) -> bool:
        """True if nothing but space is left."""
        self.space()
        return self.at >= len(self.line)

    def rest(self) -> str:
        """What is left, for messages."""
        return self.line[self.at :].rstrip()

    def take(self, *texts: str) -> str:
        """The first of some texts that stands here, which is passed over; "" if none does.

        Of "<" and "<<=" name the longer one first; spaces within a text may be any, or none.
        """
        self.space()
        for text in texts:
            at = self.at
            for part in text.split(" "):
                if self.line.startswith(part, at):
                    at += len(part)
                    match = _SPACE.match(self.line, at)
                    at = match.end() if match else at
                else:
                    break
            else:
                self.at = at
                return text
        return ""

    def expect(self, text: str) -> None:
        """Pass over a text that has to be here."""
        if not self.take(text):
            rest = self.rest()
            raise WrongText(f"expected {text!r}, not {rest!r}" if rest else f"{text!r} is missing", self.at)

    def word(self) -> str:
        """A word; "" if there is none."""
        self.space()
        match = _WORD.match(self.line, self.at)
        if not match:
            return ""
        self.at = match.end()
        return match[0]

    def peek_word(self) -> str:
        """The word that stands here, which is not passed over."""
        at = self.at
        word = self.word()
        self.at = at
        return word

    def number(self, low: int, high: int, what: str, *, hexadecimal_to: int = 0) -> int:
        """A number from low to high; a hexadecimal one may go to hexadecimal_to.  what: for messages."""
        self.space()
        start = self.at
        found = self.find_number()
        if found is None:
            raise WrongText(f"expected {what}, not {self.rest()!r}" if self.rest() else f"{what} is missing", start)
        limit = max(high, hexadecimal_to) if "x" in self.line[start : self.at].lower() else high
        if not low <= found <= limit:
            raise WrongText(f"{found} does not fit: {what} is {low} to {high}", start)
        return found

    def find_number(self) -> int | None:
        """The number that stands here, which is passed over; None if there is none."""
        self.space()
        match = _NUMBER.match(self.line, self.at)
        if not match:
            return None
        self.at = match.end()
        value = int(match[1], 0) if match[1][:1] != "0" or match[1][1:2] in "xXbB" else int(match[1])
        return -value if match[0][0] == "-" else value

    def find_register(self) -> Register | None:
        """The register that stands here, which is passed over; None if there is none.  Raises WrongText: r11."""
        self.space()
        match = _REGISTER.match(self.line, self.at)
        if not match:
            return None
        at, self.at = self.at, match.end()
        number = int(match[2]) if match[2] else b.MAX_BPF_REG - 1
        if number >= b.MAX_BPF_REG:
            raise WrongText(f"no register {match[0]}", at, "Invalid register: they are r0 to r10")
        return Register(number, match[1] == "w", at)

    def register(self) -> Register:
        """A register."""
        found = self.find_register()
        if found is None:
            what = f"expected a register, not {self.rest()!r}" if self.rest() else "a register is missing"
            raise WrongText(what, self.at)
        return found
