"""Maps in the kernel: keys and values as bytes.  ``typed`` gives them C's types, ``ring_buffer`` reads rings.

Source: bpf(2); Documentation/bpf/maps.rst; kernel/bpf/syscall.c, bpf_map_value_size.
"""

from __future__ import annotations

from errno import E2BIG, EEXIST, EINVAL, ENOENT, ENOSPC, ENOTSUP, EPERM

from linscope.abi import bpf as b
from linscope.bpf.kernel.descriptor import Descriptor, get_by_id, get_pinned
from linscope.errors import SystemCallError, UsageError
from linscope.sys import bpf as sys_bpf
from linscope.sys.bpf_errors import ENOTSUPP, explain

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterable, Iterator

    from linscope.bpf.program import Map

PER_CPU = frozenset(
    (
        b.BPF_MAP_TYPE_PERCPU_HASH, b.BPF_MAP_TYPE_PERCPU_ARRAY, b.BPF_MAP_TYPE_LRU_PERCPU_HASH,
        b.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
    )
)  # fmt: skip
# What a map of that type holds is read as a u32 of another kind: ids of maps and programs
OF_IDS = frozenset((b.BPF_MAP_TYPE_ARRAY_OF_MAPS, b.BPF_MAP_TYPE_HASH_OF_MAPS, b.BPF_MAP_TYPE_PROG_ARRAY))
WITHOUT_KEYS = frozenset((b.BPF_MAP_TYPE_QUEUE, b.BPF_MAP_TYPE_STACK, b.BPF_MAP_TYPE_BLOOM_FILTER))
# Their keys and values have no BTF (kernel/bpf/syscall.c: map_check_btf asks for an operation that they lack)
WITHOUT_BTF = frozenset(
    (
        b.BPF_MAP_TYPE_PERF_EVENT_ARRAY, b.BPF_MAP_TYPE_CGROUP_ARRAY, b.BPF_MAP_TYPE_STACK_TRACE,
        b.BPF_MAP_TYPE_ARRAY_OF_MAPS, b.BPF_MAP_TYPE_HASH_OF_MAPS, b.BPF_MAP_TYPE_DEVMAP,
        b.BPF_MAP_TYPE_DEVMAP_HASH, b.BPF_MAP_TYPE_CPUMAP, b.BPF_MAP_TYPE_XSKMAP, b.BPF_MAP_TYPE_SOCKMAP,
        b.BPF_MAP_TYPE_SOCKHASH, b.BPF_MAP_TYPE_QUEUE, b.BPF_MAP_TYPE_STACK, b.BPF_MAP_TYPE_PROG_ARRAY,
        b.BPF_MAP_TYPE_RINGBUF, b.BPF_MAP_TYPE_USER_RINGBUF, b.BPF_MAP_TYPE_BLOOM_FILTER,
    )
)  # fmt: skip
_NO_BATCH = frozenset((EINVAL, ENOTSUP, ENOTSUPP))
_BATCH = 4096  # entries
# the kernel that a type came with; shown when it does not take the type
_SINCE = {
    b.BPF_MAP_TYPE_RINGBUF: "v5.8", b.BPF_MAP_TYPE_INODE_STORAGE: "v5.10", b.BPF_MAP_TYPE_TASK_STORAGE: "v5.11",
    b.BPF_MAP_TYPE_BLOOM_FILTER: "v5.16", b.BPF_MAP_TYPE_USER_RINGBUF: "v6.1", b.BPF_MAP_TYPE_CGRP_STORAGE: "v6.2",
    b.BPF_MAP_TYPE_ARENA: "v6.9",
}  # fmt: skip


def possible_cpus() -> int:
    """Number of CPUs that the kernel keeps per-CPU values for."""
    with open("/sys/devices/system/cpu/possible", encoding="utf-8") as file:
        text = file.read().strip()
    count = 0
    for part in text.split(","):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


class KernelMap(Descriptor):
    """A map.  Keys and values are bytes of ``key_size`` and ``value_size``.

    Where a map is per CPU, a value is that of all possible CPUs, one behind the other, each padded to eight bytes:
    ``width`` bytes; ``per_cpu`` takes it apart.
    """

    __slots__ = ("flags", "key_size", "max_entries", "name", "type", "value_size", "width")
    kind = "map"

    def __init__(
        self, fd: int, type: int, key_size: int, value_size: int, max_entries: int, flags: int = 0, name: str = ""
    ) -> None:
        """fd: is closed with this object; the rest is what the map was created with.  See ``create``, ``open``."""
        super().__init__(fd)
        self.type = type
        self.key_size = key_size
        self.value_size = value_size
        self.max_entries = max_entries
        self.flags = flags
        self.name = name
        self.width = (value_size + 7 & ~7) * possible_cpus() if type in PER_CPU else value_size

    def __repr__(self) -> str:
        return f"<KernelMap {self.name!r}: type {self.type}, {self.key_size} -> {self.value_size}, {self.max_entries}>"

    @classmethod
    def create(cls, definition: Map, *, btf_fd: int = 0, inner: KernelMap | None = None) -> KernelMap:
        """A new map.

        btf_fd: of the types that the definition's key and value are of, 0 without; inner: the map after whose model
        those in this one are, made for the time of the call when it is None.  Raises SystemCallError.
        """
        d = definition
        entries = d.max_entries
        if d.type == b.BPF_MAP_TYPE_PERF_EVENT_ARRAY and not entries:
            entries = possible_cpus()
        if d.inner is not None and inner is None:
            with cls.create(d.inner, btf_fd=btf_fd) as model:
                return cls.create(d, btf_fd=btf_fd, inner=model)
        typed = bool(btf_fd and d.value_type and d.type not in WITHOUT_BTF)

        def attempt(typed: bool, name: str) -> int:
            return sys_bpf.map_create(
                d.type, d.key_size, d.value_size, entries, flags=d.flags, name=name, map_extra=d.extra,
                inner_map_fd=inner.fd if inner is not None else 0, btf_fd=btf_fd if typed else 0,
                btf_key_type_id=d.key_type if typed else 0, btf_value_type_id=d.value_type if typed else 0,
            )  # fmt: skip

        try:
            try:
                fd = attempt(typed, d.name)
            except OSError as error:
                if error.errno == EPERM and _raise_memlock():
                    fd = attempt(typed, d.name)
                elif typed and error.errno in (EINVAL, ENOTSUPP):
                    fd = attempt(False, d.name)  # the types are not such that the kernel takes them
                else:
                    raise
        except OSError as error:
            what = f"cannot create the map {d.name!r} (type {d.type}, {d.key_size} -> {d.value_size}, {entries})"
            known = error.errno == EINVAL and d.type in _SINCE
            raise explain(error, what, since=_SINCE[d.type] if known else "") from error
        made = cls(fd, d.type, d.key_size, d.value_size, entries, d.flags, d.name)
        try:
            if d.initial:
                made.update(bytes(d.key_size), d.initial)
            if d.frozen:
                made.freeze()
        except BaseException:
            made.close()
            raise
        return made

    @classmethod
    def from_fd(cls, fd: int) -> KernelMap:
        """The map of a descriptor, which is closed with the result.  Raises SystemCallError."""
        import struct

        info = bytearray(128)
        try:
            sys_bpf.obj_get_info_by_fd(fd, info)
        except OSError as error:
            raise explain(error, "cannot look at a map") from error
        kind, _id, key_size, value_size, max_entries, flags, name = struct.unpack_from("=6I16s", info)
        return cls(fd, kind, key_size, value_size, max_entries, flags, name.partition(b"\0")[0].decode())

    @classmethod
    def open(cls, path: str) -> KernelMap:
        """The map that is pinned at a path.  Raises SystemCallError."""
        return cls.from_fd(get_pinned(path))

    @classmethod
    def by_id(cls, id: int) -> KernelMap:
        """The map of an id.  Raises SystemCallError."""
        return cls.from_fd(get_by_id("map", id))

    def _fail(self, error: OSError, what: str) -> SystemCallError:
        why = {E2BIG: f"it is full: {self.max_entries} entries", EEXIST: "it is there", ENOENT: "there is none"}.get(
            error.errno or 0, ""
        )
        if error.errno == EPERM and "read" not in what:
            why = "it is frozen, or this process may not"
        return explain(error, f"cannot {what} map {self.name!r}", why=why)

    def _check(self, key: bytes | None, value: bytes | bytearray | None = None) -> None:
        if key is not None and len(key) != self.key_size:
            raise UsageError(f"a key of map {self.name!r} has {self.key_size} bytes, not {len(key)}")
        if value is not None and len(value) != self.width:
            raise UsageError(f"a value of map {self.name!r} has {self.width} bytes, not {len(value)}")

    # -- one entry

    def lookup(self, key: bytes, flags: int = 0) -> bytes | None:
        """The value of a key; None when there is none.  Raises SystemCallError."""
        self._check(key)
        value = bytearray(self.width)
        try:
            sys_bpf.map_lookup_elem(self.fd, key, value, flags)
        except OSError as error:
            if error.errno == ENOENT:
                return None
            raise self._fail(error, "read") from error
        return bytes(value)

    def update(self, key: bytes, value: bytes | bytearray, flags: int = b.BPF_ANY) -> None:
        """Set the value of a key; flags: BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK.

        Raises SystemCallError: E2BIG when the map is full, EEXIST, ENOENT.
        """
        self._check(key, value)
        try:
            sys_bpf.map_update_elem(self.fd, key, value, flags)
        except OSError as error:
            raise self._fail(error, "write to") from error

    def delete(self, key: bytes) -> bool:
        """Delete an entry; False when there was none.  Raises SystemCallError (EINVAL: an array)."""
        self._check(key)
        try:
            sys_bpf.map_delete_elem(self.fd, key)
        except OSError as error:
            if error.errno == ENOENT:
                return False
            raise self._fail(error, "delete from") from error
        return True

    def per_cpu(self, value: bytes) -> list[bytes]:
        """The values of each possible CPU, of a per-CPU map's value."""
        step = self.value_size + 7 & ~7
        return [value[at : at + self.value_size] for at in range(0, len(value), step)]

    # -- queues, stacks, bloom filters

    def push(self, value: bytes, flags: int = b.BPF_ANY) -> None:
        """Add to a queue, stack or bloom filter; BPF_EXIST: make room in a full one.  Raises SystemCallError."""
        self._check(None, value)
        try:
            sys_bpf.map_update_elem(self.fd, None, value, flags)
        except OSError as error:
            raise self._fail(error, "push to") from error

    def pop(self) -> bytes | None:
        """Take the next of a queue or stack; None when it is empty.  Raises SystemCallError."""
        value = bytearray(self.width)
        try:
            sys_bpf.map_lookup_and_delete_elem(self.fd, None, value)
        except OSError as error:
            if error.errno == ENOENT:
                return None
            raise self._fail(error, "pop from") from error
        return bytes(value)

    def peek(self, value: bytes | None = None) -> bytes | None:
        """The next of a queue or stack; None when it is empty.

        value: of a bloom filter, to be told whether it may be in: None when it surely is not.
        """
        buffer = bytearray(value if value is not None else self.width)
        self._check(None, buffer)
        try:
            sys_bpf.map_lookup_elem(self.fd, None, buffer)
        except OSError as error:
            if error.errno == ENOENT:
                return None
            raise self._fail(error, "read") from error
        return bytes(buffer)

    # -- all entries

    def keys(self) -> Iterator[bytes]:
        """All keys, one call each.  In a hash that others change, an entry can come twice, or end the walk early."""
        key: bytes | None = None
        following = bytearray(self.key_size)
        while True:
            try:
                sys_bpf.map_get_next_key(self.fd, key, following)
            except OSError as error:
                if error.errno == ENOENT:
                    return
                raise self._fail(error, "read") from error
            key = bytes(following)
            yield key

    def chunks(self, count: int = _BATCH, *, delete: bool = False) -> Iterator[tuple[int, bytearray, bytearray]]:
        """(entries, their keys, their values) in bulk; the buffers hold more than that and are used again.

        delete: what was read is gone from the map (of hashes only).  Raises SystemCallError; where the kernel has no
        batches for the type, they are made one by one.
        """
        call = sys_bpf.map_lookup_and_delete_batch if delete else sys_bpf.map_lookup_batch
        count = max(1, min(count, self.max_entries))
        place: bytearray | None = None
        following = bytearray(max(self.key_size, 8))
        keys, values = bytearray(count * self.key_size), bytearray(count * self.width)
        while True:
            try:
                done = call(self.fd, place, following, keys, values, count)
            except sys_bpf.BatchError as error:
                if error.errno == ENOENT:
                    if error.count:
                        yield error.count, keys, values
                    return
                if error.errno == ENOSPC:  # one bucket has more entries than the buffers
                    count *= 2
                    keys, values = bytearray(count * self.key_size), bytearray(count * self.width)
                    continue
                if error.errno in _NO_BATCH and place is None:
                    yield from self._single_chunks(count, delete)
                    return
                raise self._fail(error, "read") from error
            if done:
                yield done, keys, values
            place = place or bytearray(len(following))
            place[:] = following

    def _single_chunks(self, count: int, delete: bool) -> Iterator[tuple[int, bytearray, bytearray]]:
        keys, values, done = bytearray(), bytearray(), 0
        for key in list(self.keys()) if delete else self.keys():
            value = self.lookup(key)
            if value is None or (delete and not self.delete(key)):
                continue  # gone since
            keys += key
            values += value
            done += 1
            if done == count:
                yield done, keys, values
                keys, values, done = bytearray(), bytearray(), 0
        if done:
            yield done, keys, values

    def items(self, *, delete: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of all entries; delete: take them out of the map.  Raises SystemCallError."""
        step, width = self.key_size, self.width
        for count, keys, values in self.chunks(delete=delete):
            for index in range(count):
                yield bytes(keys[index * step : (index + 1) * step]), bytes(values[index * width : (index + 1) * width])

    def update_many(self, entries: Iterable[tuple[bytes, bytes]], flags: int = b.BPF_ANY) -> None:
        """Set many entries with one call.  Raises SystemCallError; those before the refused one are set."""
        pairs = list(entries)
        for key, value in pairs:
            self._check(key, value)
        if not pairs:
            return
        keys, values = b"".join(key for key, _ in pairs), b"".join(value for _, value in pairs)
        try:
            sys_bpf.map_update_batch(self.fd, keys, values, len(pairs), flags)
        except sys_bpf.BatchError as error:
            if error.errno not in _NO_BATCH or error.count not in (0, len(pairs)):
                raise self._fail(error, "write to") from error
            for key, value in pairs:
                self.update(key, value, flags)

    def delete_many(self, keys: Iterable[bytes]) -> None:
        """Delete many entries with one call; keys that are not there are passed over.  Raises SystemCallError."""
        wanted = list(keys)
        for key in wanted:
            self._check(key)
        if not wanted:
            return
        try:
            sys_bpf.map_delete_batch(self.fd, b"".join(wanted), len(wanted))
        except sys_bpf.BatchError as error:
            if error.errno != ENOENT and error.errno not in _NO_BATCH:
                raise self._fail(error, "delete from") from error
            for key in wanted:
                self.delete(key)

    def clear(self) -> None:
        """Delete all entries of a hash.  Raises SystemCallError."""
        for _ in self.chunks(delete=True):
            pass

    # -- the whole

    def freeze(self) -> None:
        """No more changes from user space; programs take what is in a BPF_F_RDONLY_PROG map for constant."""
        try:
            sys_bpf.map_freeze(self.fd)
        except OSError as error:
            raise self._fail(error, "freeze") from error

    def mmap(self, *, write: bool = True) -> mmap.mmap:
        """The values of an array with BPF_F_MMAPABLE as memory, each padded to eight bytes.  Raises SystemCallError."""
        import mmap  # few need it

        size = (self.value_size + 7 & ~7) * self.max_entries
        size = size + mmap.PAGESIZE - 1 & -mmap.PAGESIZE
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if write else 0)
        try:
            return mmap.mmap(self.fd, size, mmap.MAP_SHARED, protection)
        except OSError as error:
            raise self._fail(error, "map the memory of") from error


def _raise_memlock() -> bool:
    """Lift the locked-memory limit, which older kernels (< v5.11) charge maps to; False when that is not it."""
    import resource

    if resource.getrlimit(resource.RLIMIT_MEMLOCK) == (resource.RLIM_INFINITY, resource.RLIM_INFINITY):
        return False
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        return False
    return True
