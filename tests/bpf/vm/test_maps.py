"""Native maps beside their plain Python twins under random use; what has no twin is looked at by itself."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from map_twins import ArrayTwin, HashTwin, LpmTwin, QueueTwin

from linscope._native import _core
from linscope.abi import bpf as b
from linscope.bpf.program import Map
from linscope.bpf.vm.errors import MachineError, UnavailableError
from linscope.bpf.vm.maps import VmMap


def native(type_: int, key: int, value: int, entries: int, cpus: int = 1) -> _core.BpfMap:
    return _core.BpfMap(type_, key, value, entries, 0, cpus, True)


def random_key(random: Random, size: int) -> bytes:
    if random.random() < 0.5:
        return random.randrange(24).to_bytes(1, "little") * size
    return bytes([random.randrange(12)]) + bytes(size - 1)


def lpm_key(random: Random) -> bytes:
    length = random.choice((0, 1, 7, 8, 9, 16, 20, 24, 31, 32, 33))
    return length.to_bytes(4, "little") + bytes(random.choice((10, 11, 192)) for _ in range(2)) + random.randbytes(2)


PAIRS: dict[str, tuple[int, int, int, int, int, Any]] = {
    "hash4": (b.BPF_MAP_TYPE_HASH, 4, 8, 16, 1, lambda: HashTwin(16)),
    "hash8": (b.BPF_MAP_TYPE_HASH, 8, 12, 7, 1, lambda: HashTwin(7)),
    "hash13": (b.BPF_MAP_TYPE_HASH, 13, 1, 9, 1, lambda: HashTwin(9)),
    "hash1": (b.BPF_MAP_TYPE_HASH, 4, 4, 1, 1, lambda: HashTwin(1)),
    "lru": (b.BPF_MAP_TYPE_LRU_HASH, 4, 8, 6, 1, lambda: HashTwin(6, lru=True)),
    "lru1": (b.BPF_MAP_TYPE_LRU_HASH, 4, 8, 1, 1, lambda: HashTwin(1, lru=True)),
    "percpu": (b.BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 6, 3, lambda: HashTwin(6)),
    "lru percpu": (b.BPF_MAP_TYPE_LRU_PERCPU_HASH, 4, 8, 6, 3, lambda: HashTwin(6, lru=True)),
    "array": (b.BPF_MAP_TYPE_ARRAY, 4, 8, 8, 1, lambda: ArrayTwin(8, 8)),
    "percpu array": (b.BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 8, 3, lambda: ArrayTwin(8, 24)),
    "lpm": (b.BPF_MAP_TYPE_LPM_TRIE, 8, 8, 12, 1, lambda: LpmTwin(12, 4)),
}


def pairs_of(map_: _core.BpfMap, key_size: int, value_size: int) -> dict[bytes, bytes]:
    keys, values = map_.dump()
    return {
        keys[n * key_size : (n + 1) * key_size]: values[n * value_size : (n + 1) * value_size]
        for n in range(len(keys) // key_size)
    }


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("seed", range(4))
def test_a_map_does_what_its_twin_does(name: str, seed: int) -> None:
    type_, key_size, value_size, entries, cpus, make = PAIRS[name]
    random = Random(f"{name}{seed}")
    ours, twin = native(type_, key_size, value_size, entries, cpus), make()
    whole = value_size * cpus if cpus > 1 else value_size
    for _ in range(2000):
        key = lpm_key(random) if name == "lpm" else random_key(random, key_size)
        what = random.random()
        if what < 0.5:
            value, flags = random.randbytes(whole), random.choice((0, 0, 0, 1, 2, 3))
            assert ours.update(key, value, flags) == twin.update(key, value, flags)
        elif what < 0.85:
            assert ours.lookup(key) == twin.lookup(key)
        else:
            assert ours.delete(key) == twin.delete(key)
    assert pairs_of(ours, key_size, whole) == twin.dump()
    ours.clear()
    assert not any(pairs_of(ours, key_size, whole).values()) or "array" in name


@pytest.mark.parametrize("stack", [False, True])
def test_queues_and_stacks(stack: bool) -> None:
    random = Random(5)
    ours = native(b.BPF_MAP_TYPE_STACK if stack else b.BPF_MAP_TYPE_QUEUE, 0, 4, 5)
    twin = QueueTwin(5, stack)
    for _ in range(3000):
        what = random.random()
        if what < 0.5:
            value, flags = random.randbytes(4), random.choice((0, 2, 2, 1))
            assert ours.push(value, flags) == twin.push(value, flags)
        else:
            assert ours.pop(what < 0.6) == twin.pop(what < 0.6)


def test_a_bloom_filter_forgets_nothing() -> None:
    map_ = VmMap(Map("seen", b.BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 1000), 1)
    seen = [n.to_bytes(8, "little") for n in range(1000)]
    for value in seen:
        map_.push(value)
    assert all(map_.contains(value) for value in seen)
    wrong = sum(map_.contains(n.to_bytes(8, "little")) for n in range(1000, 11000))
    assert wrong < 500  # of 10,000


def test_stack_ids() -> None:
    map_ = native(b.BPF_MAP_TYPE_STACK_TRACE, 4, 32, 64)
    long = np.arange(1, 9, dtype="u8")
    first = map_.stack_id(long, 0)
    assert first == map_.stack_id(long, 0)
    value = map_.lookup(first.to_bytes(4, "little"))
    assert value is not None and np.frombuffer(value, "u8").tolist() == [1, 2, 3, 4]
    assert map_.stack_id(long[:0], 0) == -14  # EFAULT
    ids = [map_.stack_id(np.array([n, n + 1], "u8"), 0) for n in range(1, 500)]
    assert -17 in ids  # EEXIST: another stack has the place
    assert min(map_.stack_id(np.array([n, n + 1], "u8"), b.BPF_F_REUSE_STACKID) for n in range(1, 500)) >= 0


def test_what_cannot_be_made_or_done_says_why() -> None:
    with pytest.raises(UnavailableError, match="type 33"):
        VmMap(Map("arena", b.BPF_MAP_TYPE_ARENA, 0, 0, 1), 1)
    with pytest.raises(UnavailableError, match="size of the key"):
        VmMap(Map("m", b.BPF_MAP_TYPE_HASH, 0, 4, 1), 1)
    with pytest.raises(UnavailableError, match="cannot be made"):
        VmMap(Map("m", b.BPF_MAP_TYPE_HASH, 4, 1 << 26, 1 << 31), 1)
    map_ = VmMap(Map("m", b.BPF_MAP_TYPE_HASH, 4, 4, 1), 1)
    map_.update(bytes(4), bytes(4))
    with pytest.raises(MachineError, match="full"):
        map_.update(b"abcd", bytes(4))
    with pytest.raises(MachineError, match="no such element"):
        map_.delete(b"abcd")
    with pytest.raises(ValueError, match="size of the key"):
        map_.lookup(b"abc")
    with pytest.raises(MachineError, match="no records"):
        map_.drain()


def test_first_values_and_items() -> None:
    map_ = VmMap(Map(".data", b.BPF_MAP_TYPE_ARRAY, 4, 8, 1, initial=b"abc"), 1)
    assert list(map_.items()) == [(bytes(4), b"abc\0\0\0\0\0")]
    assert len(map_) == 1
