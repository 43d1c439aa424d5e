"""Recordings made up for heat maps: events "a:begin" and "a:end" with a key, at chosen times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from linscope.columns.profile import Event, EventTable, Frames, Loss, NamedFrames, Profile, Samples, Space, Stacks

Row = tuple[str, int, int]  # "begin" or "end", time in ns, key


def heat_profile(
    rows: Sequence[Row], *, comms: Sequence[str] = ("task",), cpus: Sequence[int] = (), losses: Sequence[Loss] = ()
) -> Profile:
    """One sample a row, in this order; thread = 100 + key, its name comms[key % len(comms)], stack main > begin."""
    count = len(rows)
    names = ["begin", "end"]
    event = np.array([names.index(row[0]) for row in rows], np.uint16)
    key = np.array([row[2] for row in rows], np.int64)
    tid = (100 + key).astype(np.uint32)
    samples = Samples(
        time_ns=np.array([row[1] for row in rows], np.uint64),
        cpu=np.array(cpus, np.uint32) if len(cpus) else np.zeros(count, np.uint32),
        pid=tid,
        tid=tid,
        event=event,
        weight=np.ones(count, np.uint64),
        stack=np.full(count, 2, np.uint32),
        comm=(key % len(comms)).astype(np.uint32),
        address=np.zeros(count, np.uint64),
        mode=np.full(count, 2, np.uint8),
    )
    tables: dict[str, EventTable] = {}
    for number, name in enumerate(names):
        mine = np.flatnonzero(event == number)
        columns: dict[str, Any] = {"id": key[mine], "bytes": key[mine] * 10, "who": [f"w{k}" for k in key[mine]]}
        tables[f"a:{name}"] = EventTable(f"a:{name}", mine, columns)
    return Profile(
        events=[Event(f"a:{name}", f"a:{name}") for name in names],
        samples=samples,
        stacks=Stacks(np.array([0, 0, 1], np.uint32), np.array([2, 0, 1], np.uint32)),
        frames=Frames(np.zeros(2, np.uint32), np.zeros(2, np.uint64), np.full(2, 2, np.uint8)),
        spaces=[Space(0, 0, [])],
        comms=list(comms),
        losses=list(losses),
        named=NamedFrames(["main", "begin"], ["app", "app"], ["user", "user"]),
        tables=tables,
        where="made.up",
    )


def paired(latencies: Sequence[int], *, gap: int = 1000, start: int = 10**9) -> list[Row]:
    """Rows of intervals of one key, one after the other."""
    rows: list[Row] = []
    time = start
    for latency in latencies:
        rows += [("begin", time, 1), ("end", time + latency, 1)]
        time += latency + gap
    return rows
