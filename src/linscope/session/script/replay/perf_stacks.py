"""Call chains of perf.data, as the scanner interned them, as the stacks of the user-space machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linscope.abi import perf_event as pe
from linscope.binfmt.perf_records import KIND_MODE, Scanner
from linscope.bpf.vm.state import NO_STACK
from linscope.session.script.replay.contents import StackTable

_KERNEL_MODES = (pe.PERF_RECORD_MISC_KERNEL, pe.PERF_RECORD_MISC_GUEST_KERNEL)


class WindowStacks:
    """Each distinct chain becomes two stacks, of the kernel and of the user."""

    def __init__(self, scanner: Scanner) -> None:
        self.scanner = scanner
        self._known: dict[bytes, int] = {}  # addresses -> number
        self._stacks: list[bytes] = []
        self._table: StackTable | None = None

    def take(self, leaf: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Numbers of the kernel's and the user's stack of each node of the scanner's tree, which is forgotten."""
        raw = self.scanner.take_stacks()
        distinct, row = np.unique(leaf, return_inverse=True)
        levels = []
        node = distinct
        while node.any():
            levels.append(node)
            node = raw.parent[node]
        count = len(distinct)
        kernel, user = np.full(count, NO_STACK, np.uint32), np.full(count, NO_STACK, np.uint32)
        if levels:
            nodes = np.stack(levels, axis=1)
            place = raw.place[nodes]
            address = raw.address[np.minimum(place, len(raw.address) - 1)]
            mode = raw.kind[np.minimum(place, len(raw.kind) - 1)] & KIND_MODE
            some = nodes != 0
            is_kernel = some & np.isin(mode, _KERNEL_MODES)
            for number in range(count):
                kernel[number] = self._number(address[number][is_kernel[number]])
                user[number] = self._number(address[number][some[number] & ~is_kernel[number]])
        return kernel[row], user[row]

    def _number(self, addresses: NDArray[np.uint64]) -> int:
        if not len(addresses):
            return NO_STACK
        key = addresses.tobytes()
        number = self._known.get(key)
        if number is None:
            number = self._known[key] = len(self._stacks)
            self._stacks.append(key)
            self._table = None
        return number

    def table(self) -> StackTable:
        """All stacks so far."""
        if self._table is None:
            sizes = np.array([0, *(len(stack) // 8 for stack in self._stacks)], np.uint64)
            addresses = np.frombuffer(b"".join(self._stacks), np.uint64)
            self._table = StackTable(np.cumsum(sizes, dtype=np.uint64), addresses)
        return self._table
