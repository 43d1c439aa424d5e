"""A small C preprocessor: conditions, definitions, headers.  It gives the lines that are left.

Lenient in headers, for what it serves is types and constants: a condition that it cannot judge does not hold.
Source: C11, 6.10.
"""

from __future__ import annotations

import os

from linscope.lang.bpftrace.problems import Wrong
from linscope.lang.definitions.c_expressions import evaluate
from linscope.lang.definitions.c_tokens import FIRST, WORD, string_end

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Macro = tuple[list[str] | None, str]  # parameters (None: it takes none), text

_FOLDERS = ("/usr/include", "/usr/local/include")
_MOST_HEADERS = 1000
_DEEPEST = 60
_MOST_MACROS = 500_000  # replaced in one script: two that double each other would fill the memory
# folders of the kernel's own headers: where BTF is, their types need no file
_KERNEL = (
    "linux/", "net/", "asm/", "uapi/", "asm-generic/", "trace/", "crypto/", "drm/", "media/", "rdma/", "scsi/",
    "sound/", "video/", "xen/", "acpi/", "generated/", "kernel/", "fs/", "block/", "mm/", "bpf/", "../", "kvm/",
    "clocksource/", "dt-bindings/", "keys/", "math-emu/", "memory/", "misc/", "pcmcia/", "ras/", "soc/", "target/",
    "vdso/",
)  # fmt: skip
# headers that belong to a compiler, and what tracing programs want of them
_COMPILER = {
    "stddef.h": "#define NULL 0", "stdarg.h": "", "float.h": "", "iso646.h": "", "stdalign.h": "", "stdnoreturn.h": "",
    "stdbool.h": "#define bool _Bool\n#define true 1\n#define false 0",
    "limits.h": "#define CHAR_BIT 8\n#define INT_MAX 2147483647\n#define INT_MIN (-INT_MAX - 1)\n"
    "#define UINT_MAX 4294967295U\n#define LONG_MAX 9223372036854775807L\n#define LONG_MIN (-LONG_MAX - 1L)\n"
    "#define ULONG_MAX 18446744073709551615UL\n#define SHRT_MAX 32767\n#define USHRT_MAX 65535\n"
    "#define SCHAR_MAX 127\n#define UCHAR_MAX 255\n#define PATH_MAX 4096\n#define NAME_MAX 255",
}  # fmt: skip
# of a compiler that is old enough for headers not to try its latest words on us
_PREDEFINED = {
    "__LP64__": "1", "_LP64": "1", "__STDC__": "1", "__linux__": "1", "__unix__": "1", "__STDC_VERSION__": "201112L",
    "__GNUC__": "4", "__GNUC_MINOR__": "2", "__CHAR_BIT__": "8", "__SIZE_TYPE__": "unsigned long",
    "__PTRDIFF_TYPE__": "long", "__WCHAR_TYPE__": "int", "__INTMAX_TYPE__": "long", "__UINTMAX_TYPE__": "unsigned long",
    "__INT_MAX__": "2147483647", "__LONG_MAX__": "9223372036854775807L", "__SIZEOF_POINTER__": "8",
    "__SIZEOF_LONG__": "8", "__SIZEOF_INT__": "4", "__ORDER_LITTLE_ENDIAN__": "1234", "__ORDER_BIG_ENDIAN__": "4321",
    "__BYTE_ORDER__": "1234", "__BIGGEST_ALIGNMENT__": "16", "__signed__": "signed", "__inline__": "inline",
    "__const": "const", "__volatile__": "volatile",
}  # fmt: skip
_MACHINES = {"x86_64": ("__x86_64__", "__x86_64", "__amd64__"), "aarch64": ("__aarch64__", "__ARM_64BIT_STATE")}


class Preprocessor:
    """The macros of a script, and the text that its conditions leave."""

    def __init__(self, include_dirs: Sequence[str], have_btf: bool) -> None:
        """have_btf: the kernel's types are there without headers (``BPFTRACE_HAVE_BTF``)."""
        machine = os.uname().machine
        self.folders = [*include_dirs, *_FOLDERS, f"/usr/include/{machine}-linux-gnu"]
        self.have_btf = have_btf
        self.macros: dict[str, Macro] = {name: (None, text) for name, text in _PREDEFINED.items()}
        for name in _MACHINES.get(machine, ()):
            self.macros[name] = (None, "1")
        if have_btf:
            self.macros["BPFTRACE_HAVE_BTF"] = (None, "1")
        self.own = set(self.macros)  # those that no text has defined
        self._seen: set[str] = set()
        self._left = _MOST_MACROS
        self._conditions: list[list[bool]] = []  # of the open #if: [holds, one before it held]

    @property
    def is_active(self) -> bool:
        """Whether the text here counts."""
        return all(holds for holds, _ in self._conditions)

    @property
    def is_open(self) -> bool:
        """Whether an #if has no #endif yet."""
        return bool(self._conditions)

    def line(self, text: str, *, number: int = 1, folder: str = "", depth: int = 0) -> list[str]:
        """What a directive leaves: the lines of a header.

        number: of the line, as a C compiler would count; depth: of the header that it stands in, 0 in the script.
        Raises Wrong: no such header, #error.
        """
        stripped = text.strip()[1:].lstrip()
        end = 0
        while end < len(stripped) and stripped[end] in WORD:
            end += 1
        word, rest = stripped[:end], stripped[end:].replace("\\\n", " ")
        rest = without_comments(rest).strip() if "/" in rest else rest.strip()
        span = (0, len(text.partition("\n")[0]))
        if word in ("if", "ifdef", "ifndef", "elif", "else", "endif"):
            self._condition(word, rest, span)
        elif self.is_active:
            if word == "define":
                self._define(rest, span, depth)
            elif word == "undef":
                self.macros.pop(rest, None)
                self.own.discard(rest)
            elif word in ("include", "include_next"):
                return self._include(rest, text, number, folder, depth, is_next=word == "include_next")
            elif word == "error" and not depth:
                raise Wrong(span, f"#error {rest}")
            elif word not in ("", "error", "warning", "pragma", "line", "ident") and not depth:
                raise Wrong(span, f"invalid preprocessing directive: #{word}")
        return []

    def _condition(self, word: str, rest: str, span: tuple[int, int]) -> None:
        if word in ("if", "ifdef", "ifndef"):
            outer = self.is_active
            if word == "if":
                holds = outer and self._holds(rest)
            else:
                name = (rest.split(maxsplit=1) or [""])[0]
                holds = outer and (name in self.macros) == (word == "ifdef")
            self._conditions.append([holds, holds or not outer])
            return
        if not self._conditions:
            raise Wrong(span, f"#{word} without #if")
        if word == "endif":
            self._conditions.pop()
            return
        last = self._conditions[-1]
        last[0] = not last[1] and (word == "else" or self._holds(rest))
        last[1] = last[1] or last[0]

    def _define(self, rest: str, span: tuple[int, int], depth: int) -> None:
        end = 0
        while end < len(rest) and rest[end] in WORD:
            end += 1
        name, body = rest[:end], rest[end:]
        if not name or name[0] not in FIRST:
            if depth:
                return
            raise Wrong(span, "macro name must be an identifier")
        parameters: list[str] | None = None
        if body[:1] == "(":
            inside, _, body = body[1:].partition(")")
            parameters = [one.strip() for one in inside.split(",")] if inside.strip() else []
        self.macros[name] = (parameters, body.strip())
        self.own.discard(name)

    # -- headers

    def _include(self, rest: str, text: str, number: int, folder: str, depth: int, *, is_next: bool) -> list[str]:
        if rest[:1] not in '<"':
            rest = self.expand(rest).strip()
        quoted = rest[:1] == '"'
        name = rest[1:].partition('"' if quoted else ">")[0].strip()
        if depth > _DEEPEST or len(self._seen) > _MOST_HEADERS:
            return []
        for place in ([folder or "."] if quoted else []) + self.folders:
            path = f"{place}/{name}"
            if is_next and path in self._seen:
                continue
            if os.path.isfile(path):
                return self._read(path, depth)
        if name in _COMPILER:
            return self._lines(_COMPILER[name], "", depth)
        if not depth and not (self.have_btf and name.startswith(_KERNEL)):
            column = text.find(rest[:1]) + 1
            start = text.find(name) - 1
            raise Wrong(
                (max(start, 0), max(start, 0) + len(name) + 2),
                f"definitions.h:{number}:{column}: fatal error: '{name}' file not found",
                f"it is looked for in {', '.join(self.folders)}; -I adds a folder",
            )
        return []

    def _read(self, path: str, depth: int) -> list[str]:
        if path in self._seen:  # nearly all guard themselves; those that do not define the same again
            return []
        self._seen.add(path)
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        return self._lines(without_comments(text).replace("\\\n", " "), path.rpartition("/")[0], depth)

    def _lines(self, text: str, folder: str, depth: int) -> list[str]:
        left: list[str] = []
        before = len(self._conditions)
        active = self.is_active
        for line in text.split("\n"):
            stripped = line.lstrip()
            if stripped[:1] == "#":
                left += self.line(stripped, folder=folder, depth=depth + 1)
                active = self.is_active
            elif active and stripped:
                left.append(self.expand(line))  # now: many headers undefine what they used
        del self._conditions[before:]
        return left

    # -- macros

    def expand(self, text: str, hidden: frozenset[str] = frozenset()) -> str:
        """A text with its macros replaced.  hidden: those that stand for themselves now."""
        macros, out, at, end = self.macros, [], 0, len(text)
        if len(hidden) > _DEEPEST:
            return text
        while at < end:
            letter = text[at]
            if letter in FIRST:
                start = at
                at += 1
                while at < end and text[at] in WORD:
                    at += 1
                name = text[start:at]
                found = macros.get(name)
                if found is None or name in hidden or self._left <= 0:
                    out.append(name)
                    continue
                self._left -= 1 + len(found[1]) // 16
                parameters, body = found
                if parameters is None:
                    out.append(self.expand(body, hidden | {name}) if body else "")
                    continue
                bracket = at
                while bracket < end and text[bracket] in " \t\n":
                    bracket += 1
                if text[bracket : bracket + 1] != "(":
                    out.append(name)
                    continue
                arguments, at = _arguments(text, bracket)
                whole = [self.expand(one, hidden) for one in arguments]
                out.append(self.expand(_replaced(body, parameters, arguments, whole), hidden | {name}))
            elif letter == '"':
                start, at = at, string_end(text, at)
                out.append(text[start:at])
            elif letter in WORD:
                start = at
                while at < end and text[at] in WORD:
                    at += 1
                out.append(text[start:at])
            else:
                out.append(letter)
                at += 1
        return "".join(out)

    def _holds(self, text: str) -> bool:
        """Whether the expression of an #if is not 0."""
        return bool(evaluate(self.expand(self._defined(text))))

    def _defined(self, text: str) -> str:
        """defined(X) and defined X as 1 or 0; questions to the compiler as 0."""
        out, at = [], 0
        while at < len(text):
            if text[at] not in FIRST:
                out.append(text[at])
                at += 1
                continue
            start = at
            while at < len(text) and text[at] in WORD:
                at += 1
            word = text[start:at]
            if word != "defined" and not word.startswith("__has_"):
                out.append(word)
                continue
            rest = text[at:].lstrip()
            bracket = rest.startswith("(")
            if bracket:
                inside, _, behind = rest[1:].partition(")")
            else:
                size = 0
                while size < len(rest) and rest[size] in WORD:
                    size += 1
                inside, behind = rest[:size], rest[size:]
            if word == "defined":
                out.append(f" {int(inside.strip() in self.macros)} ")
            elif word == "__has_include":
                name = inside.strip()[1:-1]
                out.append(f" {int(any(os.path.isfile(f'{place}/{name}') for place in self.folders))} ")
            else:
                out.append(" 0 ")
            at = len(text) - len(behind)
        return "".join(out)


def _arguments(text: str, at: int) -> tuple[list[str], int]:
    """(arguments, place behind it) of the bracket at a place."""
    depth, start, place = 0, at + 1, at
    found: list[str] = []
    while place < len(text):
        letter = text[place]
        if letter == '"':
            place = string_end(text, place)
            continue
        if letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
            if not depth:
                found.append(text[start:place].strip())
                return found, place + 1
        elif letter == "," and depth == 1:
            found.append(text[start:place].strip())
            start = place + 1
        place += 1
    return found, len(text)


def _replaced(body: str, parameters: list[str], arguments: Sequence[str], expanded: Sequence[str]) -> str:
    """A macro's text with its arguments: as they are beside # and ##, expanded elsewhere."""
    if parameters and parameters[-1].endswith("..."):
        name = parameters[-1].removesuffix("...").strip() or "__VA_ARGS__"
        first = len(parameters) - 1
        parameters = [*parameters[:-1], name]
        arguments = [*arguments[:first], ", ".join(arguments[first:])]
        expanded = [*expanded[:first], ", ".join(expanded[first:])]
    plain = dict(zip(parameters, arguments, strict=False))
    whole = dict(zip(parameters, expanded, strict=False))
    out: list[str] = []
    for word, pasted, quoted in _words(body):
        if quoted and word in plain:
            out.append('"' + plain[word].replace("\\", "\\\\").replace('"', '\\"') + '"')
        else:
            out.append((plain if pasted else whole).get(word, word))
    return "".join(out)


def _words(body: str) -> Iterable[tuple[str, bool, bool]]:
    """(word, stands beside ##, stands behind #) of a macro's text; the signs themselves are gone."""
    found: list[list[object]] = []
    at, pasted, quoted = 0, False, False
    while at < len(body):
        letter = body[at]
        if body.startswith("##", at):
            while found and str(found[-1][0]).isspace():
                found.pop()
            if found:
                found[-1][1] = True
            pasted, at = True, at + 2
            continue
        if letter == "#":
            quoted, at = True, at + 1
            continue
        start = at
        if letter == '"':
            at = string_end(body, at)
        elif letter in WORD:
            while at < len(body) and body[at] in WORD:
                at += 1
        else:
            at += 1
            if letter.isspace() and (pasted or quoted):
                continue
        found.append([body[start:at], pasted, quoted])
        pasted = quoted = False
    return [(str(word), bool(beside), bool(behind)) for word, beside, behind in found]


def without_comments(text: str) -> str:
    """C without comments; its lines stay where they are."""
    out, at = [], 0
    while True:
        block, line, string = text.find("/*", at), text.find("//", at), text.find('"', at)
        first = min((place for place in (block, line) if place >= 0), default=-1)
        if first < 0:
            break
        if 0 <= string < first:
            end = string_end(text, string)
            out.append(text[at:end])
            at = end
            continue
        out.append(text[at:first])
        if first == block:
            end = text.find("*/", first + 2)
            end = len(text) if end < 0 else end + 2
            out.append("\n" * text.count("\n", first, end) or " ")
        else:
            end = text.find("\n", first)
            end = len(text) if end < 0 else end
        at = end
    out.append(text[at:])
    return "".join(out)
