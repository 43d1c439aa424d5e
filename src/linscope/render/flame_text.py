"""FlameGraph -> the top of the tree as terminal text: what a newcomer sees first.

Chains of frames that only call each other become one line.  What is below one percent, or does not fit into
the rows, is left out, which a line says.  The functions that used most themselves follow.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

from linscope.picture.flame_graph import FlameGraph, Kind
from linscope.render._format import clean, format_share, format_weight, short_object

Bools = npt.NDArray[np.bool_]

_MIN_SHARE = 0.01
_MIN_NAME = 24  # columns that a name gets, however deep it is
_MAX_DEEP = 200  # branchings, however wide the terminal is
_FUNCTIONS = 10  # lines of the list of functions
_ANSI = {
    Kind.KERNEL: "31",
    Kind.NATIVE: "33",
    Kind.INLINED: "93",
    Kind.JIT: "35",
    Kind.PYTHON: "36",
    Kind.UNKNOWN: "90",
    Kind.GROUP: "1",
    Kind.ROOT: "1",
}


@dataclass(frozen=True)
class _Glyphs:
    """What the tree is drawn with."""

    bar: str  # from empty to full
    through: str
    branch: str
    last: str
    arrow: str
    ellipsis: str


_UNICODE = _Glyphs(" ▏▎▍▌▋▊▉█", "│ ", "├ ", "└ ", " → ", "…")
_ASCII = _Glyphs(" #", "| ", "|-", "`-", " > ", "..")


@dataclass
class _Line:
    """One line of the tree: a chain of nodes, outermost first, and the lines below it, heaviest first."""

    nodes: list[int]
    children: list[_Line]


def render_text(
    graph: FlameGraph, width: int = 80, color: bool = False, max_rows: int = 40, encoding: str = "utf-8"
) -> str:
    """The heaviest part of the tree in lines of at most width columns.

    width: columns, at least 40.  color: ANSI colors by kind.  max_rows: lines of the tree; title,
    notes and the top functions come on top.  encoding: of the output; decides between blocks and ASCII.
    """
    return _Printer(graph, max(width, 40), color, max_rows, encoding).text()


class _Printer:
    def __init__(self, graph: FlameGraph, width: int, color: bool, max_rows: int, encoding: str) -> None:
        self.graph = graph
        self.width = width
        self.color = color
        self.max_rows = max_rows
        self.encoding = encoding if _can_encode("", encoding) else "ascii"
        self.glyphs = _UNICODE if _can_encode("█▏├→…", self.encoding) else _ASCII
        self.totals = graph.totals()
        self.whole = int(self.totals[0])
        self.bar_width = min(max(width // 10, 5), 20)

    def text(self) -> str:
        """All lines, each ended by a newline."""
        graph = self.graph
        event = f" of {graph.event}" if graph.event and graph.event != graph.unit else ""
        head = [self.cut(graph.subtitle), self.cut(format_weight(self.whole, graph.unit) + event)]
        lines = [self.paint(self.cut(graph.title), "1"), *head, *(self.cut(note) for note in graph.notes)]
        lines = [line for line in lines if line]
        if self.whole <= 0:
            return "\n".join([*lines, "nothing was recorded"]) + "\n"
        first, shown = self.choose()
        lines += ["", self.heading("call tree")]
        lines += self.tree(first, "", "")
        lines += self.hidden(~shown & (self.totals > 0), shown)
        lines += self.functions()
        return "\n".join(lines) + "\n"

    def heading(self, what: str) -> str:
        return self.paint(self.cut(f" total   self {' ' * self.bar_width} {what}"), "2")

    def hidden(self, hidden: Bools, shown: Bools) -> list[str]:
        """What the tree leaves out: how many frames, how heavy the heaviest, and the weight of them all."""
        top = np.flatnonzero(hidden)
        top = top[shown[self.graph.parent[top]]]
        if not top.size:
            return []
        weights = self.totals[top]
        most, all_ = (format_share(int(weight), self.whole) for weight in (weights.max(), weights.sum()))
        count = int(hidden.sum())
        noun = f"frames of up to {most} each" if count > 1 else "frame"
        text = f"not shown: {count:,} {noun}, {all_} in all"
        return [self.paint(self.cut(text), "2")]

    def functions(self) -> list[str]:
        """The functions that used most themselves, with a heading."""
        rows = [row for row in self.graph.top_functions(_FUNCTIONS) if row.self_weight >= self.whole * 0.001]
        if not rows:
            return []
        lines = ["", self.heading("hottest functions")]
        for row in rows:
            code = _ANSI[self.kind(row.name)]
            name = self.printable(self.graph.names[row.name])
            where = self.printable(short_object(self.graph.details[row.name]))
            room = self.width - 15 - self.bar_width
            if (
                where
                and where.strip("[]") != name.strip("[]")
                and _columns(name) + _columns(where) + 3 <= room
            ):
                text = f"{self.paint(name, code)} {self.paint(f'({where})', '2')}"
            else:
                text = self.paint(self.cut(name, room), code)
            bar = self.paint(self.bar(row.self_weight), code)
            lines.append(
                f"{self.percent(row.total_weight):>6} {self.percent(row.self_weight):>6} {bar} {text}"
            )
        return lines

    def choose(self) -> tuple[_Line, Bools]:
        """The lines to show, and which nodes (bool[n]) are in them: the heaviest first, until max_rows."""
        floor = max(1.0, self.whole * _MIN_SHARE)
        children = self.graph.children("weight", math.ceil(floor))
        weight = {node: int(self.totals[node]) for node in children}
        shown = np.zeros(len(self.graph), dtype=bool)
        deepest = min((self.width - self.bar_width - 15 - _MIN_NAME) // 2, _MAX_DEEP)
        queue: list[tuple[int, int, int, _Line]] = []  # -weight, node, level, the line above

        def line_from(node: int, level: int) -> _Line:
            nodes = [node]
            while len(children[node]) == 1 and weight[node] - weight[children[node][0]] < floor:
                node = children[node][0]
                nodes.append(node)
            shown[nodes] = True
            line = _Line(nodes, [])
            if level < deepest:
                for child in children[node]:
                    heappush(queue, (-weight[child], child, level + 1, line))
            return line

        first = line_from(0, 0)
        rows = 1
        while queue and rows < self.max_rows:
            _, node, level, above = heappop(queue)
            above.children.append(line_from(node, level))
            rows += 1
        return first, shown

    def tree(self, line: _Line, own: str, below: str) -> list[str]:
        """The line and all below it; own and below are the box lines left of it and left of its children."""
        lines = [self.line(line, own)]
        for place, child in enumerate(line.children):
            last = place == len(line.children) - 1
            lines += self.tree(
                child,
                below + (self.glyphs.last if last else self.glyphs.branch),
                below + ("  " if last else self.glyphs.through),
            )
        return lines

    def line(self, line: _Line, indent: str) -> str:
        total = int(self.totals[line.nodes[0]])
        self_weight = int(self.graph.self_weight[line.nodes].sum())
        used = self.percent(self_weight) if 1000 * self_weight >= self.whole else ""
        code = _ANSI[self.kind_of(line.nodes[-1])]
        bar = self.paint(self.bar(total), code)
        room = self.width - 15 - self.bar_width - len(indent)
        chain = self.chain(line.nodes, room)
        return f"{self.percent(total):>6} {used:>6} {bar} {self.paint(indent, '2')}{chain}".rstrip()

    def chain(self, nodes: list[int], room: int) -> str:
        """The names of the nodes in at most room columns; what does not fit is counted, from the middle."""
        arrow = self.glyphs.arrow
        names = [self.printable(self.graph.names[i]) for i in self.graph.name[nodes].tolist()]
        parts = [(name, _ANSI[self.kind_of(node)]) for name, node in zip(names, nodes, strict=True)]
        used = sum(map(_columns, names)) + len(arrow) * (len(names) - 1)
        if len(parts) > 1 and used > room:
            # the outermost, a gap, and as many of the innermost as fit
            used = _columns(names[0]) + 2 * len(arrow) + len(f"({len(names)} more)")
            tail = 0
            while tail < len(names) - 2 and used + _columns(names[-1 - tail]) <= room:
                used += _columns(names[-1 - tail]) + len(arrow)
                tail += 1
            if tail:
                parts = [parts[0], (f"({len(names) - 1 - tail} more)", "2"), *parts[-tail:]]
            else:  # not even the ends fit: the innermost frame says most
                left = max(room - len(self.glyphs.ellipsis) - len(arrow), 3)
                parts = [(self.glyphs.ellipsis, "2"), (self.cut(names[-1], left), parts[-1][1])]
        elif used > room:
            parts = [(self.cut(names[0], room), parts[0][1])]
        return self.paint(arrow, "2").join(self.paint(text, code) for text, code in parts)

    def kind_of(self, node: int) -> Kind:
        return self.kind(int(self.graph.name[node]))

    def kind(self, name: int) -> Kind:
        kind = int(self.graph.kinds[name])
        return Kind(kind) if kind in _ANSI else Kind.UNKNOWN

    def percent(self, weight: int) -> str:
        return f"{100 * weight / self.whole:.1f}%"

    def bar(self, weight: int) -> str:
        """A bar of bar_width columns, full for the whole; never empty."""
        steps = len(self.glyphs.bar) - 1
        filled = max(1, round(self.bar_width * steps * weight / self.whole))
        full, rest = divmod(filled, steps)
        return (self.glyphs.bar[-1] * full + (self.glyphs.bar[rest] if rest else "")).ljust(self.bar_width)

    def printable(self, text: str) -> str:
        """The text as the output's encoding can carry it."""
        return clean(text).encode(self.encoding, "replace").decode(self.encoding)

    def cut(self, text: str, room: int = 0) -> str:
        """The printable text in at most room columns (0: the whole width), with the middle left out."""
        text = self.printable(text)
        room = room or self.width
        if _columns(text) <= room:
            return text
        ellipsis = self.glyphs.ellipsis
        tail = (room - len(ellipsis)) // 3
        head = room - len(ellipsis) - tail
        return _take(text, head) + ellipsis + _take(text[::-1], tail)[::-1]

    def paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and text else text


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _columns(text: str) -> int:
    """Columns of a terminal that the text takes: wide characters two, combining ones none (UAX #11)."""
    if text.isascii():
        return len(text)
    return sum(map(_column, text))


def _column(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _take(text: str, room: int) -> str:
    """As much of the start of the text as fits into room columns."""
    used = 0
    for place, character in enumerate(text):
        used += _column(character)
        if used > room:
            return text[:place]
    return text
