"""What perf 6.1 says about a recording: counts, samples, task and mapping events, header values."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from linscope.abi import perf_event as pe
from linscope.formats.perf_data.attrs import EventAttr

PERF = shutil.which("perf")

# tools/perf/util/event.c, perf_event__names
RECORD_NAMES = {
    "MMAP": 1, "LOST": 2, "COMM": 3, "EXIT": 4, "THROTTLE": 5, "UNTHROTTLE": 6, "FORK": 7, "READ": 8, "SAMPLE": 9,
    "MMAP2": 10, "AUX": 11, "ITRACE_START": 12, "LOST_SAMPLES": 13, "SWITCH": 14, "SWITCH_CPU_WIDE": 15,
    "NAMESPACES": 16, "KSYMBOL": 17, "BPF_EVENT": 18, "CGROUP": 19, "TEXT_POKE": 20, "AUX_OUTPUT_HW_ID": 21,
    "ATTR": 64, "EVENT_TYPE": 65, "TRACING_DATA": 66, "BUILD_ID": 67, "FINISHED_ROUND": 68, "ID_INDEX": 69,
    "AUXTRACE_INFO": 70, "AUXTRACE": 71, "AUXTRACE_ERROR": 72, "THREAD_MAP": 73, "CPU_MAP": 74, "STAT_CONFIG": 75,
    "STAT": 76, "STAT_ROUND": 77, "EVENT_UPDATE": 78, "TIME_CONV": 79, "FEATURE": 80, "COMPRESSED": 81,
    "FINISHED_INIT": 82,
}  # fmt: skip


class Sample(NamedTuple):
    """One sample as perf script prints it; None for fields that it was not asked for."""

    pid: int
    tid: int
    cpu: int | None
    time_ns: int | None
    event: str
    period: int | None
    addresses: tuple[int, ...]  # leaf first


def perf(*words: str | Path) -> str:
    """Output of a perf command; "" when it fails."""
    assert PERF is not None
    done = subprocess.run(
        [PERF, *map(str, words)], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL
    )
    return done.stdout if done.returncode == 0 else ""


def record_counts(path: Path) -> dict[int, int]:
    """Records by type, from the aggregated part of perf report --stats; empty if perf cannot read the file."""
    text = perf("report", "--stats", "-i", path)
    whole = re.split(r"^\S.* stats:$", text.partition("Aggregated stats:")[2], flags=re.M)[0]
    found = re.findall(r"^\s+(\w+) events:\s+(\d+)", whole, re.M)
    return {RECORD_NAMES[name]: int(count) for name, count in found if name != "TOTAL"}


def event_names(path: Path) -> list[str]:
    """perf evlist."""
    return perf("evlist", "-i", path).split()


def samples(path: Path, attrs: Iterable[EventAttr]) -> list[Sample]:
    """perf script in time order, with the fields that all events have."""
    common = -1
    for attr in attrs:
        common &= attr.sample_type
    cpu, time, period = (bool(common & bit) for bit in (pe.PERF_SAMPLE_CPU, pe.PERF_SAMPLE_TIME, pe.PERF_SAMPLE_PERIOD))
    fields = "pid,tid,event,ip" + ",cpu" * cpu + ",time" * time + ",period" * period
    text = perf("script", "--no-inline", "--ns", "--max-stack", "1024", "-F", fields, "-i", path)
    head = re.compile(
        r"^ *(-?\d+)/(-?\d+) *"
        + (r" \[(\d+)\]" if cpu else "()")
        + (r" +(\d+\.\d+):" if time else "()")
        + (r" +(\d+)" if period else "()")
        + r" +(\S.*?): *([0-9a-f]*)\s*$"
    )
    found: list[Sample] = []
    chain: list[int] = []

    def close() -> None:
        if found and chain:
            found[-1] = found[-1]._replace(addresses=tuple(chain))
        chain.clear()

    for line in text.splitlines():
        match = head.match(line)
        if match:
            close()
            pid, tid, on, at, weight, event, address = match.groups()
            found.append(
                Sample(
                    int(pid),
                    int(tid),
                    int(on) if on else None,
                    int(at.replace(".", "")) if at else None,
                    event,
                    int(weight) if weight else None,
                    (int(address, 16),) if address else (),
                )
            )
        elif line.strip():
            chain.append(int(line.strip().split()[0], 16))
    close()
    return found


def side_events(path: Path) -> Counter[str]:
    """Lines of perf script --show-mmap-events --show-task-events, without what samples print."""
    shown = ("--show-mmap-events", "--show-task-events", "-F", "comm,tid,time,event")
    text = perf("script", "--no-inline", *shown, "-i", path)
    kinds = re.findall(r"PERF_RECORD_(MMAP2?|COMM|FORK|EXIT)\b.*", text)
    return Counter(kinds)


def header_value(path: Path, title: str) -> str:
    """A line of perf report --header-only: "# hostname : x" gives x; "" without."""
    text = perf("report", "--header-only", "-i", path)
    match = re.search(rf"^# {re.escape(title)} : (.*)$", text, re.M)
    return match[1].strip() if match else ""
