"""A small C preprocessor: conditions, definitions, headers.  It gives the lines that are left.

Lenient, for what it serves is types and constants: a condition that it cannot judge does not hold.
"""

from __future__ import annotations

import os

from linscope.lang.bpftrace.problems import Wrong

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence

_FOLDERS = ("/usr/include", "/usr/local/include")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789")
_MOST_HEADERS = 500
_DEEPEST = 40
# folders of the kernel's own headers: where BTF is, their types need no file
_KERNEL = (
    "linux/", "net/", "asm/", "uapi/", "asm-generic/", "trace/", "crypto/", "drm/", "media/", "rdma/", "scsi/",
    "sound/", "video/", "xen/", "acpi/", "generated/", "kernel/", "fs/", "block/", "mm/", "bpf/", "../",
)  # fmt: skip


class Preprocessor:
    """The macros of a script, and the text that its conditions leave."""

    def __init__(self, include_dirs: Sequence[str], have_btf: bool) -> None:
        machine = os.uname().machine
        self.folders = [*include_dirs, *_FOLDERS, f"/usr/include/{machine}-linux-gnu"]
        self.have_btf = have_btf
        self.macros: dict[str, tuple[list[str] | None, str]] = {
            "__x86_64__": (None, "1"), "__LP64__": (None, "1"), "__STDC__": (None, "1"), "__linux__": (None, "1"),
            "__STDC_VERSION__": (None, "201112L"), "__CHAR_BIT__": (None, "8"),
        }  # fmt: skip
        if have_btf:
            self.macros["BPFTRACE_HAVE_BTF"] = (None, "1")
        self.seen: set[str] = set()
        self._conditions: list[list[bool]] = []  # of the open #if: [taken now, taken before]

    @property
    def is_active(self) -> bool:
        """Whether the text here counts."""
        return all(taken for taken, _ in self._conditions)

    def line(self, text: str, span: tuple[int, int], *, folder: str = "", depth: int = 0) -> list[str]:
        """What a directive of the script leaves: the lines of a header.  Raises Wrong: no such header."""
        word, _, rest = text.strip()[1:].strip().partition(" ")
        if "\t" in word:
            word, _, rest = text.strip()[1:].strip().partition("\t")
        rest = _without_comment(rest.replace("\\\n", " ")).strip()
        if word in ("if", "ifdef", "ifndef", "elif", "else", "endif"):
            self._condition(word, rest, span)
        elif self.is_active:
            if word == "define":
                self._define(rest)
            elif word == "undef":
                self.macros.pop(rest, None)
            elif word in ("include", "include_next"):
                return self._include(rest, span, folder, depth)
            elif word == "error" and not depth:
                raise Wrong(span, f"#error {rest}")
        return []

    def _condition(self, word: str, rest: str, span: tuple[int, int]) -> None:
        outer = self.is_active
        if word in ("if", "ifdef", "ifndef"):
            if word == "if":
                taken = outer and self._holds(rest)
            else:
                taken = (rest.split(maxsplit=1)[0:1] or [""])[0] in self.macros
                taken = outer and taken == (word == "ifdef")
            self._conditions.append([taken, taken or not outer])
            return
        if not self._conditions:
            raise Wrong(span, f"#{word} without #if")
        if word == "endif":
            self._conditions.pop()
            return
        last = self._conditions[-1]
        taken = not last[1] and (word == "else" or self._holds(rest))
        last[0] = taken
        last[1] = last[1] or taken

    def _define(self, rest: str) -> None:
        end = 0
        while end < len(rest) and rest[end] in _LETTERS:
            end += 1
        name, body = rest[:end], rest[end:]
        parameters: list[str] | None = None
        if body[:1] == "(":
            inside, _, body = body[1:].partition(")")
            parameters = [one.strip() for one in inside.split(",")]
        if name:
            self.macros[name] = (parameters, body.strip())

    def _include(self, rest: str, span: tuple[int, int], folder: str, depth: int) -> list[str]:
        name = rest.strip('<>" \t')
        if depth > _DEEPEST or len(self.seen) > _MOST_HEADERS:
            return []
        for place in ([folder] if folder and rest[:1] == '"' else []) + self.folders:
            path = os.path.join(place, name)
            if os.path.isfile(path):
                return self._read(path, depth)
        if not depth and not (self.have_btf and name.startswith(_KERNEL)):
            column = 1 + len("#include ")
            raise Wrong(span, f"definitions.h:2:{column}: fatal error: '{name}' file not found")
        return []

    def _read(self, path: str, depth: int) -> list[str]:
        if path in self.seen:
            return []
        self.seen.add(path)
        with open(path, encoding="utf-8", errors="replace") as file:
            text = _without_comments(file.read()).replace("\\\n", " ")
        left: list[str] = []
        before = len(self._conditions)
        for line in text.split("\n"):
            if line.lstrip().startswith("#"):
                left += self.line(line, (0, 1), folder=path.rpartition("/")[0], depth=depth + 1)
            elif self.is_active and line.strip():
                left.append(self.expand(line))
        del self._conditions[before:]
        return left

    # -- macros

    def expand(self, text: str, depth: int = 0) -> str:
        """A text with its macros replaced."""
        if depth > _DEEPEST or not any(letter in _LETTERS for letter in text):
            return text
        out: list[str] = []
        at = 0
        while at < len(text):
            letter = text[at]
            if letter == '"':
                end = text.find('"', at + 1)
                end = len(text) if end < 0 else end + 1
                out.append(text[at:end])
                at = end
                continue
            if letter not in _LETTERS:
                out.append(letter)
                at += 1
                continue
            end = at
            while end < len(text) and text[end] in _LETTERS:
                end += 1
            name = text[at:end]
            at = end
            found = self.macros.get(name)
            if found is None:
                out.append(name)
                continue
            parameters, body = found
            if parameters is None:
                out.append(self.expand(body, depth + 1) if name not in body.split() else body)
            elif text[at:].lstrip()[:1] == "(":
                arguments, at = _arguments(text, text.index("(", at))
                out.append(self.expand(_replaced(body, parameters, arguments), depth + 1))
            else:
                out.append(name)
        return "".join(out)

    def _holds(self, text: str) -> bool:
        """Whether the expression of an #if is not 0."""
        text = _defined(text, self.macros)
        value = evaluate(self.expand(text), {})
        return bool(value)


def _defined(text: str, macros: object) -> str:
    """defined(X) and defined X replaced by 1 or 0."""
    out, at = "", 0
    while (place := text.find("defined", at)) >= 0:
        out += text[at:place]
        rest = text[place + 7 :].lstrip()
        bracket = rest.startswith("(")
        rest = rest.lstrip("( ")
        end = 0
        while end < len(rest) and rest[end] in _LETTERS:
            end += 1
        name, rest = rest[:end], rest[end:]
        if bracket:
            rest = rest.lstrip().removeprefix(")")
        out += " 1 " if name in macros else " 0 "  # type: ignore[operator]  # a dict
        text, at = rest, 0
    return out + text[at:]


def evaluate(text: str, known: dict[str, int]) -> int | None:
    """The value of a constant expression in C; names that are not known are 0.  None: it is none."""
    from linscope.lang.bpftrace.parser import parse_expression

    tree = parse_expression(text)
    return None if tree is None else _value(tree, known)


def _value(node: object, known: dict[str, int]) -> int | None:
    from linscope.lang.bpftrace import syntax as sx

    if isinstance(node, sx.Integer):
        return node.value
    if isinstance(node, sx.Identifier):
        return known.get(node.name, 0)
    if isinstance(node, sx.Unary):
        value = _value(node.operand, known)
        if value is None or node.sign not in "-~!+":
            return None
        return {"-": -value, "~": ~value, "!": int(not value), "+": value}[node.sign]
    if isinstance(node, sx.Conditional) and node.yes is not None:
        condition = _value(node.condition, known)
        return _value(node.yes if condition else node.no, known)
    if isinstance(node, sx.Cast):
        return _value(node.operand, known)
    if isinstance(node, sx.Binary):
        left, right = _value(node.left, known), _value(node.right, known)
        return None if left is None or right is None else _binary(node.sign, left, right)
    return None


def _binary(sign: str, left: int, right: int) -> int | None:
    if sign in ("/", "%") and not right:
        return None
    if sign in ("<<", ">>") and not 0 <= right < 64:
        return None
    results = {
        "+": lambda: left + right, "-": lambda: left - right, "*": lambda: left * right, "/": lambda: left // right,
        "%": lambda: left % right, "<<": lambda: left << right, ">>": lambda: left >> right, "&": lambda: left & right,
        "|": lambda: left | right, "^": lambda: left ^ right, "&&": lambda: int(bool(left and right)),
        "||": lambda: int(bool(left or right)), "==": lambda: int(left == right), "!=": lambda: int(left != right),
        "<": lambda: int(left < right), "<=": lambda: int(left <= right), ">": lambda: int(left > right),
        ">=": lambda: int(left >= right),
    }  # fmt: skip
    return int(results[sign]()) if sign in results else None


def _arguments(text: str, at: int) -> tuple[list[str], int]:
    """(arguments, where it goes on) of the bracket at a place."""
    depth, start = 0, at + 1
    found: list[str] = []
    for place in range(at, len(text)):
        letter = text[place]
        if letter == "(":
            depth += 1
        elif letter == ")":
            depth -= 1
            if not depth:
                found.append(text[start:place].strip())
                return found, place + 1
        elif letter == "," and depth == 1:
            found.append(text[start:place].strip())
            start = place + 1
    return found, len(text)


def _replaced(body: str, parameters: list[str], arguments: list[str]) -> str:
    given = dict(zip(parameters, arguments, strict=False))
    out, at = "", 0
    while at < len(body):
        end = at
        while end < len(body) and body[end] in _LETTERS:
            end += 1
        if end > at:
            out += given.get(body[at:end], body[at:end])
            at = end
        else:
            out += body[at]
            at += 1
    return out.replace("##", "")


def _without_comment(line: str) -> str:
    line = line.partition("//")[0]
    while (start := line.find("/*")) >= 0:
        end = line.find("*/", start)
        line = line[:start] + (" " + line[end + 2 :] if end >= 0 else "")
    return line


def _without_comments(text: str) -> str:
    out, at = [], 0
    while (start := text.find("/*", at)) >= 0:
        end = text.find("*/", start + 2)
        end = len(text) if end < 0 else end + 2
        out += [text[at:start], "\n" * text.count("\n", start, end) or " "]
        at = end
    out.append(text[at:])
    lines = "".join(out).split("\n")
    return "\n".join(line.partition("//")[0] if "//" in line and '"' not in line else line for line in lines)
