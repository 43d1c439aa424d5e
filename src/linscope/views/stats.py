"""Counts of a recording's records by type, as perf report --stats has them."""

from __future__ import annotations

from linscope.abi import perf_event, perf_file
from linscope.columns.profile import Profile
from linscope.picture.rows import Column, Rows


def record_type_name(number: int) -> str:
    """ "SAMPLE", "MMAP2", ...; the number for a type that we do not know."""
    for module in (perf_event, perf_file):
        for name, value in vars(module).items():
            if (
                value == number
                and name.startswith("PERF_RECORD_")
                and "MISC" not in name
                and "_TYPE_" not in name
            ):
                return name.removeprefix("PERF_RECORD_").removeprefix("HEADER_")
    return str(number)


def stats_rows(profile: Profile) -> Rows:
    """One row a type of record that occurs."""
    counts = sorted(profile.record_counts.items())
    rows = [("TOTAL", sum(n for _, n in counts)), *((record_type_name(number), n) for number, n in counts)]
    return Rows([Column("type", "Records"), Column("count", "Count", ">")], rows)
