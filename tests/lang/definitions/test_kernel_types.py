"""Types of the running kernel beside pahole; functions, raw tracepoints and variables by BTF."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from linscope.binfmt import btf_types as bt
from linscope.lang import types as t
from linscope.lang.definitions import Definitions

BTF = "/sys/kernel/btf/vmlinux"
pytestmark = pytest.mark.skipif(not os.path.exists(BTF), reason="the kernel has no BTF")
STRUCTS = (
    "task_struct", "file", "inode", "dentry", "sock", "inet_sock", "tcp_sock", "sk_buff", "mm_struct",
    "vm_area_struct", "super_block", "request", "bio", "net_device", "page", "cred", "nsproxy", "rq", "cfs_rq",
    "sched_entity", "tcphdr", "iphdr", "ipv6hdr", "ethhdr", "linux_binprm", "pt_regs", "perf_event_attr", "bpf_insn",
    "path", "qstr", "list_head", "sockaddr_in6", "unix_sock", "socket", "address_space", "kmem_cache", "gendisk",
)  # fmt: skip


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    return Definitions([])


def struct(definitions: Definitions, name: str) -> t.Struct:
    found = definitions.find_type("struct", name)
    if found is None:
        pytest.skip(f"no struct {name} in this kernel")
    assert isinstance(found, t.Struct)
    return found


def outer_members(type: t.Struct, base: int = 0) -> list[tuple[str, int, int, int]]:
    """(name, offset of bit in the struct, bits of a bit field or 0, bytes), those without a name opened."""
    found = []
    for field in type.fields:
        if not field.name and isinstance(field.type, t.Struct):
            found += outer_members(field.type, base + field.offset)
        else:
            bit = 8 * (base + field.offset) + field.bit_offset
            found.append((field.name, bit, field.bit_size, 0 if field.bit_size else field.type.size))
    return found


_MEMBER = re.compile(
    r"^\t+.*?(\w+)(?:\[\d+\])*\)?(?:\(.*\))?(?::\d+)?(?: __attribute__\S*)?;\s+/\*\s+(\d+)(:\s*\d+)?\s+(\d+) \*/"
)


@pytest.mark.skipif(not shutil.which("pahole"), reason="apt-get install dwarves")
def test_members_lie_where_pahole_has_them(definitions: Definitions) -> None:
    """Offset and size of every member with a name, those in structs without one, too."""
    there = [name for name in STRUCTS if definitions.find_type("struct", name) is not None]
    done = subprocess.run(["pahole", "-C", ",".join(there), BTF], capture_output=True, text=True, check=True)
    count = 0
    for text in re.split(r"^(?=struct \w+ \{)", done.stdout, flags=re.M)[1:]:
        name = text.split()[1]
        type = struct(definitions, name)
        assert type.size == int(re.search(r"/\* size: (\d+)", text)[1])  # type: ignore[index]
        said: dict[str, set[tuple[int, int]]] = {}
        for line in text.splitlines():
            found = _MEMBER.match(line)
            if found and not found[3]:
                said.setdefault(found[1], set()).add((int(found[2]), int(found[4])))
        for member, bit, bits, size in outer_members(type):
            if member in said and not bits:
                assert (bit // 8, size) in said[member], f"{name}.{member}"
                count += 1
    assert count > 1000


def test_bit_fields_are_pahole_s(definitions: Definitions) -> None:
    if not shutil.which("pahole"):
        pytest.skip("apt-get install dwarves")
    tcp = struct(definitions, "tcphdr")
    text = subprocess.run(["pahole", "-C", "tcphdr", BTF], capture_output=True, text=True, check=True).stdout
    said = {
        found[1]: (int(found[3]) * 8 + int(found[4]), int(found[2]))
        for found in re.finditer(r"(\w+):(\d+);\s+/\*\s+(\d+):\s*(\d+)", text)
    }
    mine = {name: (bit, bits) for name, bit, bits, _ in outer_members(tcp) if bits}
    assert mine == said
    assert mine["syn"][1] == 1


def test_types_by_kind(definitions: Definitions) -> None:
    task = struct(definitions, "task_struct")
    comm, parent, pid = task.find("comm"), task.find("real_parent"), task.find("pid")
    assert comm is not None
    assert parent is not None
    assert pid is not None
    assert comm.type == t.String(16)
    assert isinstance(parent.type, t.Pointer)
    assert parent.type.space == t.KERNEL
    assert parent.type.target == task
    assert pid.type == t.INT32
    for name, expected in {
        "unsigned int": t.UINT32, "pid_t": t.INT32, "u64": t.UINT64, "size_t": t.UINT64, "bool": t.BOOL, "char": t.INT8,
    }.items():  # fmt: skip
        assert definitions.find_type(None, name) == expected
    assert definitions.find_type("struct", "no_such_struct") is None
    assert definitions.find_type("union", "task_struct") is None
    mode = definitions.find_type("enum", "hrtimer_restart")
    assert isinstance(mode, t.Enum)
    assert mode.values == {0: "HRTIMER_NORESTART", 1: "HRTIMER_RESTART"}


def test_constants_of_enums(definitions: Definitions) -> None:
    found = definitions.find_constant("HRTIMER_RESTART")
    assert isinstance(found, tuple)
    assert found[0] == 1
    assert isinstance(found[1], t.Enum)
    assert definitions.find_constant("NO_SUCH_CONSTANT_AT_ALL") is None
    tcp = definitions.find_constant("IPPROTO_TCP")
    assert isinstance(tcp, tuple)
    assert tcp[0] == 6
    assert isinstance(tcp[1], t.Enum)
    inet = definitions.find_constant("AF_INET6")
    assert isinstance(inet, tuple)
    assert inet[0] == 10
    assert "AF_INET6" in definitions.near_constants("AF_INET66")


def test_functions(definitions: Definitions) -> None:
    found = definitions.find_function("vfs_read")
    assert found is not None
    assert [field.name for field in found.arguments.fields][:3] == ["file", "buf", "count"]
    assert [field.offset for field in found.arguments.fields] == [0, 8, 16, 24]
    assert found.returns == t.INT64
    assert definitions.find_function("no_such_function_here") is None
    raw = definitions.raw_tracepoint("sched_switch")
    assert raw is not None
    names = [field.name for field in raw.fields]
    assert names[:3] == ["preempt", "prev", "next"]
    assert definitions.raw_tracepoint("no_such_event_here") is None
    variable = definitions.find_variable("runqueues")
    if variable is not None:
        assert variable[1] == struct(definitions, "rq")


def test_every_type_converts(definitions: Definitions) -> None:
    """All structs and unions of the kernel: their members lie inside them, in order for structs."""
    types = definitions.kernel()[0]
    count = 0
    for kind in (bt.KIND_STRUCT, bt.KIND_UNION):
        for type_id in types.btf.iter_ids(kind):
            found = types.type(type_id)
            assert isinstance(found, t.Struct)
            for field in found.fields:
                assert field.offset + (0 if field.bit_size else field.type.size) <= max(found.size, 1), found.name
                assert field.bit_offset >= 0
                assert field.bit_offset + field.bit_size <= 64
            count += 1
    assert count > 1000


def test_a_typedef_names_its_struct(definitions: Definitions) -> None:
    lock, atomic = definitions.find_type(None, "spinlock_t"), definitions.find_type(None, "atomic_t")
    assert isinstance(atomic, t.Struct)
    assert atomic.name == "atomic_t"
    assert lock is not None
    assert lock.size == (definitions.find_type("struct", "spinlock") or lock).size


def test_nothing_heavy_is_imported() -> None:
    """The script's C, a tracepoint and a type of the kernel: what takes long to import is not needed."""
    code = (
        "import sys\nbefore = set(sys.modules)\n"
        "from linscope.lang.definitions import Definitions\n"
        "found = Definitions([('#include <errno.h>', 0), ('struct s { int a[3]; };', 19)])\n"
        "assert found.find_type('struct', 's').size == 12\n"
        "assert found.find_constant('ENOENT')[0] == 2\n"
        "found.tracepoint('sched', 'sched_switch')\n"
        "assert found.find_type('struct', 'task_struct').find('pid')\n"
        "print(*(set(sys.modules) - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"re", "typing", "collections", "dataclasses", "functools", "enum", "inspect", "pathlib", "ctypes", "numpy"}
    assert not set(done.stdout.split()) & heavy
