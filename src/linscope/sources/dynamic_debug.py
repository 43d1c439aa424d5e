"""Dynamic debug: the kernel's debug prints (pr_debug, dev_dbg, ...) and the queries that switch them.

A query is pairs of a keyword and a value, then flags: ``file tcp_input.c line 1-200 +p``.  Everything is checked and
predicted here; nothing is written.
Source: Documentation/admin-guide/dynamic-debug-howto.rst; lib/dynamic_debug.c: ddebug_tokenize, ddebug_parse_query,
ddebug_parse_flags, ddebug_change, ddebug_proc_show.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from linscope.errors import ExpressionError, FormatError, NotInKernel, PermissionDenied

CONTROL_FILES = ("/proc/dynamic_debug/control", "/sys/kernel/debug/dynamic_debug/control")
FLAGS = "pmfltsd"  # print; then what stands in front: module, function, line, thread, source file, call stack
KEYWORDS = ("func", "file", "module", "format", "line", "class")
_MAX_WORDS = 9  # MAXWORDS
_MAX_LINE = (1 << 32) - 1
_LINE = re.compile(
    r'(?P<file>.*?):(?P<line>\d+) \[(?P<module>[^]]*)\](?P<function>\S+) =(?P<flags>\S+) "(?P<rest>.*)\Z'
)
_CLASS = re.compile(r'"(?: class:(?P<name>\S+).*| class unknown, _id:(?P<id>\d+))?\Z')
_OCTAL = re.compile(r"\\([0-7]{1,3}|[nrtvf\\\"ae])")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "v": "\v", "f": "\f", "\\": "\\", '"': '"', "a": "\a", "e": "\x1b"}


class Site(NamedTuple):
    """One debug print of the kernel."""

    file: str  # relative to the kernel's source
    line: int
    module: str
    function: str
    flags: str  # in the order of FLAGS; "" when all are off
    format: str  # as in the source, escapes undone
    class_: str = ""  # name of its class, "" for most; "#13" for a class without a name


class Query(NamedTuple):
    """What a query selects, and what it does to the flags."""

    file: str | None = None
    function: str | None = None
    module: str | None = None
    format: str | None = None
    class_: str | None = None
    first_line: int = 0  # 0: from the first on
    last_line: int = 0  # 0: all
    operation: str = ""  # "+", "-", "="; "" when it only selects
    flags: str = ""

    def matches(self, site: Site) -> bool:
        """True if the kernel would take this site.  Sites of a class are taken only by a query that names it."""
        if (self.class_ or "") != site.class_:
            return False
        if self.module is not None and not _matches(self.module, site.module):
            return False
        if self.file is not None and not (
            _matches(self.file, site.file) or _matches(self.file, site.file.rpartition("/")[2])
        ):
            return False
        if self.function is not None and not _matches(self.function, site.function):
            return False
        if self.format is not None and not (
            site.format.startswith(self.format[1:]) if self.format.startswith("^") else self.format in site.format
        ):
            return False
        return site.line >= self.first_line and (not self.last_line or site.line <= self.last_line)

    def apply(self, flags: str) -> str:
        """The flags of a site that it matches, afterwards."""
        if self.operation == "+":
            kept = set(flags) | set(self.flags)
        elif self.operation == "-":
            kept = set(flags) - set(self.flags)
        else:
            kept = set(self.flags) if self.operation else set(flags)
        return "".join(flag for flag in FLAGS if flag in kept)


class Change(NamedTuple):
    """A site whose flags will be others."""

    site: Site  # with the flags from before
    flags: str  # afterwards


def find_control() -> str:
    """The control file.  Raises NotInKernel without one, PermissionDenied when it cannot be seen."""
    for path in CONTROL_FILES:
        if os.path.exists(path):
            return path
    if os.geteuid() != 0 and not os.access("/sys/kernel/debug", os.X_OK):
        raise PermissionDenied("dynamic debug is for root", next_step="run as root")
    why = "CONFIG_DYNAMIC_DEBUG is off"
    raise NotInKernel("the kernel has no dynamic debug", why=why, next_step="linscope lab run -- linscope dyndbg list")


def parse_sites(text: str) -> list[Site]:
    """The sites of a control file, in its order.  Raises FormatError for a line that the kernel would not write."""
    sites = []
    offset = 0
    for line in text.split("\n"):
        if line and not line.startswith("#"):
            match = _LINE.match(line)
            tail = _CLASS.search(match["rest"]) if match else None
            if match is None or tail is None:
                raise FormatError("not a line of dynamic debug's control file", offset=offset)
            class_ = tail["name"] or (f"#{tail['id']}" if tail["id"] else "")
            flags = match["flags"].replace("_", "")
            format_ = unescape(match["rest"][: tail.start()])
            sites.append(
                Site(match["file"], int(match["line"]), match["module"], match["function"], flags, format_, class_)
            )
        offset += len(line.encode()) + 1
    return sites


def unescape(text: str) -> str:
    """Undo octal and C escapes, as the kernel does (string_unescape); what is none stays."""
    return _OCTAL.sub(lambda match: _ESCAPES.get(match[1]) or chr(int(match[1], 8) & 0xFF), text)


def _matches(pattern: str, text: str) -> bool:
    """The kernel's match_wildcard (lib/parser.c): * and ?, nothing else."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text, re.DOTALL) is not None


# -- queries


def parse_queries(text: str, *, select: bool = False) -> list[Query]:
    """The queries of a text, which ``;`` and line ends separate, even within quotes; empty ones are passed over.

    select: the queries only select, and have no flags.
    Raises ExpressionError, with the place, for what the kernel would refuse.
    """
    queries = [_parse_query(text, words, select) for words in _iter_queries(text)]
    if not queries:
        raise ExpressionError("no query", text=text, position=0, next_step="module usbcore +p")
    return queries


def split_queries(text: str) -> list[str]:
    """The text of each query by itself, without comments.  Raises ExpressionError for a quote that is not closed."""
    return [text[words[0].start : words[-1].end] for words in _iter_queries(text)]


class _Word(NamedTuple):
    """One word of a query, without its quotes, and where it was."""

    text: str
    start: int
    end: int


def _iter_queries(text: str) -> Iterator[list[_Word]]:
    start = 0
    for part in re.split("[;\n]", text):
        words = _split_words(text, start, start + len(part))
        if words:
            yield words
        start += len(part) + 1


def _split_words(text: str, start: int, end: int) -> list[_Word]:
    """Quotes hold blanks together when a word begins with them; # begins a comment when a word does."""
    words = []
    at = start
    while at < end and text[at] != "#":
        if text[at].isspace():
            at += 1
            continue
        if text[at] in "\"'":
            close = text.find(text[at], at + 1, end)
            if close < 0:
                why = "a query ends at ; and at the end of a line, also within quotes"
                what, step = "a quote is not closed", "write ; as \\073"
                raise ExpressionError(what, text=text, position=at, why=why, next_step=step)
            words.append(_Word(text[at + 1 : close], at, close + 1))
            at = close + 1
        else:
            stop = at
            while stop < end and not text[stop].isspace():
                stop += 1
            words.append(_Word(text[at:stop], at, stop))
            at = stop
    return words


class _Builder:
    """Collects the pairs of one query."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.values: dict[str, str] = {}
        self.first_line = self.last_line = 0

    def fail(self, what: str, position: int, *, why: str = "", next_step: str = "") -> ExpressionError:
        return ExpressionError(what, text=self.text, position=position, why=why, next_step=next_step)

    def set(self, keyword: str, value: str, at: int) -> None:
        if keyword in self.values:
            raise self.fail(f"{keyword} is given twice", at, why="the kernel takes each keyword once")
        self.values[keyword] = value

    def set_lines(self, text: str, at: int) -> None:
        if self.first_line or self.last_line:
            raise self.fail("line is given twice", at, why="the kernel takes each keyword once")
        first, dash, last = text.partition("-")
        for number in (first, last):
            digits = number.removeprefix("+")  # which kstrtouint takes
            if number and not (digits.isdigit() and digits.isascii() and int(digits) <= _MAX_LINE):
                raise self.fail(f"not a line number: {number!r}", at, next_step="line 100, 100-200, -200 or 100-")
        self.first_line = int(first or 0)
        self.last_line = (int(last or 0) or _MAX_LINE) if dash else self.first_line
        if self.last_line < self.first_line:
            raise self.fail(f"lines {text} go backwards", at)

    def set_file(self, value: str, at: int) -> None:
        """A file may bring its function or its lines: ``inode.c:start_*``, ``inode.c:1-100``."""
        name, colon, rest = value.partition(":")
        self.set("file", name, at)
        if colon and (rest[:1].isalpha() or rest[:1] in ("*", "?")):
            self.set("func", rest, at + len(name) + 1)
        elif colon:
            self.set_lines(rest, at + len(name) + 1)


def _parse_query(text: str, words: list[_Word], select: bool) -> Query:
    build = _Builder(text)
    operation, flags = "", ""
    if len(words) > _MAX_WORDS - select:
        place = words[_MAX_WORDS - select].start
        raise build.fail(f"{len(words)} words", place, why=f"the kernel takes {_MAX_WORDS}, with the flags")
    if not select:
        operation, flags = _parse_flags(build, words[-1])
        words = words[:-1]
    if len(words) % 2:
        step = f"pairs of {', '.join(KEYWORDS)} and a value"
        raise build.fail(f"{words[-1].text!r} has no value", words[-1].end, next_step=step)
    for keyword, value in zip(words[::2], words[1::2], strict=True):
        if keyword.text == "line":
            build.set_lines(value.text, value.start)
        elif keyword.text == "file":
            build.set_file(value.text, value.start)
        elif keyword.text in KEYWORDS:
            given = unescape(value.text) if keyword.text == "format" else value.text
            build.set(keyword.text, given, keyword.start)
        else:
            raise build.fail(f"no keyword {keyword.text!r}", keyword.start, next_step=", ".join(KEYWORDS))
    get = build.values.get
    return Query(
        get("file"), get("func"), get("module"), get("format"), get("class"), build.first_line, build.last_line,
        operation, flags,
    )  # fmt: skip


def _parse_flags(build: _Builder, word: _Word) -> tuple[str, str]:
    if word.text[:1] not in ("+", "-", "="):
        why = "a query ends with them"
        raise build.fail(f"{word.text!r} is not flags", word.start, why=why, next_step="+p, -p, =_ or =pmf")
    for number, flag in enumerate(word.text[1:], 1):
        if flag not in FLAGS + "_":
            raise build.fail(f"no flag {flag!r}", word.start + number, next_step=f"of {FLAGS} and _")
    return word.text[0], word.text[1:].replace("_", "")


def plan(sites: Iterable[Site], queries: Sequence[Query]) -> list[Change]:
    """The sites whose flags the queries change, when they are applied one after another."""
    changes = []
    for site in sites:
        flags = site.flags
        for query in queries:
            if query.matches(site):
                flags = query.apply(flags)
        if flags != site.flags:
            changes.append(Change(site, flags))
    return changes


def boot_parameters(text: str) -> list[tuple[str, str]]:
    """(parameter, when it acts) for the kernel's command line.  Raises ExpressionError for what it cannot hold.

    ``dyndbg=`` acts on what is built in, ``MODULE.dyndbg=`` also when that module is loaded.
    """
    queries = parse_queries(text)
    if '"' in text:
        why = "the command line has double quotes around the whole"
        raise ExpressionError("a double quote", text=text, position=text.index('"'), why=why, next_step="single quotes")
    clean = "; ".join(split_queries(text))
    found = [(f'dyndbg="{clean}"', "at boot, for what is built into the kernel")]
    module = queries[0].module
    if len(queries) == 1 and module is not None and not set(module) & set("*?"):
        rest = re.sub(rf"\bmodule\s+{re.escape(module)}\s+", "", clean)
        found.append((f'{module}.dyndbg="{rest}"', f"whenever {module} is loaded"))
    return found


# -- the way back


def restoring_queries(sites: Sequence[Site], changed: Sequence[Site]) -> list[str]:
    """Queries that give the changed sites the flags back that they have here; no other site is touched.

    sites: all of the control file.  A file whose sites all changed and had the same flags takes one query.
    """
    chosen = set(changed)
    groups: dict[tuple[str, str, str], list[Site]] = {}
    for site in sites:
        groups.setdefault((site.module, site.file, site.class_), []).append(site)
    queries = []
    for (module, file, class_), members in groups.items():
        mine = [site for site in members if site in chosen]
        place = f"module {module} file {file}" + (f" class {class_}" if class_ else "")
        if len(mine) == len(members) and len({site.flags for site in mine}) == 1:
            queries.append(f"{place} ={mine[0].flags or '_'}")
            continue
        for site in mine:
            same_line = {(other.flags, other in chosen) for other in members if other.line == site.line}
            if len(same_line) > 1:  # the kernel takes nine words: with a class there is no room for the module
                exact = place.partition(" file ")[2] if class_ else place.removeprefix("module ")
                head = "file" if class_ else "module"
                query = f"{head} {exact} line {site.line} format {_quote(site.format)}"
            else:
                query = f"{place} line {site.line}"
            queries.append(f"{query} ={site.flags or '_'}")
    return queries


def _quote(format_: str) -> str:
    """A format as a word that matches it from its beginning: what would end a word, a query or an escape is octal."""
    plain = "%.,:-_()[]{}<>=+/*"
    return "^" + "".join(
        one if one.isascii() and (one.isalnum() or one in plain) else "".join(f"\\{byte:03o}" for byte in one.encode())
        for one in format_
    )
