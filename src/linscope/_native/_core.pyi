from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

# (start, end, page offset, object), a row a mapping; object -1: code without a file, -2: not code
_Space = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int32]]
# ((offset, size, address) of each segment, and of each section: bytes, address, search table, its address, and
# whether it is .debug_frame)
_Object = tuple[NDArray[np.uint64], list[tuple[bytes, int, bytes, int, bool]]]

class Scanner:
    def __init__(
        self, layouts: NDArray[np.uint64], ids: NDArray[np.uint64], events: NDArray[np.uint16], swap: bool
    ) -> None: ...
    def set_layouts(
        self, layouts: NDArray[np.uint64], ids: NDArray[np.uint64], events: NDArray[np.uint16]
    ) -> None: ...
    def scan(self, buffer: Any, start: int = 0) -> dict[str, Any]: ...
    def set_unwinder(self, unwinder: Unwinder | None, spaces: NDArray[np.uint32]) -> None: ...
    def take_stacks(
        self,
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint64], NDArray[np.uint8]]: ...
    def take_completed(self) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]: ...

class Unwinder:
    def __init__(
        self, load_space: Callable[[int], _Space], load_object: Callable[[int], _Object], swap: bool
    ) -> None: ...
    def rules_at(
        self, object: int, address: int
    ) -> tuple[tuple[int, int, int], dict[int, tuple[int, int, int]], int, bool] | None: ...
    def walk(
        self, space: int, registers: NDArray[np.uint64], known: int, stack: Any
    ) -> tuple[NDArray[np.uint64], int]: ...
    def endings(self) -> tuple[int, ...]: ...

def give_back_memory() -> None: ...
def frames_by_space(
    parent: NDArray[np.uint32],
    place: NDArray[np.uint32],
    kernel: NDArray[np.uint8],
    leaf: NDArray[np.uint32],
    space: NDArray[np.uint32],
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]] | None: ...
def regroup(
    parent: NDArray[np.uint32], label: NDArray[np.uint32], leaf: NDArray[np.uint32], group: NDArray[np.uint32]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]: ...
def totals(parent: NDArray[np.uint32], self: NDArray[np.int64]) -> NDArray[np.int64]: ...
def outermost(parent: NDArray[np.uint32], label: NDArray[np.uint32], labels: int) -> NDArray[np.uint8]: ...
def intern_pairs(
    a: NDArray[Any], b: NDArray[np.uint32]
) -> tuple[NDArray[np.uint32], NDArray[Any], NDArray[np.uint32]]: ...
