"""The objects inside of Debian's libbpf-tools (libbpf's skeletons): loaded as bpftool loads them, or refused as it is.

The tools set sizes and functions before they load; without that, some objects are refused by both.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from linscope.abi import bpf as b
from linscope.bpf.kernel.listing import program_info
from linscope.bpf.kernel.objects import load_object
from linscope.bpf.kernel.running import RunningKernel
from linscope.bpf.objects.elf_object import EM_BPF
from linscope.bpf.objects.reader import Object, read_object
from linscope.errors import LinscopeError

pytestmark = pytest.mark.kernel
ELF_64 = b"\x7fELF\x02\x01\x01"
TOOLS = (
    "bindsnoop", "biolatency", "biopattern", "biosnoop", "biostacks", "biotop", "bitesize", "cachestat", "capable",
    "cpudist", "cpufreq", "drsnoop", "execsnoop", "exitsnoop", "filelife", "filetop", "fsdist", "fsslower",
    "funclatency", "gethostlatency", "hardirqs", "javagc", "klockstat", "ksnoop", "llcstat", "mdflush", "mountsnoop",
    "numamove", "offcputime", "oomkill", "opensnoop", "readahead", "runqlat", "runqlen", "runqslower", "sigsnoop",
    "slabratetop", "softirqs", "solisten", "statsnoop", "syscount", "tcpconnect", "tcpconnlat", "tcplife", "tcprtt",
    "tcpstates", "tcpsynbl", "tcptop", "tcptracer", "vfsstat", "wakeuptime",
)  # fmt: skip


def embedded_object(image: bytes) -> bytes | None:
    """The eBPF object in a program's data, as long as its sections say."""
    at = image.find(ELF_64, 1)
    while at >= 0:
        kind, machine = struct.unpack_from("<HH", image, at + 16)
        if (kind, machine) == (1, EM_BPF):
            table, count = struct.unpack_from("<Q", image, at + 40)[0], struct.unpack_from("<H", image, at + 60)[0]
            end = table + 64 * count
            for number in range(count):
                kind, offset, size = struct.unpack_from("<4xI16xQQ", image, at + table + 64 * number)
                end = max(end, offset + (size if kind != 8 else 0))
            return image[at : at + end]
        at = image.find(ELF_64, at + 1)
    return None


@pytest.fixture(scope="module")
def kernel() -> RunningKernel:
    if os.geteuid() != 0:
        pytest.skip("needs CAP_BPF and CAP_PERFMON: run the tests as root")
    running = RunningKernel()
    if running.btf is None:
        pytest.skip("the running kernel has no types: CONFIG_DEBUG_INFO_BTF is off")
    return running


def object_of(tool: str) -> bytes:
    path = Path("/usr/sbin") / tool
    image = embedded_object(path.read_bytes()) if path.exists() else None
    if image is None:
        pytest.skip(f"no {path} with an eBPF object in it: apt-get install libbpf-tools")
    return image


def bpftool_tags(image: bytes, folder: Path) -> dict[str, str]:
    """Name -> tag of the programs that bpftool loads; all of them or none."""
    if shutil.which("bpftool") is None:
        pytest.skip("needs bpftool: apt-get install bpftool")
    path, pins = folder / "tool.o", folder / "pins"
    path.write_bytes(image)
    pins.mkdir()
    script = (
        f"mount -t bpf bpf {pins} && bpftool prog loadall {path} {pins} >/dev/null 2>&1 || exit 0\n"
        f"for f in {pins}/*; do bpftool -j prog show pinned $f 2>/dev/null; echo; done"
    )
    words = ["unshare", "--mount", "sh", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {row["name"]: row["tag"] for row in rows if "tag" in row}


def our_tags(source: Object) -> tuple[dict[str, str], str]:
    """Name -> tag of the programs that we load, else why not."""
    try:
        with load_object(source) as loaded:
            return {name: program_info(each.fd).tag for name, each in loaded.programs.items()}, ""
    except LinscopeError as error:
        return {}, str(error)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tools_object(tool: str, kernel: RunningKernel, tmp_path: Path) -> None:
    """The same programs with the same tags, or none by both."""
    image = object_of(tool)
    source = read_object(image, target=kernel, name=tool, where=tool)
    ours, why = our_tags(source)
    theirs = bpftool_tags(image, tmp_path)
    assert bool(ours) == bool(theirs), why or "bpftool refuses it"
    # older versions of bpftool print no more than the 15 characters that the kernel keeps
    assert {name: ours.get(name, ours.get(_whole(name, ours))) for name in theirs} == theirs
    assert set(ours.values()) == set(theirs.values())


def _whole(name: str, ours: dict[str, str]) -> str:
    return next((each for each in ours if each[:15] == name), "")


def test_what_a_tool_sets_before_it_loads(kernel: RunningKernel) -> None:
    """Sizes of maps, and the functions of a file system: as offcputime and fsdist do."""
    source = read_object(object_of("offcputime"), target=kernel, name="offcputime")
    _, why = our_tags(source)
    assert "cannot create the map 'stackmap'" in why
    source.maps["stackmap"].value_size = 8 * 127
    source.maps["stackmap"].max_entries = 1024
    tags, why = our_tags(source)
    assert set(tags) == {"sched_switch"}, why
    source = read_object(object_of("fsdist"), target=kernel, name="fsdist")
    for name in [each for each, program in source.programs.items() if program.type != b.BPF_PROG_TYPE_KPROBE]:
        del source.programs[name]  # it loads either these or the kprobes
    tags, why = our_tags(source)
    assert len(tags) == 10, why
