"""The file in which the places of the kernel's types are kept: the same answers with it and without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from linscope.binfmt import btf_places
from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf import VMLINUX, Btf

pytestmark = pytest.mark.skipif(not Path(VMLINUX).exists(), reason="the kernel has no BTF")
NAMES = ("vfs_read", "task_struct", "schedule", "u64", "HRTIMER_RESTART")


def answers() -> list[object]:
    btf = Btf.open()
    found: list[object] = [btf.find(name) for name in NAMES]
    last = len(btf) - 1
    return [*found, last, btf.type(last), btf.name(1), btf.find_enumerator("HRTIMER_RESTART")]


def test_answers_do_not_depend_on_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    without = answers()
    kept = list((tmp_path / "cache/linscope/btf").iterdir())
    assert len(kept) == 1
    assert answers() == without
    kept[0].write_bytes(kept[0].read_bytes()[:-4])  # cut short: not used
    assert answers() == without
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no/such/folder")
    assert answers() == without


def test_ids_before_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A high id is the first thing that is asked for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = Btf.open().find_one("vfs_read", (bt.KIND_FUNC,))
    assert Btf.open().name(first) == "vfs_read"
    assert Btf.open().kind(first) == bt.KIND_FUNC


@pytest.mark.parametrize("prefix", ["", "vfs_", "no_such_name_"])
def test_names_of_a_kind(prefix: str) -> None:
    btf = Btf.open()
    pairs = ((one, btf.name(one)) for one in btf.iter_ids(bt.KIND_FUNC))
    assert list(btf.iter_names(bt.KIND_FUNC, prefix)) == [pair for pair in pairs if pair[1].startswith(prefix)]


def test_few_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for number in range(7):
        btf_places.store(memoryview(bytes([number] * 12)), [0, 3])
    assert len(list((tmp_path / "linscope/btf").iterdir())) <= 4
    assert list(btf_places.load(memoryview(bytes([6] * 12))) or []) == [0, 3]
    assert btf_places.load(memoryview(b"another")) is None
