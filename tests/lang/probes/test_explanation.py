"""Why a probe cannot be: by what this kernel has and lacks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from linscope.lang.probe import Probe
from linscope.lang.probes import explanation, kernel_names


def has_symbols() -> bool:
    try:
        with Path("/proc/kallsyms").open() as file:
            return bool(file.readline())
    except OSError:
        return False


needs_symbols = pytest.mark.skipif(not has_symbols(), reason="/proc/kallsyms is not to be read")


def explain(kind: str, target: str, module: str = "", monkeypatch: pytest.MonkeyPatch | None = None) -> str:
    if monkeypatch is not None:
        monkeypatch.setattr(kernel_names, "has_kprobes", lambda: True)
    return explanation.explain(Probe(kind, f"{kind}:{target}", module=module, target=target))


def test_a_kind_that_the_kernel_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_names, "has_kprobes", lambda: False)
    assert "CONFIG_KPROBES" in explain("kprobe", "vfs_read")
    assert "CONFIG_KPROBES" in explanation.missing_kind("kretprobe")
    assert explanation.missing_kind("tracepoint") == ""
    assert explain("interval", "s") == ""


@needs_symbols
def test_a_function_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "vfs_read" in explain("kprobe", "vfs_reed", monkeypatch=monkeypatch)
    assert "no function of that name" in explain("kprobe", "zzqqxx_nothing", monkeypatch=monkeypatch)
    said = explain("kprobe", "vfs_read", "no_such_module", monkeypatch=monkeypatch)
    assert said == "vfs_read is not in no_such_module, but in vmlinux"


@needs_symbols
def test_what_is_no_function(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/proc/kallsyms").open() as file:
        rows = [line.split() for line in file]
    functions = {row[2] for row in rows if row[1] in "tTwW"}
    name = next((row[2] for row in rows if row[1] in "dDbB" and row[2] not in functions), "")
    if not name:
        pytest.skip("the kernel tells functions only: CONFIG_KALLSYMS_ALL is off")
    assert explain("kprobe", name, monkeypatch=monkeypatch) == f"{name} is no function"


@needs_symbols
def test_a_clone_of_the_compiler_s(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/proc/kallsyms").open() as file:
        words = (line.split() for line in file)
        text = [one[2] for one in words if one[1] in "tT"]
    plain = {name for name in text if "." not in name}
    cut = next((n for n in text if ".isra." in n and n.partition(".")[0] not in plain), "")
    if not cut:
        pytest.skip("no function of this kernel has only a clone")
    assert cut in explain("kprobe", cut.partition(".")[0], monkeypatch=monkeypatch)


@pytest.mark.skipif(not os.path.exists("/sys/kernel/btf/vmlinux"), reason="the kernel has no BTF")
def test_by_btf() -> None:
    assert "sched_switch" in explain("rawtracepoint", "sched_swich")
    assert explain("rawtracepoint", "sched_switch") == ""
    assert explain("fentry", "vfs_read") != ""
    assert "vfs_read" in explain("fentry", "vfs_reed") or not has_symbols()
