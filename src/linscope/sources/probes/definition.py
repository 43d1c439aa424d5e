"""A probe as the kernel takes it and shows it: lines of kprobe_events, uprobe_events, dynamic_events.

Source: Documentation/trace/kprobetrace.rst, uprobetracer.rst, fprobetrace.rst; kernel/trace/trace_kprobe.c,
trace_kprobe_show and probes_profile_seq_show; kernel/trace/trace_uprobe.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from linscope.errors import FormatError

KERNEL, USER, FUNCTION, TRACEPOINT = "kernel", "user", "function", "tracepoint"
CONTROL_FILES = {
    KERNEL: "kprobe_events", USER: "uprobe_events", FUNCTION: "dynamic_events", TRACEPOINT: "dynamic_events",
}  # fmt: skip
_KINDS = {"p": "", "r": "", "f": FUNCTION, "t": TRACEPOINT}


class ProbeArgument(NamedTuple):
    """One field of the event: what to fetch and how to read it."""

    name: str
    fetch: str  # "$arg1", "%di", "+8(%si)", "@jiffies", "$comm"
    type: str = ""  # "u32", "string", "b4@2/32", "u8[4]"; "" leaves it to the kernel: x64, string for $comm

    def text(self) -> str:
        """``name=fetch:type``."""
        return f"{self.name}={self.fetch}" + (f":{self.type}" if self.type else "")


class ProbeDefinition(NamedTuple):
    """One probe.  ``text()`` is the line that the kernel takes."""

    probes: str  # KERNEL, USER, FUNCTION (fprobe) or TRACEPOINT
    returns: bool  # fires when the function returns
    group: str
    name: str
    target: str  # "tcp_sendmsg+4", "nf_nat:nf_nat_setup_info", "0xffffffff81000000", "/bin/bash:0x4245c0(0x10)"
    arguments: tuple[ProbeArgument, ...] = ()
    maxactive: int = 0  # calls that may be under way at once, for returns; 0: the kernel's choice
    notes: tuple[str, ...] = ()  # what the person who wrote it should know

    @property
    def control_file(self) -> str:
        """The file of tracefs that takes the line."""
        return CONTROL_FILES[self.probes]

    def text(self) -> str:
        """The line that the kernel takes."""
        kind = "r" if self.returns else "p"
        target = self.target
        if self.probes in (FUNCTION, TRACEPOINT):
            kind = "f" if self.probes == FUNCTION else "t"
            target += "%return" if self.returns else ""
        head = f"{kind}{self.maxactive or ''}:{self.group}/{self.name}"
        return " ".join([head, target, *(argument.text() for argument in self.arguments)])

    def removal(self) -> str:
        """The line that removes it."""
        return f"-:{self.group}/{self.name}"


class ProbeHits(NamedTuple):
    """How often a probe fired."""

    name: str
    hits: int
    missed: int  # -1: the kernel does not count what it missed of such a probe
    path: str = ""  # of the program, for probes of user space


def parse_definition(line: str) -> ProbeDefinition | None:
    """A line of kprobe_events, uprobe_events or dynamic_events; None for kinds that are no probes (e, s).

    Raises FormatError for a line that the kernel would not have written.
    """
    words = line.split()
    if not words:
        return None
    head, colon, event = words[0].partition(":")
    if head[:1] not in _KINDS or not head:
        return None
    group, slash, name = event.partition("/")
    if len(words) < 2 or not colon or not slash or not name or (head[1:] and not head[1:].isdigit()):
        raise FormatError(f"not a probe: {line!r}", offset=0)
    target, percent, suffix = words[1].partition("%")
    probes = _KINDS[head[0]] or (USER if "/" in target and ":" in target else KERNEL)
    arguments = tuple(_parse_argument(word, line) for word in words[2:])
    returns = head[0] == "r" or (bool(percent) and suffix == "return")
    return ProbeDefinition(probes, returns, group, name, target, arguments, int(head[1:] or 0))


def _parse_argument(word: str, line: str) -> ProbeArgument:
    name, equals, body = word.partition("=")
    if not equals or not name or not body:
        raise FormatError(f"not an argument of a probe: {word!r} in {line!r}", offset=line.find(word))
    fetch, colon, type_ = split_type(body)
    return ProbeArgument(name, fetch, type_ if colon else "")


def split_type(body: str) -> tuple[str, str, str]:
    """(what to fetch, ":" or "", type) of the body of an argument; a string constant may hold colons."""
    if body.startswith('\\"'):
        end = body.find('"', 2)
        if end < 0:
            return body, "", ""
        return body[: end + 1], *body[end + 1 :].partition(":")[1:]
    return body.partition(":")


def parse_definitions(text: str) -> list[ProbeDefinition]:
    """The probes of a whole file.  Raises FormatError."""
    return [found for line in text.splitlines() if (found := parse_definition(line)) is not None]


def iter_hits(text: str) -> Iterator[ProbeHits]:
    """The lines of kprobe_profile or uprobe_profile; others are passed over.

    kprobe_profile has NAME HITS MISSED, uprobe_profile PATH NAME HITS.
    """
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[1].isdigit() and words[2].isdigit():
            yield ProbeHits(words[0], int(words[1]), int(words[2]))
        elif len(words) == 3 and words[2].isdigit():
            yield ProbeHits(words[1], int(words[2]), -1, words[0])
