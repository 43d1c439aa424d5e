"""What eBPF is in the kernel: programs, maps, links and types with what the kernel says of each, and who holds them.

Source: include/uapi/linux/bpf.h, struct bpf_prog_info, bpf_map_info, bpf_link_info, bpf_btf_info (v6.17);
Documentation/filesystems/proc.rst, /proc/PID/fdinfo.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from linscope.abi import bpf as b
from linscope.bpf.kernel.descriptor import Closing, get_by_id
from linscope.bpf.kernel.targets import iter_kernel_types
from linscope.bpf.names import LINK_TYPES, MAP_TYPES, PROGRAM_TYPES, type_name
from linscope.errors import SystemCallError
from linscope.sys import bpf as sys_bpf
from linscope.sys.bpf_errors import explain

if TYPE_CHECKING:
    from collections.abc import Iterator

_INFO_SIZE = 256


class ProgramInfo(NamedTuple):
    """A program; times are 0 unless run times are counted (``run_times``)."""

    id: int
    type: str
    name: str
    tag: str
    gpl_compatible: bool
    loaded_at_ns: int  # of the boot clock
    uid: int
    xlated_bytes: int
    jited_bytes: int
    map_ids: tuple[int, ...]
    btf_id: int
    run_time_ns: int
    runs: int
    recursion_misses: int
    verified_instructions: int
    attach_btf_id: int
    attach_btf_object: int


class MapInfo(NamedTuple):
    """A map."""

    id: int
    type: str
    name: str
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    btf_id: int
    key_type: int  # in that BTF
    value_type: int
    extra: int
    frozen: bool
    memory_bytes: int


class LinkInfo(NamedTuple):
    """A link; details are those of its type ("tp_name", "attach_type", "ifindex", "path"...)."""

    id: int
    type: str
    program: int
    details: dict[str, int | str]


class TypesInfo(NamedTuple):
    """BTF; name: of the module, "vmlinux", or "" for a program's."""

    id: int
    name: str
    kernel: bool
    bytes: int


class Holder(NamedTuple):
    """A process that has a descriptor of something."""

    pid: int
    comm: str


def object_info(kind: str, fd: int, info: bytearray | None = None) -> bytes:
    """What BPF_OBJ_GET_INFO_BY_FD says, padded with zeros to 256 bytes.  Raises SystemCallError."""
    info = info if info is not None else bytearray(_INFO_SIZE)
    try:
        sys_bpf.obj_get_info_by_fd(fd, info)
    except OSError as error:
        raise explain(error, f"cannot look at a {kind}") from error
    return bytes(info).ljust(_INFO_SIZE, b"\0")


def _iter_descriptors(kind: str, command: int) -> Iterator[int]:
    """A descriptor of each, closed when the next is taken."""
    number = 0
    while True:
        try:
            number = sys_bpf.get_next_id(command, number)
        except OSError as error:
            if error.errno == 2:
                return
            raise explain(error, f"cannot list the kernel's {kind}s") from error
        try:
            fd = get_by_id(kind, number)
        except SystemCallError as error:
            if error.errno == 2:  # gone since
                continue
            raise
        try:
            yield fd
        finally:
            os.close(fd)


def iter_programs() -> Iterator[ProgramInfo]:
    """All programs, by id.  Raises SystemCallError (PermissionDenied: CAP_SYS_ADMIN is needed)."""
    for fd in _iter_descriptors("program", b.BPF_PROG_GET_NEXT_ID):
        yield program_info(fd)


def iter_maps() -> Iterator[MapInfo]:
    """All maps, by id.  Raises SystemCallError."""
    for fd in _iter_descriptors("map", b.BPF_MAP_GET_NEXT_ID):
        yield map_info(fd)


def iter_links() -> Iterator[LinkInfo]:
    """All links, by id.  Raises SystemCallError."""
    for fd in _iter_descriptors("link", b.BPF_LINK_GET_NEXT_ID):
        yield link_info(fd)


def iter_types() -> Iterator[TypesInfo]:
    """All BTF, by id.  Raises SystemCallError."""
    for types in iter_kernel_types():
        yield TypesInfo(*types.info())


def _text(data: bytes | bytearray) -> str:
    return bytes(data).partition(b"\0")[0].decode("utf-8", "replace")


def program_info(fd: int) -> ProgramInfo:
    """What the kernel says of a program.  Raises SystemCallError."""
    first = object_info("program", fd)
    count: int = struct.unpack_from("=I", first, 52)[0]
    ids = bytearray(4 * count)
    if count:
        ask = bytearray(_INFO_SIZE)
        struct.pack_into("=IQ", ask, 52, count, sys_bpf.address_of(ids))
        first = object_info("program", fd, ask)
        count = min(count, struct.unpack_from("=I", first, 52)[0])
    kind, number, tag, jited, xlated = struct.unpack_from("=II8sII", first)
    loaded, uid = struct.unpack_from("=QI", first, 40)
    (name, flags) = struct.unpack_from("=16sxxxxI", first, 64)
    time_ns, runs, misses, verified, object_id, attach_id = struct.unpack_from("=QQQIII", first, 192)
    return ProgramInfo(
        number, type_name(PROGRAM_TYPES, kind), _text(name), tag.hex(), bool(flags & 1), loaded, uid, xlated, jited,
        struct.unpack_from(f"={count}I", ids), struct.unpack_from("=I", first, 128)[0], time_ns, runs, misses, verified,
        attach_id, object_id,
    )  # fmt: skip


def map_info(fd: int) -> MapInfo:
    """What the kernel says of a map.  Raises SystemCallError."""
    info = object_info("map", fd)
    kind, number, key_size, value_size, entries, flags, name = struct.unpack_from("=6I16s", info)
    btf_id, key_type, value_type = struct.unpack_from("=III", info, 64)
    more = fdinfo(fd)
    return MapInfo(
        number, type_name(MAP_TYPES, kind), _text(name), key_size, value_size, entries, flags, btf_id, key_type,
        value_type, struct.unpack_from("=Q", info, 80)[0], more.get("frozen") == "1", int(more.get("memlock", "0")),
    )  # fmt: skip


def fdinfo(fd: int) -> dict[str, str]:
    """The lines of /proc/self/fdinfo/FD."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="utf-8", errors="replace") as file:
        pairs = (line.partition(":") for line in file)
        return {name: value.strip() for name, _, value in pairs}


# type -> fields at the offsets of struct bpf_link_info: name, format, offset
_LINK_FIELDS: dict[int, tuple[tuple[str, str, int], ...]] = {
    b.BPF_LINK_TYPE_RAW_TRACEPOINT: (("cookie", "Q", 32),),
    b.BPF_LINK_TYPE_TRACING: (
        ("attach_type", "I", 16), ("target_obj_id", "I", 20), ("target_btf_id", "I", 24), ("cookie", "Q", 32),
    ),
    b.BPF_LINK_TYPE_CGROUP: (("cgroup_id", "Q", 16), ("attach_type", "I", 24)),
    b.BPF_LINK_TYPE_NETNS: (("netns_ino", "I", 16), ("attach_type", "I", 20)),
    b.BPF_LINK_TYPE_XDP: (("ifindex", "I", 16),),
    b.BPF_LINK_TYPE_TCX: (("ifindex", "I", 16), ("attach_type", "I", 20)),
    b.BPF_LINK_TYPE_NETKIT: (("ifindex", "I", 16), ("attach_type", "I", 20)),
    b.BPF_LINK_TYPE_STRUCT_OPS: (("map_id", "I", 16),),
    b.BPF_LINK_TYPE_SOCKMAP: (("map_id", "I", 16), ("attach_type", "I", 20)),
    b.BPF_LINK_TYPE_NETFILTER: (("pf", "I", 16), ("hooknum", "I", 20), ("priority", "i", 24), ("flags", "I", 28)),
    b.BPF_LINK_TYPE_KPROBE_MULTI: (("func_cnt", "I", 24), ("flags", "I", 28), ("missed", "Q", 32)),
    b.BPF_LINK_TYPE_UPROBE_MULTI: (("func_cnt", "I", 52), ("flags", "I", 56), ("pid", "I", 60)),
}  # fmt: skip
# type -> name, offset of the pointer to a text, offset of its length
_LINK_TEXTS = {
    b.BPF_LINK_TYPE_RAW_TRACEPOINT: ("tp_name", 16, 24),
    b.BPF_LINK_TYPE_ITER: ("target_name", 16, 24),
    b.BPF_LINK_TYPE_UPROBE_MULTI: ("path", 16, 48),
}
# enum bpf_perf_event_type -> its name, the text, the numbers
_PERF_KINDS: dict[int, tuple[str, str, tuple[tuple[str, str, int], ...]]] = {
    1: ("uprobe", "file", (("offset", "I", 36), ("cookie", "Q", 40))),
    2: ("uretprobe", "file", (("offset", "I", 36), ("cookie", "Q", 40))),
    3: ("kprobe", "func", (("offset", "I", 36), ("addr", "Q", 40), ("missed", "Q", 48), ("cookie", "Q", 56))),
    4: ("kretprobe", "func", (("offset", "I", 36), ("addr", "Q", 40), ("missed", "Q", 48), ("cookie", "Q", 56))),
    5: ("tracepoint", "tracepoint", (("cookie", "Q", 40),)),
    6: ("event", "", (("event_config", "Q", 24), ("event_type", "I", 32), ("cookie", "Q", 40))),
}  # fmt: skip


def link_info(fd: int) -> LinkInfo:
    """What the kernel says of a link.  Raises SystemCallError."""
    info = object_info("link", fd)
    kind, number, program = struct.unpack_from("=III", info)
    details: dict[str, int | str] = {}
    if kind == b.BPF_LINK_TYPE_PERF_EVENT:
        _perf_details(fd, info, details)
    elif kind in _LINK_TEXTS:
        name, pointer_at, length_at = _LINK_TEXTS[kind]
        info, details[name] = _with_text(fd, pointer_at, length_at)
    for name, form, offset in _LINK_FIELDS.get(kind, ()):
        details[name] = struct.unpack_from("=" + form, info, offset)[0]
    if not details.get("cookie", 1):
        del details["cookie"]
    return LinkInfo(number, type_name(LINK_TYPES, kind), program, details)


def _with_text(fd: int, pointer_at: int, length_at: int) -> tuple[bytes, str]:
    text = bytearray(4096)
    ask = bytearray(_INFO_SIZE)
    struct.pack_into("=Q", ask, pointer_at, sys_bpf.address_of(text))
    struct.pack_into("=I", ask, length_at, len(text))
    return object_info("link", fd, ask), _text(text)


def _perf_details(fd: int, info: bytes, details: dict[str, int | str]) -> None:
    """Since v6.6 (1b715e1b0ec5); before, nothing is told."""
    known = _PERF_KINDS.get(struct.unpack_from("=I", info, 16)[0])
    if known is None:
        return
    details["kind"], text, fields = known
    if text:
        info, details[text] = _with_text(fd, 24, 32)
    for name, form, offset in fields:
        details[name] = struct.unpack_from("=" + form, info, offset)[0]


_FDINFO_KEYS = {"prog_id": "program", "map_id": "map", "link_id": "link", "btf_id": "BTF"}


def find_holders() -> dict[tuple[str, int], list[Holder]]:
    """("program", id) and so on -> the processes that have a descriptor of it; what this user may not see is left out.

    A program that only a link holds, or that is pinned, has no holder.
    """
    found: dict[tuple[str, int], list[Holder]] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        folder = f"/proc/{entry.name}"
        try:
            with open(f"{folder}/comm", encoding="utf-8", errors="replace") as file:
                holder = Holder(int(entry.name), file.read().strip())
            held = _held_by(folder)
        except OSError:  # ended since, or not for us to see
            continue
        for key in held:
            found.setdefault(key, []).append(holder)
    return found


def _held_by(folder: str) -> set[tuple[str, int]]:
    held = set()
    for entry in os.scandir(f"{folder}/fd"):
        try:
            link = str(Path(entry.path).readlink())
            if not link.startswith("anon_inode:") or ("bpf" not in link and "btf" not in link):
                continue
            with open(f"{folder}/fdinfo/{entry.name}", encoding="utf-8", errors="replace") as file:
                fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        except OSError:
            continue
        # a link's entry names its program too, which the link holds
        kinds = ("link_id",) if "link_id" in fields else tuple(_FDINFO_KEYS)
        held |= {(_FDINFO_KEYS[name], int(fields[name])) for name in kinds if fields.get(name, "").strip().isdigit()}
    return held


class RunTimes(Closing):
    """While it is open, the kernel counts runs and run times of programs; the sysctl kernel.bpf_stats_enabled stays."""

    def __init__(self) -> None:
        """Raises SystemCallError: older than v5.8, or without CAP_SYS_ADMIN."""
        try:
            self.fd = sys_bpf.enable_stats()
        except OSError as error:
            raise explain(error, "cannot count run times of programs", since="v5.8 (d46edd671a14)") from error

    def close(self) -> None:
        """Count no more, unless somebody else does."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
