"""Counters of memory management: of zones, nodes, and events.

Source: include/linux/mmzone.h (enum zone_stat_item, node_stat_item), vm_event_item.h; mm/vmstat.c.  As in /proc/vmstat,
what CPUs have not added yet is left out, but for events, which only CPUs count.
"""

from __future__ import annotations

from linscope.binfmt import btf_types as bt
from linscope.errors import UnknownNameError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object

_ENDS = ("NR_VM_ZONE_STAT_ITEMS", "NR_VM_NODE_STAT_ITEMS", "NR_VM_EVENT_ITEMS")


def item_names(kernel: Kernel, enum: str) -> list[str]:
    """Names of the counters of an enum by their places.  Raises UnknownNameError."""
    content = kernel.types.get(f"enum {enum}").content()
    pairs = content.values if isinstance(content, bt.Enum) else ()
    named = {value: name for name, value in pairs if name not in _ENDS}  # the last: *_BASE are in front
    return [named.get(place, f"({place})") for place in range(max(named, default=-1) + 1)]


def _counters(kernel: Kernel, enum: str, variable: str) -> list[tuple[str, int]]:
    names = item_names(kernel, enum)
    return [(name, int(one.counter)) for name, one in zip(names, kernel.elements(variable, len(names)), strict=True)]


def zone_counters(kernel: Kernel) -> list[tuple[str, int]]:
    """(name, pages) over all zones.  Raises UnknownNameError, MemoryFault."""
    return _counters(kernel, "zone_stat_item", "vm_zone_stat")


def node_counters(kernel: Kernel) -> list[tuple[str, int]]:
    """(name, pages or times) over all nodes.  Raises UnknownNameError, MemoryFault."""
    return _counters(kernel, "node_stat_item", "vm_node_stat")


def counters_of_zone(kernel: Kernel, zone: Object) -> list[tuple[str, int]]:
    """The same of one zone (struct zone).  Raises UnknownNameError, MemoryFault."""
    return [
        (name, int(one.counter))
        for name, one in zip(item_names(kernel, "zone_stat_item"), zone.vm_stat, strict=False)
    ]  # fmt: skip


def event_counters(kernel: Kernel) -> list[tuple[str, int]]:
    """(name, times) of events over all CPUs; none without CONFIG_VM_EVENT_COUNTERS.  Raises MemoryFault."""
    try:
        names = item_names(kernel, "vm_event_item")
        columns = [kernel.per_cpu("vm_event_states", cpu).event for cpu in kernel.cpus("possible")]
    except UnknownNameError:
        return []
    sums = [0] * len(names)
    for column in columns:
        for place, value in enumerate(memoryview(column.bytes_()).cast("Q")[: len(names)]):
            sums[place] += value
    return list(zip(names, sums, strict=True))
