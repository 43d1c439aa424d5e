"""What is listed and dumped of objects that the test made, beside bpftool's JSON."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from counters import counter

from linscope.abi import bpf as b
from linscope.binfmt import btf_types as bt
from linscope.bpf.instructions import encode
from linscope.bpf.kernel import listing
from linscope.bpf.kernel.attach_raw import attach_raw_tracepoint
from linscope.bpf.kernel.dump import dump_program
from linscope.bpf.kernel.iterators import attach_iterator
from linscope.bpf.kernel.maps import KernelMap
from linscope.bpf.kernel.programs import KernelProgram, load
from linscope.bpf.kernel.typed import typed_map
from linscope.bpf.kernel.types import KernelTypes
from linscope.bpf.objects.raw_types import RawTypes
from linscope.bpf.program import Map
from linscope.errors import SystemCallError

pytestmark = pytest.mark.kernel


@pytest.fixture
def bpftool() -> Callable[..., Any]:
    if shutil.which("bpftool") is None:
        pytest.skip("needs bpftool: apt-get install bpftool")

    def run(*words: str) -> Any:
        done = subprocess.run(["bpftool", "-j", *words], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    return run


def mine(tgid: int | None = None) -> KernelProgram:
    return load(counter(b.BPF_PROG_TYPE_RAW_TRACEPOINT, tgid=os.getpid() if tgid is None else tgid))


def test_programs(bpftool: Callable[..., Any]) -> None:
    with mine() as program:
        ours = next(each for each in listing.iter_programs() if each.id == program.id)
        theirs = bpftool("prog", "show", "id", str(program.id))
        assert theirs["id"] == ours.id and theirs["type"] == ours.type and theirs["name"] == ours.name
        assert (theirs["tag"], theirs["gpl_compatible"], theirs["uid"]) == (ours.tag, ours.gpl_compatible, ours.uid)
        assert (theirs["bytes_xlated"], theirs["bytes_jited"]) == (ours.xlated_bytes, ours.jited_bytes)
        assert theirs["map_ids"] == list(ours.map_ids) == [program.maps[0].id]


def test_maps(bpftool: Callable[..., Any]) -> None:
    with KernelMap.create(Map("some_map", b.BPF_MAP_TYPE_PERCPU_HASH, 4, 12, 33)) as table:
        ours = next(each for each in listing.iter_maps() if each.id == table.id)
        theirs = bpftool("map", "show", "id", str(table.id))
        assert theirs["type"] == ours.type == "percpu_hash" and theirs["name"] == ours.name == "some_map"
        assert (theirs["bytes_key"], theirs["bytes_value"], theirs["max_entries"], theirs["flags"]) == (
            ours.key_size, ours.value_size, ours.max_entries, ours.flags,
        )  # fmt: skip
        assert theirs["bytes_memlock"] == ours.memory_bytes and bool(theirs["frozen"]) == ours.frozen
        table.update(b"1234", b"x" * table.width)
        dumped = bpftool("map", "dump", "id", str(table.id))
        assert [bytes(int(x, 16) for x in row["key"]) for row in dumped] == list(table.keys())
        assert len(dumped[0]["values"]) * 16 == table.width


def test_values_with_types(bpftool: Callable[..., Any]) -> None:
    raw = RawTypes(struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"\0")
    number = raw.add(bt.KIND_INT, "int", 4, bt.INT_SIGNED << 24 | 32)
    pair = raw.add(bt.KIND_STRUCT, "pair", 8, raw.string("left"), number, 0, raw.string("right"), number, 32, count=2)
    definition = Map("typed", b.BPF_MAP_TYPE_HASH, 4, 8, 8, key_type=number, value_type=pair)
    with KernelTypes.load(raw.to_bytes()) as types, KernelMap.create(definition, btf_fd=types.fd) as table:
        typed = typed_map(table)
        typed[3] = {"left": -4, "right": 5}
        theirs = bpftool("map", "dump", "id", str(table.id))
        assert [(row["formatted"]["key"], row["formatted"]["value"]) for row in theirs] == list(typed.items())
        assert types.id in {each.id for each in listing.iter_types()}
        ours = next(each for each in listing.iter_types() if each.id == types.id)
        assert not ours.kernel and ours.bytes == len(raw.to_bytes())


def test_links(bpftool: Callable[..., Any]) -> None:
    with mine() as program, attach_raw_tracepoint(program, "sys_enter") as link:
        ours = next(each for each in listing.iter_links() if each.id == link.id)
        theirs = bpftool("link", "show", "id", str(link.id))
        assert (theirs["type"], theirs["prog_id"], theirs["tp_name"]) == (ours.type, ours.program, "sys_enter")
        assert ours.details == {"tp_name": "sys_enter"} and ours.program == program.id


def test_iterator_links(bpftool: Callable[..., Any]) -> None:
    wanted = counter(b.BPF_PROG_TYPE_TRACING, target="task", attach_type=b.BPF_TRACE_ITER)
    with load(wanted) as program, attach_iterator(program) as link:
        theirs = bpftool("link", "show", "id", str(link.id))
        assert listing.link_info(link.fd).details == {"target_name": theirs["target_name"]} == {"target_name": "task"}


def test_holders() -> None:
    with mine() as program, attach_raw_tracepoint(program, "sys_enter") as link:
        holders = listing.find_holders()
        for key in (("program", program.id), ("map", program.maps[0].id), ("link", link.id)):
            assert [each.pid for each in holders[key]] == [os.getpid()]


def test_run_times_are_counted_while_asked_for() -> None:
    with open("/proc/sys/kernel/bpf_stats_enabled") as file:
        if file.read().strip() != "0":
            pytest.skip("run times are counted already: sysctl kernel.bpf_stats_enabled=0")
    with mine(tgid=1 << 30) as program, attach_raw_tracepoint(program, "sys_enter"):
        os.getppid()
        assert listing.program_info(program.fd).runs == 0
        with listing.RunTimes():
            for _ in range(100):
                os.getppid()
            info = listing.program_info(program.fd)
        assert info.runs >= 100 and info.run_time_ns > 0


def test_instructions_are_bpftools(bpftool: Callable[..., Any]) -> None:
    with mine() as program:
        ours = dump_program(program.fd)
        theirs = bpftool("prog", "dump", "xlated", "id", str(program.id), "opcodes")
        slots = []
        for row in theirs:
            code = row["opcodes"]
            head = [int(code["code"], 16), int(code["src_reg"], 16) << 4 | int(code["dst_reg"], 16)]
            slots.append(bytes(head) + bytes(int(x, 16) for x in code["off"] + code["imm"]))  # 16 bytes of wide ones
        assert encode(ours.instructions) == b"".join(slots)


def test_machine_code_is_bpftools(bpftool: Callable[..., Any]) -> None:
    with mine() as program:
        ours = dump_program(program.fd)
        if not ours.jited:
            pytest.skip("the kernel hides machine code: sysctl net.core.bpf_jit_harden=0, or there is no JIT")
        assert ours.jited[0].name == "counter" and ours.jited[0].address >> 63
        assert sum(len(each.code) for each in ours.jited) == listing.program_info(program.fd).jited_bytes


def test_what_is_gone_is_an_error() -> None:
    with mine() as program:
        number = program.id
    with pytest.raises(SystemCallError, match="none of that id"):
        KernelProgram.by_id(number)
