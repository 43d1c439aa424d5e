"""Weights and shares as people read them, for the flame graph's text, SVG and static table."""

from __future__ import annotations

from linscope.units import format_duration

_SCALES = (("T", 1e12), ("G", 1e9), ("M", 1e6))


def format_weight(weight: int, unit: str) -> str:
    """ "1,234 samples", "3.21 s", "45.60 G cycles" of a weight in the unit of a FlameGraph."""
    if unit == "ns":
        return format_duration(weight)
    for suffix, scale in _SCALES:
        if weight >= max(scale, 1e7):
            return f"{weight / scale:.2f} {suffix} {unit}"
    return f"{weight:,} {'sample' if weight == 1 and unit == 'samples' else unit}"


def format_share(part: float, whole: float) -> str:
    """ "12.3 %"; "<0.01 %" for what is too small to be written but is not nothing."""
    if whole <= 0 or part <= 0:
        return "0 %"
    percent = 100 * part / whole
    if percent < 0.01:
        return "<0.01 %"
    if percent >= 99.995:
        return "100 %"
    return f"{percent:.2f} %" if percent < 0.995 else f"{min(percent, 99.9):.1f} %"


def short_object(details: str) -> str:
    """ "libc.so.6" of the details of a frame: "/usr/lib/libc.so.6", perhaps a tab and file:line."""
    path = details.partition("\t")[0]
    return path[path.rfind("/") + 1 :] or path


def clean(text: str) -> str:
    """The text without what XML, HTML or a terminal cannot carry: control characters and lone surrogates.

    Each becomes U+FFFD, so that a hostile name is visible as such.  Source: XML 1.0, production 2 (Char).
    """
    if text.isprintable():
        return text
    return "".join(c if _allowed(ord(c)) else "\ufffd" for c in text)


def _allowed(code: int) -> bool:
    if code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000:
        return False
    # directional overrides and isolates would turn the rest of the line around
    turning = 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    return not turning and code not in (0xFFFE, 0xFFFF, 0x2028, 0x2029)
