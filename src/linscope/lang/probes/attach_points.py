"""The text of an attach point -> its parts.

Source: bpftrace docs/language.md, Probes (v0.26), and the older names of its kinds.
"""

from __future__ import annotations

from linscope.lang.bpftrace.problems import Wrong
from linscope.lang.nodes import Node

KINDS = {
    "begin": "begin", "BEGIN": "begin", "end": "end", "END": "end", "self": "self", "test": "test", "bench": "bench",
    "hardware": "hardware", "h": "hardware", "software": "software", "s": "software", "interval": "interval",
    "i": "interval", "profile": "profile", "p": "profile", "iter": "iter", "it": "iter", "fentry": "fentry",
    "f": "fentry", "kfunc": "fentry", "fexit": "fexit", "fr": "fexit", "kretfunc": "fexit", "kprobe": "kprobe",
    "k": "kprobe", "kretprobe": "kretprobe", "kr": "kretprobe", "rawtracepoint": "rawtracepoint",
    "rt": "rawtracepoint", "tracepoint": "tracepoint", "t": "tracepoint", "uprobe": "uprobe", "u": "uprobe",
    "uretprobe": "uretprobe", "ur": "uretprobe", "usdt": "usdt", "U": "usdt", "watchpoint": "watchpoint",
    "w": "watchpoint",
}  # fmt: skip
UNITS_NS = {"us": 10**3, "ms": 10**6, "s": 10**9}
_NANOSECONDS = 10**9
_HERE = (0, 1)  # the compiler knows where the attach point stands


class AttachPoint(Node):
    """The parts of an attach point; which count depends on the kind, as in probe.Probe.  Names may have wildcards."""

    kind: str
    text: str
    module: str = ""
    target: str = ""
    path: str = ""
    address: int = 0
    offset: int = 0
    count: int = 0
    language: str = ""  # "cpp": target is demangled


def split_parts(text: str) -> list[str]:
    """The text at its colons; those in quotes stay, the quotes go."""
    parts = [""]
    quoted = False
    for letter in text:
        if letter == '"':
            quoted = not quoted
        elif letter == ":" and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def parse_attach_point(text: str) -> AttachPoint:
    """The parts of an attach point.  Raises Wrong."""
    name, equal, rest = text.partition("=")
    if equal and name.isidentifier() and rest.partition(":")[0] in KINDS:
        text = rest  # name=kind:...: reserved, without a meaning yet
    parts = split_parts(text)
    kind = KINDS.get(parts[0])
    if kind is None:
        raise Wrong(_HERE, f"Invalid probe type: {parts[0]}", _near(parts[0]))
    point = AttachPoint(kind, ":".join([kind, *text.split(":")[1:]]))
    _PARSERS[kind](point, parts[1:])
    return point


def _near(word: str) -> str:
    from difflib import get_close_matches

    found = get_close_matches(word, KINDS, 1)
    return f"did you mean {found[0]}?" if found else f"there are {', '.join(sorted(set(KINDS.values())))}"


def _expect(parts: list[str], least: int, most: int, form: str) -> None:
    if not least <= len(parts) <= most or not all(parts[:least]):
        raise Wrong(_HERE, f"this probe has another form: {form}")


def _nothing(point: AttachPoint, parts: list[str]) -> None:
    _expect(parts, 0, 0, point.kind)


def _self(point: AttachPoint, parts: list[str]) -> None:
    _expect(parts, 2, 2, "self:signal:SIGUSR1")
    if parts != ["signal", "SIGUSR1"]:
        raise Wrong(_HERE, f"{':'.join(parts)} is not supported", "self:signal:SIGUSR1")
    point.target = parts[1]


def _named(point: AttachPoint, parts: list[str]) -> None:
    _expect(parts, 1, 1, f"{point.kind}:NAME")
    point.target = parts[0]


def number(text: str, what: str) -> int:
    """A number of an attach point.  Raises Wrong."""
    try:
        return int(text.replace("_", ""), 0)
    except ValueError:
        raise Wrong(_HERE, f"{what} is no number: {text!r}") from None


def _counter(point: AttachPoint, parts: list[str]) -> None:
    _expect(parts, 1, 2, f"{point.kind}:EVENT[:COUNT]")
    point.target = parts[0]
    point.count = number(parts[1], "the count") if len(parts) > 1 and parts[1] else 0


def _clock(point: AttachPoint, parts: list[str]) -> None:
    """interval:s:1, interval:1s, profile:hz:99."""
    _expect(parts, 1, 2, f"{point.kind}:hz:99, {point.kind}:s:1, {point.kind}:100ms")
    if len(parts) == 1:
        digits = parts[0].rstrip("abcdefghijklmnopqrstuvwxyz")
        unit, count = parts[0][len(digits) :], number(digits or "x", "the period")
    else:
        unit, count = parts[0], number(parts[1], "the period")
    if count < 1:
        raise Wrong(_HERE, f"Invalid rate of {point.kind} probe: {count}")
    if unit == "hz":
        point.count = max(_NANOSECONDS // count, 1)
    elif unit in UNITS_NS:
        point.count = count * UNITS_NS[unit]
    elif unit == "ns" or not unit:
        point.count = count
    else:
        raise Wrong(_HERE, f"{unit} is not an accepted unit", "hz, us, ms or s")


def _iterator(point: AttachPoint, parts: list[str]) -> None:
    _expect(parts, 1, 2, "iter:task[:PIN]")
    point.target = parts[0]
    point.path = parts[1] if len(parts) > 1 else ""


def _function(point: AttachPoint, parts: list[str]) -> None:
    """kprobe:[module:]function[+offset], kprobe:0xaddress; fentry and their returns."""
    _expect(parts, 1, 3, f"{point.kind}:[MODULE:]FUNCTION")
    if parts[0] == "bpf" and point.kind in ("fentry", "fexit"):
        point.module, point.target = "bpf", parts[-1]
        return
    point.module = parts[0] if len(parts) > 1 else ""
    name, plus, offset = parts[-1].partition("+")
    if name[:2].lower() == "0x" or name.isdigit():
        point.address = number(name, "the address")
        return
    point.target = name
    if plus:
        point.offset = number(offset, "the offset")


def _raw(point: AttachPoint, parts: list[str]) -> None:
    _expect(parts, 1, 2, "rawtracepoint:[MODULE:]EVENT")
    point.module = parts[0] if len(parts) > 1 else ""
    point.target = parts[-1]


def _tracepoint(point: AttachPoint, parts: list[str]) -> None:
    _expect(parts, 2, 2, "tracepoint:SUBSYSTEM:EVENT")
    point.module, point.target = parts


def _user(point: AttachPoint, parts: list[str]) -> None:
    """uprobe:path:function[+offset], uprobe:path:address, uprobe:path:cpp:"f(int)"."""
    _expect(parts, 2, 9, f"{point.kind}:PATH:FUNCTION")
    point.path = parts[0]
    rest = parts[1:]
    if rest[0] in ("cpp", "c") and len(rest) > 1:
        point.language = rest[0]
        rest = rest[1:]
    name = "::".join(part for part in rest if part) if len(rest) > 1 else rest[0]
    if name[:2].lower() == "0x" or name.isdigit():
        point.address = number(name, "the address")
        return
    base, plus, offset = name.rpartition("+")
    if plus and (offset[:2].lower() == "0x" or offset.isdigit()):
        point.offset = number(offset, "the offset")
        name = base
    point.target = name


def _usdt(point: AttachPoint, parts: list[str]) -> None:
    _expect(parts, 2, 3, "usdt:PATH:[PROVIDER:]PROBE")
    point.path = parts[0]
    point.module = parts[1] if len(parts) > 2 else ""
    point.target = parts[-1]


def _watchpoint(point: AttachPoint, parts: list[str]) -> None:
    _expect(parts, 3, 3, "watchpoint:ADDRESS:LENGTH:MODE")
    point.address = number(parts[0], "the address")
    point.count = number(parts[1], "the length")
    if point.count not in (1, 2, 4, 8):
        raise Wrong(_HERE, f"Invalid length: {point.count}", "1, 2, 4 or 8")
    if not parts[2] or set(parts[2]) - set("rwx") or len(set(parts[2])) != len(parts[2]):
        raise Wrong(_HERE, f"Invalid mode: {parts[2]}", "r, w, x, or several of them")
    point.target = parts[2]


_PARSERS = {
    "begin": _nothing, "end": _nothing, "self": _self, "test": _named, "bench": _named, "hardware": _counter,
    "software": _counter, "interval": _clock, "profile": _clock, "iter": _iterator, "fentry": _function,
    "fexit": _function, "kprobe": _function, "kretprobe": _function, "rawtracepoint": _raw,
    "tracepoint": _tracepoint, "uprobe": _user, "uretprobe": _user, "usdt": _usdt, "watchpoint": _watchpoint,
}  # fmt: skip
