"""Branches, registers, counts and memory accesses of samples, beside perf script."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import perf_oracle
import pytest

from linscope.abi import perf_event as pe
from linscope.formats.perf_data.attrs import parse_attr
from linscope.formats.perf_data.details import SampleDetails, parse_details
from linscope.formats.perf_data.reader import open_perf_data

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "perf-data"
needs_files = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="no ../shared/conformance beside the checkout; clone it there"
)
needs_perf = pytest.mark.skipif(perf_oracle.PERF is None, reason="apt-get install linux-perf")


def details_in_time_order(path: Path) -> list[SampleDetails]:
    with open_perf_data(str(path)) as opened:
        times = opened.read().samples.time_ns.tolist()
    with open_perf_data(str(path)) as opened:
        found = list(opened.details())
    assert len(found) == len(times) and None not in found
    return [found[row] for row in sorted(range(len(times)), key=times.__getitem__)]  # type: ignore[misc]


def branch_text(details: SampleDetails) -> list[str]:
    """As perf script -F brstack has them (tools/perf/builtin-script.c, perf_sample__fprintf_brstack)."""
    shown = []
    for branch in details.branches:
        predicted = "-" if not branch.flags & 3 else "M" if branch.flag("mispred") else "P"
        transaction, abort = "X" if branch.flag("in_tx") else "-", "A" if branch.flag("abort") else "-"
        shown.append(
            f"{branch.source:#x}/{branch.target:#x}/{predicted}/{transaction}/{abort}/{branch.flag('cycles')}"
        )
    return shown


@needs_files
@needs_perf
@pytest.mark.peer
@pytest.mark.parametrize(
    "name",
    ["branch-4.14", "branch_stack_spec", "callgraph_and_branch-3.4", "raw_callgraph_branch-3.4", "group_desc-4.14"],
)
def test_branches_are_perfs(name: str) -> None:
    path = FOLDER / f"perf.data.{name}"
    text = perf_oracle.perf("script", "-i", path, "-F", "time,brstack", "--ns")
    theirs = [re.findall(r"(0x[0-9a-f]+/0x[0-9a-f]+/[MP-]/[X-]/[A-]/\d+)", line) for line in text.splitlines()]
    ours = [branch_text(details) for details in details_in_time_order(path)]
    if not text:
        assert not any(ours)
        return
    assert ours == theirs


@needs_files
@needs_perf
@pytest.mark.peer
def test_memory_accesses_are_perfs() -> None:
    path = FOLDER / "perf.data.weight_struct"
    text = perf_oracle.perf("script", "-i", path, "-F", "time,weight,data_src,ins_lat", "--ns")
    lines = re.finditer(r": +([0-9a-f]+) .*? (\d+) +(\d+) *$", text, re.M)
    theirs = [(int(line[1], 16), int(line[2]), int(line[3])) for line in lines]
    found = details_in_time_order(path)
    assert len(theirs) == len(found) == 14
    assert [(d.data_src, d.weight, d.instruction_latency) for d in found] == theirs


@needs_perf
@pytest.mark.peer
@pytest.mark.kernel
def test_registers_and_stack_dumps_are_perfs(tmp_path: Path) -> None:
    path = tmp_path / "perf.data"
    options = "-q -e cpu-clock -F 2000 --intr-regs=ip,sp,ax --call-graph dwarf,512 -W -d".split()
    busy = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
    command = ["perf", "record", *options, "-o", str(path), "--", "sh", "-c", busy]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    text = perf_oracle.perf("script", "-i", path, "-F", "time,iregs,uregs", "--ns")
    names = {"AX": 0, "BX": 1, "CX": 2, "DX": 3, "SI": 4, "DI": 5, "BP": 6, "SP": 7, "IP": 8, "R8": 16, "R15": 23}
    found = details_in_time_order(path)
    lines = [line for line in text.splitlines() if "ABI:" in line]
    assert len(found) == len(lines) > 0
    copied = 0
    for details, line in zip(found, lines, strict=True):
        sets = [dict(re.findall(r"\b([A-Z][A-Z0-9]+):(0x[0-9a-f]+)", part)) for part in line.split("ABI:")[1:]]
        ours = [r for r in (details.user_registers, details.interrupt_registers) if r is not None and r.abi]
        for registers in ours:
            shown = {n: hex(registers.values[bit]) for n, bit in names.items() if bit in registers.values}
            assert any(shown.items() <= theirs.items() for theirs in sets)
        assert details.user_stack is not None and details.weight == 0
        if details.user_registers and details.user_registers.abi:
            # nothing is copied of a stack whose page is not there yet: right after exec
            assert 0 <= details.user_stack[1] <= 512
            copied += details.user_stack[1]
    assert copied


@pytest.mark.parametrize("order", "<>")
def test_every_field_in_both_byte_orders(order: str) -> None:
    kind = (1 << 25) - 1 & ~pe.PERF_SAMPLE_WEIGHT
    branches = pe.PERF_SAMPLE_BRANCH_HW_INDEX | pe.PERF_SAMPLE_BRANCH_COUNTERS
    attr_bytes = struct.pack(order + "IIQQQQQ", 1, 112, 0, 1, kind, 0x1F, 0)
    attr_bytes += struct.pack(order + "IIQQQQIiQ", 0, 0, 0, 0, branches, 0b101, 8, 0, 0b1000)
    attr = parse_attr(attr_bytes + bytes(8), order == ">", offset=0)
    body = struct.pack(order + "9Q", *range(1, 10))  # identifier to period
    body += struct.pack(order + "9Q", 2, 1000, 900, 7, 70, 0, 8, 80, 1)  # a group of two
    body += struct.pack(order + "2Q", 1, 0x1234)
    body += struct.pack(order + "I", 4) + b"RAW!"
    body += struct.pack(order + "Q", 1) + struct.pack(order + "5Q", 55, 0x10, 0x20, 1 | 7 << 4, 99)
    body += struct.pack(order + "3Q", 2, 0xA, 0xC)
    stack = len(body) + 8
    body += struct.pack(order + "Q", 8) + b"dumped!!" + struct.pack(order + "Q", 6)
    body += struct.pack(order + "Q", 3 << 48 | 2 << 32 | 1) + struct.pack(order + "2Q", 0x11, 0x12)
    body += struct.pack(order + "2Q", 1, 0xF) + struct.pack(order + "4Q", 0x21, 0x22, 0x23, 0x24)
    aux = len(body) + 8
    body += struct.pack(order + "Q", 8) + bytes(8)
    found = parse_details(memoryview(body), attr, order == ">")
    assert (found.id, found.stream_id) == (6, 7)
    assert [tuple(value) for value in found.values] == [(7, 70, 0), (8, 80, 1)]
    assert (found.time_enabled_ns, found.time_running_ns) == (1000, 900)
    (branch,) = found.branches
    assert (branch.source, branch.target, branch.counters, found.branch_hw_index) == (0x10, 0x20, 99, 55)
    assert (branch.flag("mispred"), branch.flag("cycles")) == (1, 7)
    assert found.user_registers is not None and found.user_registers.values == {0: 0xA, 2: 0xC}
    assert found.user_stack == (stack, 6)
    assert (found.weight, found.instruction_latency, found.retire_latency) == (1, 2, 3)
    assert (found.data_src, found.transaction) == (0x11, 0x12)
    assert found.interrupt_registers is not None and found.interrupt_registers.values == {3: 0xF}
    assert (found.phys_addr, found.cgroup, found.data_page_size, found.code_page_size) == (0x21, 0x22, 0x23, 0x24)
    assert found.aux == (aux, 8)
    for size in range(len(body)):
        with pytest.raises(struct.error):
            parse_details(memoryview(body)[:size], attr, order == ">")
