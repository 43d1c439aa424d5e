"""HeatMap -> lines of a terminal: shades, or two colored cells a character, and a table of percentiles."""

from __future__ import annotations

import textwrap

import numpy as np
from numpy.typing import NDArray

from linscope.picture.heat_map import HeatMap, format_value
from linscope.render._format import clean

_LINES = 20  # of the map
_LABEL = 8  # columns left of the map
_BARS = 8  # columns right of it: the distribution over the whole time
_MARKS = 8  # and which percentiles lie there
_MIN_FOR_BARS = 70
_SHADES = "░▒▓█"
_ASCII_SHADES = ".:+#"
_EIGHTHS = " ▏▎▍▌▋▊▉█"
# from one point to the fullest cell: viridis without its darkest part, which a dark terminal would swallow
_TRUE = (
    *((72, 50, 122), (59, 82, 139), (44, 114, 142), (33, 145, 140)),
    *((40, 174, 128), (94, 201, 98), (173, 220, 48), (253, 231, 37)),
)
_256 = (60, 61, 31, 30, 36, 78, 149, 227)


def plot_cells(width: int, color: str) -> tuple[int, int]:
    """(columns, rows) of the map that fits into that many columns of a terminal; color: as render_text has it."""
    width = max(width, 40)
    bars = _BARS + _MARKS + 2 if width >= _MIN_FOR_BARS else 0
    return width - _LABEL - 2 - bars, _LINES * 2 if color else _LINES


def render_text(picture: HeatMap, width: int = 80, *, color: str = "", encoding: str = "utf-8") -> str:
    """The map in lines of at most width columns, each ended by a newline.

    color: "" (shades, a row a line), "256" or "truecolor" (two rows a line).  encoding: of the output; without block
    characters in it the shades are ASCII.
    """
    return _Printer(picture, max(width, 40), color, encoding).text()


class _Printer:
    def __init__(self, picture: HeatMap, width: int, color: str, encoding: str) -> None:
        self.picture = picture
        self.width = width
        self.encoding = encoding
        self.blocks = _can_encode(_SHADES + _EIGHTHS + "▀▄│└─┬", encoding)
        self.color = color if self.blocks else ""
        self.shade = picture.shade()
        self.two = bool(self.color)
        rows, self.columns = picture.counts.shape
        self.lines = -(-rows // 2) if self.two else rows

    def text(self) -> str:
        picture = self.picture
        head = [picture.title, picture.subtitle, *picture.notes]
        lines = [part for line in head for part in textwrap.wrap(self.printable(line), self.width)]
        if self.color and lines:
            lines[0] = f"\x1b[1m{lines[0]}\x1b[0m"
        if not picture.total():
            return "\n".join([*lines, "", f"no {picture.noun} to show"]) + "\n"
        return "\n".join([*lines, "", *self.map(), *self.axis(), "", *self.legend(), *self.table()]) + "\n"

    def map(self) -> list[str]:
        bar = "│" if self.blocks else "|"
        labels = self.labels()
        per_line = self.shares()
        marks = self.marks()
        lines = []
        for line in range(self.lines - 1, -1, -1):
            body = self.colored(line) if self.two else self.shaded(line)
            text = f"{labels.get(line, ''):>{_LABEL}} {bar}{body}"
            if per_line is not None:
                share = per_line[line]
                text += f" {self.bar(share)}{marks.get(line, '')}"
            lines.append(text.rstrip())
        return lines

    def marks(self) -> dict[int, str]:
        """Names of the percentiles by line; where several lie in one line, the first and the last."""
        found: dict[int, list[str]] = {}
        for name, value in self.picture.summary:
            if name not in ("min", "max"):
                found.setdefault(int(self.picture.y_of(value)) // (2 if self.two else 1), []).append(name)
        return {line: names[0] if len(names) == 1 else f"{names[0]}-{names[-1][1:]}" for line, names in found.items()}

    def labels(self) -> dict[int, str]:
        """Labels by line, from the bottom; a label stands at the line that begins with its value."""
        rows = self.picture.counts.shape[0]
        found: dict[int, str] = {}
        for place, label in self.picture.y_ticks(max(2, self.lines // 3)):
            line = min(int(place + 1e-9), rows - 1) // (2 if self.two else 1)
            found.setdefault(line, self.printable(label)[:_LABEL])
        return found

    def shares(self) -> NDArray[np.float64] | None:
        """How full each line is over the whole time, 1 for the fullest; None without room for it."""
        if self.width < _MIN_FOR_BARS:
            return None
        sums = self.picture.counts.sum(axis=1)
        if self.two:
            sums = np.r_[sums, 0][: self.lines * 2].reshape(-1, 2).sum(axis=1)
        shares: NDArray[np.float64] = sums / max(int(sums.max()), 1)
        return shares

    def bar(self, share: float) -> str:
        if share <= 0:
            return " " * (_BARS + 1)
        if not self.blocks:
            return f"{'=' * max(1, round(share * _BARS)):<{_BARS + 1}}"
        full, rest = divmod(max(1, round(share * _BARS * 8)), 8)
        text = f"{'█' * full + (_EIGHTHS[rest] if rest else ''):<{_BARS + 1}}"
        return f"\x1b[2m{text}\x1b[0m" if self.color else text

    def shaded(self, row: int) -> str:
        shades = _SHADES if self.blocks else _ASCII_SHADES
        levels = np.minimum((self.shade[row] * len(shades)).astype(int), len(shades) - 1)
        return "".join(
            shades[level] if shade > 0 else " " for level, shade in zip(levels.tolist(), self.shade[row], strict=True)
        )

    def colored(self, line: int) -> str:
        low = self.shade[2 * line]
        high = self.shade[2 * line + 1] if 2 * line + 1 < len(self.shade) else np.zeros(self.columns)
        parts = []
        for upper, lower in zip(high.tolist(), low.tolist(), strict=True):
            if upper <= 0 and lower <= 0:
                parts.append(" ")
            elif upper <= 0:
                parts.append(f"{self.code(lower, 38)}▄\x1b[0m")
            elif lower <= 0:
                parts.append(f"{self.code(upper, 38)}▀\x1b[0m")
            else:
                parts.append(f"{self.code(upper, 38)}{self.code(lower, 48)}▀\x1b[0m")
        return "".join(parts)

    def code(self, shade: float, layer: int) -> str:
        place = min(int(shade * len(_TRUE)), len(_TRUE) - 1)
        if self.color == "256":
            return f"\x1b[{layer};5;{_256[place]}m"
        red, green, blue = _TRUE[place]
        return f"\x1b[{layer};2;{red};{green};{blue}m"

    def axis(self) -> list[str]:
        """The time axis: a mark where events were lost, and the times below."""
        line, corner = ("─", "└") if self.blocks else ("-", "+")
        marks = [line] * self.columns
        labels = [" "] * (self.columns + 12)
        free = 0
        for place, label in self.picture.x_ticks(max(2, self.columns // 9)):
            at = int(place)
            if at < free or at >= self.columns or at + len(label) > self.width - _LABEL - 2:
                continue
            marks[at] = "┬" if self.blocks else "+"
            labels[at : at + len(label)] = label
            free = at + len(label) + 2
        for column in np.flatnonzero(self.picture.lost).tolist():
            marks[column] = "!"
        return [f"{'':>{_LABEL}} {corner}{''.join(marks)}", f"{'':>{_LABEL}}  {''.join(labels)}".rstrip()]

    def legend(self) -> list[str]:
        picture = self.picture
        start = picture.clock_start_ns
        shades = _SHADES if self.blocks else _ASCII_SHADES
        if self.color:
            places = np.linspace(0.12, 1, 8).tolist()
            scale = "".join(f"{self.code(place, 38)}█\x1b[0m" for place in places)
        else:
            scale = shades
        most = int(picture.counts.max())
        step = format_value(picture.x_step_ns, "ns")
        begin = f"time from {start // 10**9}.{start % 10**9:09d} s".rstrip("0 s").rstrip(".") + " s"
        text = f"1 to {most:,} a cell, a column is {step}, {begin}"
        first, *rest = textwrap.wrap(text, self.width - len(_TRUE) - 1)
        lines = [f"{scale} {first}", *rest]
        if picture.lost.any():
            lines.append(f"! events were lost: {int(picture.lost.sum()):,}")
        return lines

    def table(self) -> list[str]:
        """Count, rate and percentiles in one row, or in two where that is too wide."""
        picture = self.picture
        total = picture.total()
        seconds = picture.duration_ns / 1e9
        cells = [("count", f"{total:,}")]
        if seconds > 0 and total > 1:
            cells.append(("rate", f"{format_value(total / seconds, '')}/s"))
        cells += [(name, format_value(value, picture.unit)) for name, value in picture.summary]
        lines: list[str] = []
        while cells:
            widths = [max(len(name), len(text)) for name, text in cells]
            fits = 0
            while fits < len(cells) and sum(widths[: fits + 1]) + 2 * fits <= self.width:
                fits += 1
            fits = max(fits, 1)
            row = list(zip(cells[:fits], widths[:fits], strict=True))
            lines += ["  ".join(f"{name:>{w}}" for (name, _), w in row), "  ".join(f"{t:>{w}}" for (_, t), w in row)]
            cells = cells[fits:]
        return ["", *lines]

    def printable(self, text: str) -> str:
        return clean(text).encode(self.encoding, "replace").decode(self.encoding)


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
