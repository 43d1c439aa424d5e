"""bpf_core_type_matches(), which clang 14 does not know yet: the relocations of bpf_core_type_exists() changed to it.

The kernel's tags of what bpftool (libbpf) makes of the changed object are those of ours.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from test_objects_of_tools import bpftool_tags

from linscope.binfmt.elf import ElfFile
from linscope.bpf.kernel.listing import program_info
from linscope.bpf.kernel.objects import load_object
from linscope.bpf.kernel.running import RunningKernel
from linscope.bpf.objects.core import TYPE_EXISTS, TYPE_MATCHES
from linscope.bpf.objects.reader import read_object

pytestmark = pytest.mark.kernel
Compiled = Callable[[str], Path]
PACKET = bytes(64)


def with_matches(image: bytes) -> bytes:
    """The object with every TYPE_EXISTS of .BTF.ext made TYPE_MATCHES."""
    with ElfFile(image) as elf:
        section = elf.section(".BTF.ext")
        assert section is not None
        begin = section.offset
    changed = bytearray(image)
    (header,) = struct.unpack_from("<I", image, begin + 4)
    at, size = struct.unpack_from("<II", image, begin + 24)
    place, end = begin + header + at + 4, begin + header + at + size
    (width,) = struct.unpack_from("<I", image, place - 4)
    while place < end:
        _, count = struct.unpack_from("<II", image, place)
        place += 8
        for record in range(place, place + count * width, width):
            if struct.unpack_from("<I", image, record + 12)[0] == TYPE_EXISTS:
                struct.pack_into("<I", changed, record + 12, TYPE_MATCHES)
        place += count * width
    return bytes(changed)


@pytest.fixture(scope="module")
def kernel() -> RunningKernel:
    if os.geteuid() != 0:
        pytest.skip("needs CAP_BPF and CAP_PERFMON: run the tests as root")
    running = RunningKernel()
    if running.btf is None:
        pytest.skip("the running kernel has no types: CONFIG_DEBUG_INFO_BTF is off")
    return running


# no char and no short here: the kernel's char has no sign since v6.2, and gcc calls a short "short unsigned int"
EXISTS = dict.fromkeys(
    ("same", "less", "number", "more", "too_short", "not_signed", "some", "less_values", "more_values", "same_name",
     "unsigned_name"), 1,
)  # fmt: skip
REFUSED = ("number", "more", "too_short", "not_signed", "more_values", "unsigned_name", "long_name")


@pytest.mark.parametrize("way", ["exists", "matches"])
def test_types(way: str, compiled: Compiled, kernel: RunningKernel, tmp_path: Path) -> None:
    image = compiled("matching").read_bytes()
    if way == "matches":
        image = with_matches(image)
    with load_object(read_object(image, target=kernel, name="matching")) as loaded:
        program = loaded.programs["look"]
        program.test_run(PACKET)
        found = {name: int.from_bytes(loaded.read(name), "little") for name in (*EXISTS, "long_name")}
        tag = program_info(program.fd).tag
    expected = {**EXISTS, "long_name": 1} | (dict.fromkeys(REFUSED, 0) if way == "matches" else {})
    assert found == expected
    assert bpftool_tags(image, tmp_path) == {"look": tag}
