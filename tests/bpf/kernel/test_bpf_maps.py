"""Every type of map: one entry, all entries, in bulk and one by one, and what an error says."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator

import pytest

from linscope.abi import bpf as b
from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf import Btf
from linscope.bpf.kernel.bpffs import PrivatePins, is_bpffs
from linscope.bpf.kernel.maps import KernelMap, possible_cpus
from linscope.bpf.kernel.typed import Codec, TypedMap, typed_map
from linscope.bpf.kernel.types import KernelTypes, without_kinds
from linscope.bpf.objects.raw_types import RawTypes
from linscope.bpf.program import Map
from linscope.errors import FormatError, NotInKernel, SystemCallError, UsageError
from linscope.sys import bpf as sys_bpf

pytestmark = pytest.mark.kernel


def u32(value: int) -> bytes:
    return struct.pack("=I", value)


def u64(value: int) -> bytes:
    return struct.pack("=Q", value)


def make(type: int, key: int = 4, value: int = 8, entries: int = 1000, **more: int) -> KernelMap:
    return KernelMap.create(Map("mine", type, key, value, entries, **more))  # type: ignore[arg-type]


@pytest.fixture(params=["batch", "single"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both ways to go over a map: the second is that of kernels without batches."""
    if request.param == "single":

        def refuse(*_: object) -> int:
            raise sys_bpf.BatchError(OSError(22, "Invalid argument"), 0)

        monkeypatch.setattr(sys_bpf, "_batch", refuse)
    yield


@pytest.mark.parametrize("type", [b.BPF_MAP_TYPE_HASH, b.BPF_MAP_TYPE_LRU_HASH])
def test_a_hash(type: int, ways: None) -> None:
    with make(type) as table:
        assert list(table.items()) == [] and table.lookup(u32(1)) is None and not table.delete(u32(1))
        table.update(u32(1), u64(10))
        assert table.lookup(u32(1)) == u64(10)
        with pytest.raises(SystemCallError, match="it is there"):
            table.update(u32(1), u64(11), b.BPF_NOEXIST)
        with pytest.raises(SystemCallError, match="there is none"):
            table.update(u32(2), u64(11), b.BPF_EXIST)
        table.update_many((u32(n), u64(n * n)) for n in range(300))
        assert dict(table.items()) == {u32(n): u64(n * n) for n in range(300)}
        assert sorted(table.keys()) == sorted(u32(n) for n in range(300))
        table.delete_many(u32(n) for n in range(0, 400, 2))
        assert dict(table.items()) == {u32(n): u64(n * n) for n in range(1, 300, 2)}
        taken = dict(table.items(delete=True))
        assert len(taken) == 150 and list(table.items()) == []
        table.update(u32(1), u64(1))
        table.clear()
        assert list(table.keys()) == []
        with pytest.raises(UsageError, match="4 bytes, not 3"):
            table.lookup(b"123")
        with pytest.raises(UsageError, match="8 bytes, not 1"):
            table.update(u32(1), b"1")


def test_a_full_hash_says_so() -> None:
    with make(b.BPF_MAP_TYPE_HASH, entries=1) as table:
        table.update(u32(1), u64(1))
        with pytest.raises(SystemCallError, match="full: 1 entries"):
            table.update(u32(2), u64(1))


def test_many_entries_in_few_calls() -> None:
    with make(b.BPF_MAP_TYPE_HASH, entries=100_000) as table:
        table.update_many((u32(n), u64(n)) for n in range(100_000))
        counts = [count for count, _, _ in table.chunks(10_000)]
        assert sum(counts) == 100_000 and len(counts) < 20


def test_an_array(ways: None) -> None:
    with make(b.BPF_MAP_TYPE_ARRAY, entries=5) as table:
        table.update(u32(3), u64(33))
        assert [value for _, value in table.items()] == [u64(0)] * 3 + [u64(33), u64(0)]
        assert table.lookup(u32(5)) is None
        with pytest.raises(SystemCallError):
            table.delete(u32(1))


def test_an_array_as_memory() -> None:
    with make(b.BPF_MAP_TYPE_ARRAY, entries=3, flags=b.BPF_F_MMAPABLE) as table, table.mmap() as memory:
        memory[8:16] = u64(77)
        assert table.lookup(u32(1)) == u64(77)
        table.update(u32(2), u64(88))
        assert memory[16:24] == u64(88) and len(memory) == mmap.PAGESIZE
    with make(b.BPF_MAP_TYPE_ARRAY, entries=3) as table, pytest.raises(SystemCallError):
        table.mmap()


@pytest.mark.parametrize(
    "type", [b.BPF_MAP_TYPE_PERCPU_HASH, b.BPF_MAP_TYPE_PERCPU_ARRAY, b.BPF_MAP_TYPE_LRU_PERCPU_HASH]
)
def test_values_of_each_cpu(type: int, ways: None) -> None:
    cpus = possible_cpus()
    with make(type, value=4, entries=64) as table:
        assert table.width == 8 * cpus
        table.update(u32(7), b"".join(u32(100 + cpu) + bytes(4) for cpu in range(cpus)))
        value = dict(table.items())[u32(7)]
        assert table.per_cpu(value) == [u32(100 + cpu) for cpu in range(cpus)]


def test_longest_prefix(ways: None) -> None:
    with make(b.BPF_MAP_TYPE_LPM_TRIE, key=8, value=4, flags=b.BPF_F_NO_PREALLOC) as table:
        table.update(u32(8) + bytes([10, 0, 0, 0]), u32(1))
        table.update(u32(16) + bytes([10, 1, 0, 0]), u32(2))
        assert table.lookup(u32(32) + bytes([10, 1, 2, 3])) == u32(2)
        assert table.lookup(u32(32) + bytes([10, 2, 2, 3])) == u32(1)
        assert table.lookup(u32(32) + bytes([11, 2, 2, 3])) is None
        assert sorted(value for _, value in table.items()) == [u32(1), u32(2)]


def test_queue_stack_and_bloom_filter() -> None:
    with make(b.BPF_MAP_TYPE_QUEUE, key=0, value=4, entries=3) as queue:
        for n in (1, 2, 3):
            queue.push(u32(n))
        with pytest.raises(SystemCallError, match="full"):
            queue.push(u32(4))
        queue.push(u32(4), b.BPF_EXIST)
        assert [queue.peek(), queue.pop(), queue.pop(), queue.pop(), queue.pop()] == [
            u32(2), u32(2), u32(3), u32(4), None,
        ]  # fmt: skip
    with make(b.BPF_MAP_TYPE_STACK, key=0, value=4, entries=3) as stack:
        stack.push(u32(1))
        stack.push(u32(2))
        assert [stack.pop(), stack.pop(), stack.pop()] == [u32(2), u32(1), None]
    with make(b.BPF_MAP_TYPE_BLOOM_FILTER, key=0, value=4, entries=100) as seen:
        seen.push(u32(5))
        assert seen.peek(u32(5)) == u32(5) and seen.peek(u32(6)) is None


def test_maps_in_maps() -> None:
    inner = Map("inner", b.BPF_MAP_TYPE_ARRAY, 4, 8, 1)
    outer = KernelMap.create(Map("outer", b.BPF_MAP_TYPE_HASH_OF_MAPS, 4, 4, 8, inner=inner))
    with outer, KernelMap.create(inner) as one:
        outer.update(u32(3), u32(one.fd))
        assert outer.lookup(u32(3)) == u32(one.id)
        with KernelMap.by_id(one.id) as again:
            assert (again.type, again.name, again.value_size) == (b.BPF_MAP_TYPE_ARRAY, "inner", 8)


def test_frozen_maps() -> None:
    with KernelMap.create(
        Map("constant", b.BPF_MAP_TYPE_ARRAY, 4, 8, 1, flags=b.BPF_F_RDONLY_PROG, initial=u64(5), frozen=True)
    ) as table:
        assert table.lookup(u32(0)) == u64(5)
        with pytest.raises(SystemCallError, match="frozen"):
            table.update(u32(0), u64(6))


@pytest.mark.parametrize(
    ("type", "key", "value", "entries"),
    [
        (b.BPF_MAP_TYPE_STACK_TRACE, 4, 8 * 127, 16),
        (b.BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 0),
        (b.BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4),
        (b.BPF_MAP_TYPE_RINGBUF, 0, 0, 4096),
        (b.BPF_MAP_TYPE_USER_RINGBUF, 0, 0, 4096),
        (b.BPF_MAP_TYPE_CGROUP_ARRAY, 4, 4, 4),
        (b.BPF_MAP_TYPE_SOCKHASH, 4, 8, 4),
        (b.BPF_MAP_TYPE_CPUMAP, 4, 4, 4),
    ],
)
def test_other_types_are_made(type: int, key: int, value: int, entries: int) -> None:
    with make(type, key, value, entries) as made:
        assert made.id > 0


def test_a_type_that_is_too_new_names_its_kernel() -> None:
    with pytest.raises(NotInKernel) as caught:
        make(b.BPF_MAP_TYPE_ARENA, 4, 4, 1)  # an arena takes no keys: refused everywhere as a too new type is
    assert "v6.9" in str(caught.value)


def test_pins() -> None:
    try:
        pins = PrivatePins()
    except SystemCallError as error:
        pytest.skip(str(error))
    with pins:
        assert is_bpffs(pins.path) and not is_bpffs("/proc")
        with make(b.BPF_MAP_TYPE_HASH) as table:
            table.update(u32(1), u64(2))
            table.pin(f"{pins.path}/mine")
        with KernelMap.open(f"{pins.path}/mine") as again:
            assert (again.name, again.lookup(u32(1))) == ("mine", u64(2))
        with pytest.raises(SystemCallError):
            KernelMap.open(f"{pins.path}/other")
        with make(b.BPF_MAP_TYPE_HASH) as table, pytest.raises(SystemCallError, match="no bpf file system"):
            table.pin("/tmp/mine")
        os.unlink(f"{pins.path}/mine")


def types() -> tuple[bytes, dict[str, int]]:
    """BTF with a struct of several kinds of members, and ids by name."""
    raw = RawTypes(struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"\0")
    number = raw.add(bt.KIND_INT, "int", 4, bt.INT_SIGNED << 24 | 32)
    char = raw.add(bt.KIND_INT, "char", 1, bt.INT_SIGNED << 24 | 8)
    wide = raw.add(bt.KIND_INT, "u64", 8, 64)
    text = raw.add(bt.KIND_ARRAY, "", 0, char, number, 8)
    pair = raw.add(bt.KIND_ARRAY, "", 0, number, number, 2)
    color = raw.add(bt.KIND_ENUM, "color", 4, raw.string("RED"), 0, raw.string("BLUE"), 7, count=2)
    inner = raw.add(bt.KIND_UNION, "", 8, raw.string("whole"), wide, 0, raw.string("half"), number, 0, count=2)
    words = [("name", text, 0), ("pair", pair, 64), ("color", color, 128), ("", inner, 192)]
    members = [word for name, type_, offset in words for word in (raw.string(name), type_, offset)]
    thing = raw.add(bt.KIND_STRUCT, "thing", 32, *members, count=len(words))
    return raw.to_bytes(), {"int": number, "thing": thing, "color": color}


def test_keys_and_values_with_types() -> None:
    data, ids = types()
    value = {"name": "abc", "pair": [-1, 2], "color": 7, "whole": 0x1122334455667788, "half": 0x55667788}
    with KernelTypes.load(data) as loaded:
        table = KernelMap.create(
            Map("typed", b.BPF_MAP_TYPE_HASH, 4, 32, 8, key_type=ids["int"], value_type=ids["thing"]), btf_fd=loaded.fd
        )
    with table:
        typed = typed_map(table)
        assert (typed.key.name, typed.value.name) == ("int", "struct thing")
        typed[-5] = {name: each for name, each in value.items() if name != "half"}
        assert typed[-5] == value and list(typed.items()) == [(-5, value)]
        del typed[-5]
        with pytest.raises(KeyError):
            typed[-5]
        with pytest.raises(UsageError, match="no member 'color_'"):
            typed[1] = {"color_": 1}
        with pytest.raises(UsageError, match="does not fit"):
            typed[1 << 40] = {}


def test_without_types_keys_and_values_are_hex() -> None:
    with make(b.BPF_MAP_TYPE_HASH) as table:
        table.update(u32(1), u64(2))
        assert list(typed_map(table).items()) == [("01 00 00 00", "02 00 00 00 00 00 00 00")]


def test_values_of_each_cpu_with_types() -> None:
    data, ids = types()
    with make(b.BPF_MAP_TYPE_PERCPU_ARRAY, value=4, entries=1) as table:
        number = Codec(Btf(data), ids["int"])
        typed = TypedMap(table, number, number)
        typed[0] = list(range(possible_cpus()))
        assert typed[0] == list(range(possible_cpus()))


def test_types_for_older_kernels_load_everywhere() -> None:
    """What replaces kinds that a kernel does not know yet is itself what every kernel takes."""
    raw = RawTypes(types()[0])
    raw.add(bt.KIND_FLOAT, "float", 4)
    number = raw.find(bt.KIND_INT)
    pointer = raw.add(bt.KIND_PTR, "", raw.add(bt.KIND_TYPE_TAG, "user", number))
    raw.add(bt.KIND_DECL_TAG, "tag", raw.add(bt.KIND_TYPEDEF, "alias", pointer), 0xFFFFFFFF)
    raw.add(bt.KIND_ENUM64, "wide", 8, raw.string("HUGE"), 1, 1, count=1)
    proto = raw.add(bt.KIND_FUNC_PROTO, "", number)
    raw.add(bt.KIND_FUNC, "function", proto, count=1)
    raw.add(bt.KIND_DATASEC, ".data", 4, raw.add(bt.KIND_VAR, "variable", number, 1), 0, 4, count=1)
    data = raw.to_bytes()
    kinds = frozenset((bt.KIND_FLOAT, bt.KIND_TYPE_TAG, bt.KIND_DECL_TAG, bt.KIND_ENUM64, bt.KIND_FUNC, bt.KIND_VAR,
                       bt.KIND_DATASEC))  # fmt: skip
    older = without_kinds(data, kinds)
    assert len(older) == len(data)
    left = {Btf(older).kind(number) for number in range(1, len(raw))}
    assert not left & (kinds - {bt.KIND_FUNC})
    for each in (data, older):
        with KernelTypes.load(each) as loaded:
            assert loaded.info()[3] > 0
    raw.add(bt.KIND_PTR, "", 999)
    with pytest.raises(SystemCallError, match=r"refuses the BTF.*Invalid type_id"):
        KernelTypes.load(raw.to_bytes())
    with pytest.raises(FormatError):
        RawTypes(data[:30])
