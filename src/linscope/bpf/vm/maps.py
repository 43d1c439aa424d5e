"""The maps of the user-space machine, as Python sees them; the maps themselves are native (bpf_maps.cpp)."""

from __future__ import annotations

from linscope._native import _core
from linscope.abi import bpf as b
from linscope.bpf.vm.errors import MachineError, UnavailableError
from linscope.bpf.vm.state import MapHead

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from linscope.bpf.program import Map

HASHED = frozenset(
    {
        b.BPF_MAP_TYPE_HASH,
        b.BPF_MAP_TYPE_PERCPU_HASH,
        b.BPF_MAP_TYPE_LRU_HASH,
        b.BPF_MAP_TYPE_LRU_PERCPU_HASH,
        b.BPF_MAP_TYPE_LPM_TRIE,
        b.BPF_MAP_TYPE_HASH_OF_MAPS,
    }
)
PER_CPU = frozenset({b.BPF_MAP_TYPE_PERCPU_HASH, b.BPF_MAP_TYPE_PERCPU_ARRAY, b.BPF_MAP_TYPE_LRU_PERCPU_HASH})
RINGS = frozenset({b.BPF_MAP_TYPE_RINGBUF, b.BPF_MAP_TYPE_PERF_EVENT_ARRAY})
OF_MAPS = frozenset({b.BPF_MAP_TYPE_ARRAY_OF_MAPS, b.BPF_MAP_TYPE_HASH_OF_MAPS})
KINDS = (
    HASHED
    | PER_CPU
    | RINGS
    | OF_MAPS
    | {
        b.BPF_MAP_TYPE_ARRAY,
        b.BPF_MAP_TYPE_PROG_ARRAY,
        b.BPF_MAP_TYPE_STACK_TRACE,
        b.BPF_MAP_TYPE_QUEUE,
        b.BPF_MAP_TYPE_STACK,
        b.BPF_MAP_TYPE_BLOOM_FILTER,
    }
)
DEFAULT_RING_BYTES = 1 << 24
_ERRORS = {
    -2: "no such element",
    -7: "the map is full, or the index is out of range",
    -17: "the element exists already",
    -22: "this map cannot do that",
    -28: "the map is full",
}


class VmMap:
    """One map: look up, change, iterate, drain.  Keys and values are bytes, as the program sees them.

    The value of a per-CPU map is that of all CPUs, each padded to 8 bytes.  A ring buffer, and the perf event array,
    which holds the records of all CPUs in the order of their making, is emptied with ``drain``.
    """

    def __init__(self, map_: Map, cpus: int, ring_bytes: int | None = None) -> None:
        """cpus: of the recording; ring_bytes: room for records instead of what the map asks for.

        A perf event array has room for 16 MiB when nothing is said.  Raises UnavailableError: a kind of map that does
        not exist here, or sizes that cannot be.
        """
        self.name = map_.name
        self.type = map_.type
        self.value_size = map_.value_size
        self.key_size = map_.key_size
        self.iterable = map_.type in HASHED or map_.type in (b.BPF_MAP_TYPE_ARRAY, b.BPF_MAP_TYPE_PERCPU_ARRAY)
        if map_.type not in KINDS:
            raise UnavailableError(f"map {map_.name!r}: type {map_.type} is not available")
        entries = map_.max_entries
        if map_.type in RINGS and (ring_bytes or map_.type == b.BPF_MAP_TYPE_PERF_EVENT_ARRAY):
            entries = ring_bytes or DEFAULT_RING_BYTES
        value_size = 8 if map_.type in OF_MAPS else map_.value_size
        writable = not (map_.frozen or map_.flags & b.BPF_F_RDONLY_PROG)
        try:
            self.native = _core.BpfMap(
                map_.type, map_.key_size, value_size, entries, map_.flags, max(cpus, 1), writable
            )
        except (ValueError, MemoryError, TypeError) as error:
            raise UnavailableError(f"map {map_.name!r} cannot be made", why=str(error) or "no memory") from error
        self.address: int = self.native.address
        self.head = MapHead.from_address(self.address)
        if map_.initial:
            initial = map_.initial[: map_.value_size].ljust(map_.value_size, b"\0")
            self.native.update(bytes(4), initial, 0)

    def __repr__(self) -> str:
        return f"<VmMap {self.name!r}: {len(self)} of {self.head.max_entries}>"

    def __len__(self) -> int:
        """Elements in it; for arrays, all of them."""
        whole = self.type in (b.BPF_MAP_TYPE_ARRAY, b.BPF_MAP_TYPE_PERCPU_ARRAY)
        return int(self.head.max_entries if whole else self.head.count)

    @property
    def dropped(self) -> int:
        """Records that found no room; for a stack map, stacks that found their place taken."""
        return int(self.head.dropped)

    def lookup(self, key: bytes) -> bytes | None:
        """The value of a key, None when there is none.  For a per-CPU map: of all CPUs, one after the other."""
        return self.native.lookup(key)

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Set a value; flags: BPF_ANY, BPF_NOEXIST, BPF_EXIST.  Raises MachineError with the reason."""
        self._judge(self.native.update(key, value, flags))

    def delete(self, key: bytes) -> None:
        """Take an element out.  Raises MachineError: there is none, or elements of this map stay."""
        self._judge(self.native.delete(key))

    def push(self, value: bytes, flags: int = 0) -> None:
        """Add a value to a queue, a stack or a bloom filter.  Raises MachineError: full."""
        self._judge(self.native.push(value, flags))

    def pop(self) -> bytes | None:
        """Take a value from a queue or a stack, None when it is empty."""
        return self.native.pop(False)

    def peek(self) -> bytes | None:
        """The value that ``pop`` would give, None when it is empty."""
        return self.native.pop(True)

    def contains(self, value: bytes) -> bool:
        """Whether a bloom filter has perhaps seen a value."""
        return self.native.contains(value)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of each element, as they were when it began."""
        keys, values = self.dump()
        key_size = self.key_size
        size = len(values) * key_size // len(keys) if keys else 1
        for n in range(len(keys) // key_size if keys else 0):
            yield keys[n * key_size : (n + 1) * key_size], values[n * size : (n + 1) * size]

    def dump(self) -> tuple[bytes, bytes]:
        """All keys one after the other, and all values: ready for numpy.frombuffer with the types of both."""
        return self.native.dump()

    def clear(self) -> None:
        """Empty it; values of arrays become zero, counts of losses too."""
        self.native.clear()

    def drain_bytes(self) -> bytes:
        """What ``drain`` takes apart, as it is: each record a header (u32 length, with BPF_RINGBUF_BUSY_BIT or
        BPF_RINGBUF_DISCARD_BIT where it does not count; u32 CPU), then data, padded to 8 bytes.
        """
        import ctypes

        if self.type not in RINGS:
            raise MachineError(f"map {self.name!r} holds no records")
        data = ctypes.string_at(self.ring_address, self.head.used)
        self.head.used = self.head.count = 0
        return data

    def drain(self) -> list[tuple[int, bytes]]:
        """(CPU, bytes) of each record of a ring buffer (CPU 0) or perf event array; it is empty afterwards.

        Records that were discarded, or reserved and never submitted, are left out.
        """
        data = self.drain_bytes()
        records = []
        at = 0
        while at < len(data):
            header = int.from_bytes(data[at : at + 4], "little")
            size = header & (b.BPF_RINGBUF_DISCARD_BIT - 1)
            if not header & (b.BPF_RINGBUF_BUSY_BIT | b.BPF_RINGBUF_DISCARD_BIT):
                records.append((int.from_bytes(data[at + 4 : at + 8], "little"), data[at + 8 : at + 8 + size]))
            at += 8 + (size + 7 & ~7)
        return records

    @property
    def ring_address(self) -> int:
        """Where the records of a ring are in this process: 8 bytes of header (u32 length, u32 CPU), then data."""
        return int(self.head.values)

    def set_map(self, key: bytes, inner: VmMap) -> None:
        """Put a map into an array or hash of maps; the machine of both must be the same."""
        self.update(key, inner.address.to_bytes(8, "little"))

    def fill(self, values: Mapping[bytes, bytes]) -> None:
        """Set many values.  Raises MachineError at the first that cannot be."""
        for key, value in values.items():
            self.update(key, value)

    def _judge(self, result: int) -> None:
        if result < 0:
            raise MachineError(f"map {self.name!r}", why=_ERRORS.get(result, f"error {-result}"))
