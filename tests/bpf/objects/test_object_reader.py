"""What is read of an object file, without a kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from linscope.abi import bpf as b
from linscope.binfmt import btf_types as bt
from linscope.bpf.instructions import WIDE
from linscope.bpf.objects.reader import read_object
from linscope.bpf.objects.sections import find_kind, section_names
from linscope.bpf.objects.target import Target
from linscope.errors import FormatError, UnknownNameError, UnsupportedError, UsageError

Compiled = Callable[[str], Path]


def test_maps_programs_and_variables(compiled: Compiled) -> None:
    source = read_object(str(compiled("counter")))
    assert list(source.programs) == ["count_calls"]
    program = source.programs["count_calls"]
    assert (program.type, program.target, program.license) == (b.BPF_PROG_TYPE_RAW_TRACEPOINT, "sys_enter", "GPL")
    calls = source.maps["calls"]
    assert (calls.type, calls.key_size, calls.value_size, calls.max_entries) == (b.BPF_MAP_TYPE_HASH, 8, 8, 1024)
    assert source.btf is not None and source.btf.name(calls.key_type) == "key"
    assert source.maps[".rodata"].name == "counter.rodata" and source.maps[".rodata"].frozen
    assert {name: (v.map.name, v.size) for name, v in source.variables.items()} == {
        "wanted_tgid": ("counter.rodata", 4), "total": ("counter.bss", 8), "last_nr": ("counter.data", 4),
    }  # fmt: skip
    # each wide load names one of the program's maps, or the value of one
    wide = [each for each in program.instructions if each.code == WIDE]
    assert {each.src for each in wide} == {b.BPF_PSEUDO_MAP_IDX, b.BPF_PSEUDO_MAP_IDX_VALUE}
    assert all(0 <= each.imm < len(program.maps) for each in wide)


def test_variables_take_values(compiled: Compiled) -> None:
    source = read_object(str(compiled("counter")))
    source.set("wanted_tgid", 0x01020304)
    source.set("total", b"12345678")
    source.set("last_nr", -5)
    assert source.maps[".rodata"].initial == b"\x04\x03\x02\x01"
    assert source.maps[".bss"].initial == b"12345678"
    assert source.maps[".data"].initial == (-5).to_bytes(4, "little", signed=True)
    with pytest.raises(UsageError, match="does not fit"):
        source.set("wanted_tgid", 1 << 32)
    with pytest.raises(UnknownNameError) as caught:
        source.set("totl", 1)
    assert caught.value.near == ["total"]


def test_lines_and_functions_follow_subprograms(compiled: Compiled) -> None:
    source = read_object(str(compiled("callbacks")))
    second = source.programs["second"]
    names = [each.name for each in second.functions]
    assert names[0] == "second"
    assert set(names[1:]) == {"on_loop", "on_element", "hidden_global", "thrice", "twice"}
    assert [each.slot for each in second.functions] == sorted({each.slot for each in second.functions})
    assert source.btf is not None
    for each in second.functions:
        assert source.btf.name(each.type_id) == each.name
    hidden = next(each for each in second.functions if each.name == "hidden_global")
    types = source.btf.type(hidden.type_id)
    assert isinstance(types, bt.Func) and types.linkage == 0  # not to be verified by itself
    text = (Path(__file__).parent / "programs" / "callbacks.bpf.c").read_text().splitlines()
    assert all(text[each.line - 1] == each.text for each in second.lines if each.line)
    slots = [each.slot for each in second.lines]
    assert slots == sorted(slots) and slots[0] == 0


def test_maps_in_maps_and_their_first_values(compiled: Compiled) -> None:
    source = read_object(str(compiled("nested")))
    inner = source.maps["outer"].inner
    assert inner is not None and (inner.type, inner.value_size) == (b.BPF_MAP_TYPE_ARRAY, 8)
    assert sorted(source.initial) == [
        ("leaves", 0, "leaf_one"), ("leaves", 2, "leaf_two"), ("outer", 1, "first"), ("outer", 3, "second"),
    ]  # fmt: skip


def test_settings_come_from_the_target(compiled: Compiled) -> None:
    config = {"CONFIG_HZ": "250", "CONFIG_BPF_SYSCALL": "y", "CONFIG_CC_VERSION_TEXT": '"a compiler"'}
    facts = {"LINUX_KERNEL_VERSION": 0x60100, "LINUX_HAS_BPF_COOKIE": 1}
    path = str(compiled("globals"))
    target = Target(config=config, facts=facts, addresses={"_stext": 0xFFFFFFFF81000000})
    source = read_object(path, target=target)
    contents = source.maps[".kconfig"].initial

    def value(name: str) -> bytes:
        variable = source.variables[name]
        return contents[variable.offset : variable.offset + variable.size]

    assert value("CONFIG_HZ") == (250).to_bytes(4, "little")
    assert value("LINUX_KERNEL_VERSION") == (0x60100).to_bytes(4, "little")
    assert value("CONFIG_BPF_SYSCALL") == b"\1\0\0\0"
    assert value("CONFIG_NO_SUCH_THING") == b"\0"
    assert value("CONFIG_CC_VERSION_TEXT") == b"a compiler\0\0\0\0\0\0"
    with pytest.raises(UnknownNameError, match="CONFIG_HZ"):
        without = {name: text for name, text in config.items() if name != "CONFIG_HZ"}
        read_object(path, target=Target(config=without, facts=facts, addresses={"_stext": 1}))
    with pytest.raises(UnsupportedError, match="configuration is not known"):
        read_object(path, target=Target(facts=facts, addresses={"_stext": 1}))
    with pytest.raises(UnsupportedError, match="does not hold"):
        read_object(path, target=Target(config={**config, "CONFIG_HZ": '"x"'}, facts=facts, addresses={"_stext": 1}))


def test_without_a_target_code_stays_as_it_was_compiled(compiled: Compiled) -> None:
    source = read_object(str(compiled("core")))
    assert "look" in source.programs and not any(each.imm == 195896080 for each in source.programs["look"].instructions)


def test_a_target_without_types_is_refused(compiled: Compiled) -> None:
    with pytest.raises(UnsupportedError, match="kernel's types"):
        read_object(str(compiled("core")), target=Target())


def test_manual_programs(compiled: Compiled) -> None:
    source = read_object(str(compiled("core_refused")))
    assert source.manual == {"wrong_size", "no_guard"}


def test_legacy_maps_are_refused_with_the_way_out(tmp_path: Path, compiled: Compiled) -> None:
    image = compiled("counter").read_bytes()
    # the same file, with its section of maps named as it was before BTF
    at = image.rindex(b"\0.maps\0") + 1
    damaged = image[:at] + b"maps\0\0" + image[at + 6 :]
    with pytest.raises(UnsupportedError, match="legacy") as caught:
        read_object(damaged)
    assert ".maps" in caught.value.next_step


def test_other_files_are_refused() -> None:
    with pytest.raises(FormatError):
        read_object(b"\x7fELF")
    with pytest.raises(FormatError, match="not an eBPF object"):
        read_object("/bin/true")


@pytest.mark.parametrize(
    ("section", "type", "attach_type", "flags", "target"),
    [
        ("raw_tp/sys_enter", b.BPF_PROG_TYPE_RAW_TRACEPOINT, 0, 0, "sys_enter"),
        ("tp/sched/sched_switch", b.BPF_PROG_TYPE_TRACEPOINT, 0, 0, "sched/sched_switch"),
        ("fentry.s/vfs_read", b.BPF_PROG_TYPE_TRACING, b.BPF_TRACE_FENTRY, b.BPF_F_SLEEPABLE, "vfs_read"),
        ("uprobe//bin/true:main+4", b.BPF_PROG_TYPE_KPROBE, 0, 0, "/bin/true:main+4"),
        ("xdp.frags", b.BPF_PROG_TYPE_XDP, b.BPF_XDP, b.BPF_F_XDP_HAS_FRAGS, ""),
        ("xdp/devmap", b.BPF_PROG_TYPE_XDP, b.BPF_XDP_DEVMAP, 0, ""),
        ("cgroup_skb/egress", b.BPF_PROG_TYPE_CGROUP_SKB, b.BPF_CGROUP_INET_EGRESS, 0, ""),
        ("cgroup/connect4", b.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, b.BPF_CGROUP_INET4_CONNECT, 0, ""),
        ("iter/task", b.BPF_PROG_TYPE_TRACING, b.BPF_TRACE_ITER, 0, "task"),
        ("kprobe.multi/tcp_*", b.BPF_PROG_TYPE_KPROBE, b.BPF_TRACE_KPROBE_MULTI, 0, "tcp_*"),
        ("kprobe", b.BPF_PROG_TYPE_KPROBE, 0, 0, ""),
        ("tc", b.BPF_PROG_TYPE_SCHED_CLS, 0, 0, ""),
        ("syscall", b.BPF_PROG_TYPE_SYSCALL, 0, b.BPF_F_SLEEPABLE, ""),
    ],
)
def test_sections(section: str, type: int, attach_type: int, flags: int, target: str) -> None:
    kind = find_kind(section)
    assert kind is not None and kind[:3] == (type, attach_type, flags) and kind.target == target


def test_sections_that_say_nothing() -> None:
    assert find_kind("mine") is None and find_kind("xdpx") is None and find_kind("xdp/eth0") is None
    assert len(section_names()) > 80
