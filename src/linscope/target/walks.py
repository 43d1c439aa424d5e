"""The kernel's containers, walked in its memory: lists, hash lists, rbtrees, xarrays, maple trees.

Every walk is bounded: a circle or a fault ends it, with an error that names the address; what came before it is given.
Source: include/linux/list.h, rbtree_types.h, xarray.h, maple_tree.h; lib/xarray.c, lib/maple_tree.c.
"""

from __future__ import annotations

from linscope.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.target.objects import Object, Space

MOST = 4_000_000  # members that a walk gives at most
_XA_CHUNK = 64
_MAPLE_NODE_MASK = 0xFF
_MAPLE_SLOTS = {0: 31, 1: 16, 2: 16, 3: 10}  # of dense, leaf_64, range_64, arange_64 (64 bits)


def iter_list(space: Space, head: int, offset: int = 0) -> Iterator[int]:
    """Addresses of the structs in a list: head is the struct list_head, offset that of the member within the structs.

    Raises FormatError for a list that does not come back to its head, MemoryFault.
    """
    read = space.memory.read
    at = int.from_bytes(read(head, 8), "little")
    seen: set[int] = set()
    while at != head:
        if at in seen or len(seen) >= MOST:
            raise FormatError(f"the list at {head:#x} goes in a circle at {at:#x} and does not come back")
        if not at:
            raise FormatError(f"the list at {head:#x} ends with NULL after {len(seen)} members")
        seen.add(at)
        yield at - offset
        at = int.from_bytes(read(at, 8), "little")


def iter_objects(space: Space, head: int | Object, type_name: str, member: str) -> Iterator[Object]:
    """The structs of a list, by the member that links them.  Raises FormatError, MemoryFault, UnknownNameError."""
    start = head if isinstance(head, int) else _address(head)
    for address in iter_list(space, start, space.types.offset(type_name, member)):
        yield space.object(type_name, address)


def _address(head: Object) -> int:
    if head.address_ is not None and head.type_.target() is None:
        return head.address_
    return int(head)


def iter_hlist(space: Space, head: int, offset: int = 0) -> Iterator[int]:
    """Addresses of the structs in a hash list (hlist_head, also hlist_nulls); head: of the head.

    Raises FormatError, MemoryFault.
    """
    at = space.u64(head)
    seen: set[int] = set()
    while at and not at & 1:  # the end of hlist_nulls is an odd number
        if at in seen or len(seen) >= MOST:
            raise FormatError(f"the hash list at {head:#x} goes in a circle at {at:#x}")
        seen.add(at)
        yield at - offset
        at = space.u64(at)


def iter_rbtree(space: Space, root: int, offset: int = 0) -> Iterator[int]:
    """Addresses of the structs in a red-black tree, in order; root: struct rb_root.

    Raises FormatError, MemoryFault.
    """
    node = space.u64(root)
    path: list[int] = []
    seen: set[int] = set()
    while node or path:
        while node:
            if node in seen or len(seen) >= MOST:
                raise FormatError(f"the tree at {root:#x} goes in a circle at {node:#x}")
            seen.add(node)
            path.append(node)
            node = space.u64(node + 16)  # rb_left
        node = path.pop()
        yield node - offset
        node = space.u64(node + 8)  # rb_right


def iter_xarray(space: Space, head: int) -> Iterator[tuple[int, int]]:
    """(index, entry) of all that is in an xarray, by index; head: value of xa_head.

    An entry is a pointer, or a number times two plus one.  Raises FormatError, MemoryFault.
    """
    yield from _xarray(space, head, 0, 12)


def _xarray(space: Space, entry: int, index: int, depth: int) -> Iterator[tuple[int, int]]:
    if entry & 3 != 2 or entry < 4096:  # no node
        if entry and entry & 3 != 2:
            yield index, entry
        return
    if not depth:
        raise FormatError(f"the xarray is too deep at {entry:#x}")
    node = entry - 2
    shift = space.memory.read(node, 1)[0]
    slots = space.types.offset("struct xa_node", "slots")
    data = memoryview(space.memory.read(node + slots, 8 * _XA_CHUNK)).cast("Q")
    for place, one in enumerate(data):
        if one and not (one & 3 == 2 and one < 4096):  # siblings and such are small
            yield from _xarray(space, one, index + (place << shift), depth - 1)


def find_xarray(space: Space, head: int, index: int) -> int:
    """The entry at an index, 0 when there is none.  Raises MemoryFault, FormatError."""
    entry = head
    for _ in range(12):
        if entry & 3 != 2 or entry < 4096:
            return entry if entry & 3 != 2 and index == 0 else 0
        node = entry - 2
        shift = space.memory.read(node, 1)[0]
        if index >> shift >= _XA_CHUNK:
            return 0
        slot = space.u64(node + space.types.offset("struct xa_node", "slots") + 8 * (index >> shift))
        if slot & 3 == 2 and slot < 4096:  # a sibling: its entry is in the slot that it names
            slot = space.u64(node + space.types.offset("struct xa_node", "slots") + 8 * (slot >> 2))
        index &= (1 << shift) - 1
        if not shift:
            return 0 if slot & 3 == 2 else slot
        if slot & 3 != 2:
            return slot  # of several indexes
        entry = slot
    raise FormatError(f"the xarray is too deep at {entry:#x}")


def iter_maple(space: Space, tree: int) -> Iterator[tuple[int, int, int]]:
    """(first index, last index, entry) of all that is in a maple tree, by index; tree: struct maple_tree.

    Raises FormatError, MemoryFault.
    """
    root = space.u64(tree + space.types.offset("struct maple_tree", "ma_root"))
    if root & 3 != 2 or root < 4096:  # one entry, at index 0
        if root:
            yield 0, 0, root
        return
    yield from _maple(space, root, 0, (1 << 64) - 1, 16, [0])


def _maple(
    space: Space, entry: int, low: int, high: int, depth: int, count: list[int]
) -> Iterator[tuple[int, int, int]]:
    node, kind = entry & ~_MAPLE_NODE_MASK, entry >> 3 & 0xF
    count[0] += 1
    if not depth or kind not in _MAPLE_SLOTS or count[0] > MOST:
        raise FormatError(f"the maple tree is damaged at {entry:#x}")
    slots = _MAPLE_SLOTS[kind]
    data = memoryview(space.memory.read(node, 256)).cast("Q")
    if kind == 0:  # dense: no pivots
        pivots, first = [low + place for place in range(slots)], 1
    else:
        pivots, first = list(data[1:slots]), slots
    start = low
    for place in range(slots):
        last = pivots[place] if place < len(pivots) else high
        if place and not last and kind:
            break
        last = min(last, high)
        one = data[first + place]
        if one:
            if kind in (2, 3):
                yield from _maple(space, one, start, last, depth - 1, count)
            else:
                yield start, last, one
        if last >= high:
            break
        start = last + 1
