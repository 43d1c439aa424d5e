"""The maps of the machine in plain Python: what the native ones must do, error numbers included."""

from __future__ import annotations

from collections import OrderedDict

from linscope.abi import bpf as b

ENOENT, E2BIG, EEXIST, EINVAL, ENOSPC = 2, 7, 17, 22, 28


class HashTwin:
    """Hash, per-CPU hash and LRU hash; the value of a per-CPU map is that of all CPUs."""

    def __init__(self, entries: int, lru: bool = False) -> None:
        self.entries = entries
        self.lru = lru
        self.items: OrderedDict[bytes, bytes] = OrderedDict()

    def lookup(self, key: bytes) -> bytes | None:
        if key in self.items and self.lru:
            self.items.move_to_end(key)
        return self.items.get(key)

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        if flags > 2:
            return -EINVAL
        if key in self.items:
            if flags == b.BPF_NOEXIST:
                return -EEXIST
        elif flags == b.BPF_EXIST:
            return -ENOENT
        elif len(self.items) == self.entries:
            if not self.lru:
                return -E2BIG
            self.items.popitem(last=False)
        self.items[key] = value
        if self.lru:
            self.items.move_to_end(key)
        return 0

    def delete(self, key: bytes) -> int:
        return 0 if self.items.pop(key, None) is not None else -ENOENT

    def dump(self) -> dict[bytes, bytes]:
        return dict(self.items)


class ArrayTwin:
    """An array whose values are zero at first."""

    def __init__(self, entries: int, value_size: int) -> None:
        self.values = [bytes(value_size)] * entries

    def lookup(self, key: bytes) -> bytes | None:
        index = int.from_bytes(key, "little")
        return self.values[index] if index < len(self.values) else None

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        index = int.from_bytes(key, "little")
        if flags > 2:
            return -EINVAL
        if index >= len(self.values):
            return -E2BIG
        if flags == b.BPF_NOEXIST:
            return -EEXIST
        self.values[index] = value
        return 0

    def delete(self, key: bytes) -> int:
        return -EINVAL

    def dump(self) -> dict[bytes, bytes]:
        return {n.to_bytes(4, "little"): value for n, value in enumerate(self.values)}


class LpmTwin:
    """Longest prefix match: the key is u32 length in bits, then data."""

    def __init__(self, entries: int, data_bytes: int) -> None:
        self.entries = entries
        self.bits = data_bytes * 8
        self.items: dict[tuple[int, int], bytes] = {}

    def _prefix(self, key: bytes) -> tuple[int, int]:
        length = int.from_bytes(key[:4], "little")
        data = int.from_bytes(key[4:], "big")
        return length, data >> (self.bits - length) << (self.bits - length) if length <= self.bits else 0

    def lookup(self, key: bytes) -> bytes | None:
        length, _ = self._prefix(key)
        data = int.from_bytes(key[4:], "big")
        for n in range(min(length, self.bits), -1, -1):
            value = self.items.get((n, data >> (self.bits - n) << (self.bits - n)))
            if value is not None:
                return value
        return None

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        prefix = self._prefix(key)
        if prefix[0] > self.bits or flags > 2:
            return -EINVAL
        if prefix in self.items:
            if flags == b.BPF_NOEXIST:
                return -EEXIST
        elif flags == b.BPF_EXIST:
            return -ENOENT
        elif len(self.items) == self.entries:
            return -ENOSPC
        self.items[prefix] = value
        return 0

    def delete(self, key: bytes) -> int:
        prefix = self._prefix(key)
        if prefix[0] > self.bits:
            return -EINVAL
        return 0 if self.items.pop(prefix, None) is not None else -ENOENT

    def dump(self) -> dict[bytes, bytes]:
        return {
            length.to_bytes(4, "little") + data.to_bytes(self.bits // 8, "big"): value
            for (length, data), value in self.items.items()
        }


class QueueTwin:
    """A queue, or a stack."""

    def __init__(self, entries: int, stack: bool) -> None:
        self.entries = entries
        self.stack = stack
        self.values: list[bytes] = []

    def push(self, value: bytes, flags: int) -> int:
        if flags not in (0, b.BPF_EXIST):
            return -EINVAL
        if len(self.values) == self.entries:
            if flags != b.BPF_EXIST:
                return -E2BIG
            self.values.pop(0)
        self.values.append(value)
        return 0

    def pop(self, keep: bool) -> bytes | None:
        if not self.values:
            return None
        place = -1 if self.stack else 0
        return self.values[place] if keep else self.values.pop(place)
