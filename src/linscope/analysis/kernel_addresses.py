"""Kernel addresses in the fields of events -> symbols, by the recording's own mappings."""

from __future__ import annotations

import bisect
from collections.abc import Callable

import numpy as np

from linscope.analysis.frames import place_of
from linscope.columns.profile import Profile
from linscope.symbols.objects import Symbolizer


def kernel_names(profile: Profile, symbolizer: Symbolizer) -> Callable[[int], tuple[str, int] | None]:
    """A function: address -> (symbol, bytes into it), None where there is no symbol."""
    mappings = profile.spaces[0].mappings if profile.spaces else []
    starts = [mapping.start for mapping in mappings]

    def name(address: int) -> tuple[str, int] | None:
        at = bisect.bisect_right(starts, address) - 1
        if at < 0 or address >= mappings[at].end:
            return None
        mapping = mappings[at]
        table, rule = symbolizer.table(place_of(mapping, -1, kernel=True).key)
        where = rule.apply(np.array([address], np.uint64), mapping.start, mapping.page_offset)
        found = int(table.find(where)[0])
        return (table.name(found), int(where[0]) - int(table.starts[found])) if found >= 0 else None

    return name
