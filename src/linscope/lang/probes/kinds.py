"""The kinds of probes, their other spellings, and the events that perf counts by name.

Source: docs/language.md of bpftrace 0.26, "Probes"; include/uapi/linux/perf_event.h for the events.
"""

from __future__ import annotations

# a kind's name -> its short and older spellings
ALIASES = {
    "begin": ("BEGIN",), "end": ("END",), "self": (), "test": (), "bench": (), "hardware": ("h",),
    "software": ("s",), "interval": ("i",), "profile": ("p",), "iter": ("it",), "fentry": ("f", "kfunc"),
    "fexit": ("fr", "kretfunc"), "kprobe": ("k",), "kretprobe": ("kr",), "rawtracepoint": ("rt",),
    "tracepoint": ("t",), "uprobe": ("u",), "uretprobe": ("ur",), "usdt": ("U",), "watchpoint": ("w",),
}  # fmt: skip
SPELLINGS = {spelling: kind for kind, spellings in ALIASES.items() for spelling in (kind, *spellings)}
# what a listing goes through, in its order
KERNEL_LIST = ("fentry", "hardware", "iter", "kprobe", "rawtracepoint", "software", "tracepoint")
USER_LIST = ("uprobe", "usdt")

UNITS = {"hz": 0, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}  # ns; hz: times a second

# event -> (its other name, events between two hits when the script says none)
HARDWARE = {
    "backend-stalls": ("", 1_000_000), "branch-instructions": ("branches", 100_000), "branch-misses": ("", 100_000),
    "bus-cycles": ("", 100_000), "cache-misses": ("", 1_000_000), "cache-references": ("", 1_000_000),
    "cpu-cycles": ("cycles", 1_000_000), "frontend-stalls": ("", 1_000_000), "instructions": ("", 1_000_000),
    "ref-cycles": ("", 1_000_000),
}  # fmt: skip
SOFTWARE = {
    "alignment-faults": ("", 1), "bpf-output": ("", 1), "context-switches": ("cs", 1_000),
    "cpu-clock": ("cpu", 1_000_000), "cpu-migrations": ("", 1), "dummy": ("", 1), "emulation-faults": ("", 1),
    "major-faults": ("", 1), "minor-faults": ("", 100), "page-faults": ("faults", 100), "task-clock": ("", 1_000_000),
}  # fmt: skip


def find_event(kind: str, name: str) -> tuple[str, int] | None:
    """(event, events between two hits) of "hardware" or "software" by either name; None: there is none."""
    events = HARDWARE if kind == "hardware" else SOFTWARE
    for event, (other, count) in events.items():
        if name in (event, other):
            return event, count
    return None


def event_names(kind: str) -> list[str]:
    """All names of the events of "hardware" or "software", sorted."""
    events = HARDWARE if kind == "hardware" else SOFTWARE
    return sorted([*events, *(other for other, _ in events.values() if other)])
