"""bpf(2): one function for each command, arguments and results as the kernel has them; failures are OSError.

A command's fields beyond what the kernel knows are zero unless asked for, and the kernel takes trailing zeros of any
length: so one shape serves all kernels, and a field that is too new gives E2BIG.  ``bpf_errors.explain`` turns an
OSError into one that says what to do.
Source: bpf(2); include/uapi/linux/bpf.h, union bpf_attr (v6.17); the call's numbers from arch/*/include/asm/unistd.h
and include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import os
import struct

from linscope.abi import bpf as b

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeAlias

    Buffer: TypeAlias = bytes | bytearray | memoryview

_SYSCALL_NUMBER = {
    "x86_64": 321,
    "i386": 357,
    "i686": 357,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "armv7l": 386,
    "ppc64le": 361,
    "ppc64": 361,
    "s390x": 351,
    "mips64": 5315,
    "sparc64": 349,
}
_libc_syscall = ctypes.CDLL(None, use_errno=True).syscall
_number: int | None = _SYSCALL_NUMBER.get(os.uname().machine)
# lengths and numbers below 2**31 need no more than ctypes' int; the number and the attr's address are given as long
_libc_syscall.restype = ctypes.c_long
_libc_syscall.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_ulong]

BPF_F_PATH_FD = 1 << 14  # since v6.5, cb8edce28073

_ELEMENT = struct.Struct("=IxxxxQQQ")
_BATCH = struct.Struct("=QQQQIIQQ")
_RUN = struct.Struct("=IIIIQQIIIIQQIII")
_QUERY = struct.Struct("=IIIIQIxxxxQQQQ")


class BatchError(OSError):
    """A batch command that failed; ``count`` entries were done before it."""

    def __init__(self, error: OSError, count: int) -> None:
        super().__init__(error.errno, error.strerror)
        self.count = count


def bpf(command: int, attr: bytearray) -> int:
    """The call itself: BPF_*, and union bpf_attr, which the kernel may write to.

    Returns what the kernel does: a descriptor (close-on-exec), or 0.  Raises OSError with its errno.
    """
    if _number is None:
        raise OSError(38, f"bpf: no system call number known for {os.uname().machine}")
    size = len(attr)
    result: int = _libc_syscall(_number, command, ctypes.addressof((ctypes.c_char * size).from_buffer(attr)), size)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def address_of(buffer: Buffer | None) -> int:
    """Where the bytes of a buffer lie, 0 for None; the caller keeps the buffer alive.

    What the kernel is to write to must be a bytearray, or a memoryview of one.
    """
    if buffer is None:
        return 0
    if isinstance(buffer, bytes):
        return ctypes.cast(ctypes.c_char_p(buffer), ctypes.c_void_p).value or 0
    size = len(buffer)
    return ctypes.addressof((ctypes.c_char * size).from_buffer(buffer)) if size else 0


def _pack(format: str, *values: Any) -> bytearray:
    return bytearray(struct.pack("=" + format, *values))


def _object_name(name: str) -> bytes:
    """What the kernel takes as a name: 15 characters of letters, digits, ``_`` and ``.``."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)
    return kept[: b.BPF_OBJ_NAME_LEN - 1].encode()


# -- maps


def map_create(
    map_type: int, key_size: int, value_size: int, max_entries: int, *, flags: int = 0, name: str = "",
    inner_map_fd: int = 0, numa_node: int = 0, ifindex: int = 0, btf_fd: int = 0, btf_key_type_id: int = 0,
    btf_value_type_id: int = 0, btf_vmlinux_value_type_id: int = 0, map_extra: int = 0,
) -> int:  # fmt: skip
    """BPF_MAP_CREATE: a descriptor of a new map.  Characters that the kernel takes in no name become ``_``."""
    attr = _pack(
        "IIIIIII16sIIIIIQIIQIxxxx", map_type, key_size, value_size, max_entries, flags, inner_map_fd, numa_node,
        _object_name(name), ifindex, btf_fd, btf_key_type_id, btf_value_type_id, btf_vmlinux_value_type_id, map_extra,
        0, 0, 0, 0,
    )  # fmt: skip
    return bpf(b.BPF_MAP_CREATE, attr)


def _element(command: int, fd: int, key: Buffer | None, value: Buffer | None, flags: int) -> None:
    bpf(command, bytearray(_ELEMENT.pack(fd, address_of(key), address_of(value), flags)))


def map_lookup_elem(fd: int, key: Buffer | None, value: bytearray, flags: int = 0) -> None:
    """BPF_MAP_LOOKUP_ELEM into value; key None: of a queue or stack (peek).  OSError: ENOENT when there is none."""
    _element(b.BPF_MAP_LOOKUP_ELEM, fd, key, value, flags)


def map_update_elem(fd: int, key: Buffer | None, value: Buffer, flags: int = b.BPF_ANY) -> None:
    """BPF_MAP_UPDATE_ELEM; key None: of a queue, stack or bloom filter (push).  OSError: E2BIG when it is full."""
    _element(b.BPF_MAP_UPDATE_ELEM, fd, key, value, flags)


def map_delete_elem(fd: int, key: Buffer) -> None:
    """BPF_MAP_DELETE_ELEM.  OSError: ENOENT when there is none, EINVAL for arrays."""
    _element(b.BPF_MAP_DELETE_ELEM, fd, key, None, 0)


def map_lookup_and_delete_elem(fd: int, key: Buffer | None, value: bytearray, flags: int = 0) -> None:
    """BPF_MAP_LOOKUP_AND_DELETE_ELEM into value; key None: of a queue or stack (pop)."""
    _element(b.BPF_MAP_LOOKUP_AND_DELETE_ELEM, fd, key, value, flags)


def map_get_next_key(fd: int, key: Buffer | None, next_key: bytearray) -> None:
    """BPF_MAP_GET_NEXT_KEY into next_key; key None: the first.  OSError: ENOENT after the last."""
    _element(b.BPF_MAP_GET_NEXT_KEY, fd, key, next_key, 0)


def map_freeze(fd: int) -> None:
    """BPF_MAP_FREEZE: no more changes from user space."""
    bpf(b.BPF_MAP_FREEZE, _pack("I", fd))


def _batch(
    command: int, fd: int, place: bytearray | None, next_place: bytearray | None, keys: Buffer | None,
    values: Buffer | None, count: int, flags: int,
) -> int:  # fmt: skip
    """Entries done.  Raises BatchError, for the kernel tells how far it came also when it fails."""
    attr = bytearray(
        _BATCH.pack(
            address_of(place), address_of(next_place), address_of(keys), address_of(values), count, fd, flags, 0
        )
    )
    try:
        bpf(command, attr)
    except OSError as error:
        raise BatchError(error, struct.unpack_from("=I", attr, 32)[0]) from None
    return int(struct.unpack_from("=I", attr, 32)[0])


def map_lookup_batch(
    fd: int, place: bytearray | None, next_place: bytearray, keys: bytearray, values: bytearray, count: int,
    flags: int = 0,
) -> int:  # fmt: skip
    """BPF_MAP_LOOKUP_BATCH: up to count entries from a place on (None: the begin); how many.

    Raises BatchError: ENOENT with the last of them, ENOSPC when a bucket holds more than count.
    """
    return _batch(b.BPF_MAP_LOOKUP_BATCH, fd, place, next_place, keys, values, count, flags)


def map_lookup_and_delete_batch(
    fd: int, place: bytearray | None, next_place: bytearray, keys: bytearray, values: bytearray, count: int,
    flags: int = 0,
) -> int:  # fmt: skip
    """BPF_MAP_LOOKUP_AND_DELETE_BATCH: as ``map_lookup_batch``, and what was read is gone from the map."""
    return _batch(b.BPF_MAP_LOOKUP_AND_DELETE_BATCH, fd, place, next_place, keys, values, count, flags)


def map_update_batch(fd: int, keys: Buffer, values: Buffer, count: int, flags: int = b.BPF_ANY) -> int:
    """BPF_MAP_UPDATE_BATCH: how many of count entries were written.  Raises BatchError."""
    return _batch(b.BPF_MAP_UPDATE_BATCH, fd, None, None, keys, values, count, flags)


def map_delete_batch(fd: int, keys: Buffer, count: int, flags: int = 0) -> int:
    """BPF_MAP_DELETE_BATCH: how many of count keys were deleted.  Raises BatchError."""
    return _batch(b.BPF_MAP_DELETE_BATCH, fd, None, None, keys, None, count, flags)


# -- programs and types


def prog_load(
    prog_type: int, instructions: Buffer, license: str, *, name: str = "", flags: int = 0, ifindex: int = 0,
    expected_attach_type: int = 0, btf_fd: int = 0, func_info: bytes = b"", func_info_size: int = 8,
    line_info: bytes = b"", line_info_size: int = 16, attach_btf_id: int = 0, attach_fd: int = 0,
    fd_array: Sequence[int] = (), log_level: int = 0, log: bytearray | None = None, kern_version: int = 0,
) -> int:  # fmt: skip
    """BPF_PROG_LOAD: a descriptor of a new program.

    func_info, line_info: records of so many bytes; attach_fd: of the program or module BTF that attach_btf_id is in;
    fd_array: what BPF_PSEUDO_MAP_IDX counts in, and from 1 on BTF of modules for kfuncs; log: what the verifier says,
    ending in NUL, when log_level is not 0.
    Raises OSError: EPERM, EINVAL and EACCES by the verifier; ENOSPC when the log is too small.
    """
    license_text = license.encode() + b"\0"
    descriptors = bytearray(struct.pack(f"={len(fd_array)}i", *fd_array))
    wanted = log if log_level and log is not None else None
    attr = _pack(
        "IIQQIIQII16sIIIIQIIQIIIIQQIIII", prog_type, len(instructions) // 8, address_of(instructions),
        address_of(license_text), log_level if wanted is not None else 0, len(wanted) if wanted is not None else 0,
        address_of(wanted), kern_version, flags, _object_name(name), ifindex, expected_attach_type, btf_fd,
        func_info_size if func_info else 0, address_of(func_info or None), len(func_info) // func_info_size,
        line_info_size if line_info else 0, address_of(line_info or None), len(line_info) // line_info_size,
        attach_btf_id, attach_fd, 0, address_of(descriptors or None), 0, 0, 0, 0, 0,
    )  # fmt: skip
    return bpf(b.BPF_PROG_LOAD, attr)


def prog_test_run(
    fd: int, *, data_in: Buffer | None = None, data_out: bytearray | None = None, context_in: Buffer | None = None,
    context_out: bytearray | None = None, repeat: int = 0, flags: int = 0, cpu: int = 0, batch_size: int = 0,
) -> tuple[int, int, int, int]:  # fmt: skip
    """BPF_PROG_TEST_RUN: (what the program returned, nanoseconds a run, bytes of data_out, bytes of context_out).

    OSError: ENOTSUPP (524) when programs of the type cannot be run so; ENOSPC when data_out is too small.
    """
    attr = bytearray(
        _RUN.pack(
            fd, 0, len(data_in or b""), len(data_out or b""), address_of(data_in), address_of(data_out), repeat, 0,
            len(context_in or b""), len(context_out or b""), address_of(context_in), address_of(context_out),
            flags, cpu, batch_size,
        )
    )  # fmt: skip
    bpf(b.BPF_PROG_TEST_RUN, attr)
    done = _RUN.unpack_from(attr)
    return done[1], done[7], done[3], done[9]


def prog_bind_map(prog_fd: int, map_fd: int) -> None:
    """BPF_PROG_BIND_MAP: the map lives as long as the program (since v5.10, ef15314aa5de)."""
    bpf(b.BPF_PROG_BIND_MAP, _pack("III", prog_fd, map_fd, 0))


def btf_load(data: Buffer, *, log_level: int = 0, log: bytearray | None = None) -> int:
    """BPF_BTF_LOAD: a descriptor of the types."""
    wanted = log if log_level and log is not None else None
    attr = _pack(
        "QQIII", address_of(data), address_of(wanted), len(data), len(wanted) if wanted is not None else 0,
        log_level if wanted is not None else 0,
    )  # fmt: skip
    return bpf(b.BPF_BTF_LOAD, attr)


# -- names in a bpf file system


def obj_pin(path: str, fd: int, *, folder_fd: int | None = None) -> None:
    """BPF_OBJ_PIN; folder_fd: path is relative to it (since v6.5, cb8edce28073)."""
    name = path.encode() + b"\0"
    if folder_fd is None:
        bpf(b.BPF_OBJ_PIN, _pack("QII", address_of(name), fd, 0))
    else:
        bpf(b.BPF_OBJ_PIN, _pack("QIIi", address_of(name), fd, BPF_F_PATH_FD, folder_fd))


def obj_get(path: str, *, flags: int = 0, folder_fd: int | None = None) -> int:
    """BPF_OBJ_GET: a descriptor of what is pinned there; flags: BPF_F_RDONLY, BPF_F_WRONLY."""
    name = path.encode() + b"\0"
    if folder_fd is None:
        return bpf(b.BPF_OBJ_GET, _pack("QII", address_of(name), 0, flags))
    return bpf(b.BPF_OBJ_GET, _pack("QIIi", address_of(name), 0, flags | BPF_F_PATH_FD, folder_fd))


# -- attaching


def raw_tracepoint_open(name: str, prog_fd: int, *, cookie: int = 0) -> int:
    """BPF_RAW_TRACEPOINT_OPEN: a link; name "": the program knows its target (tp_btf, fentry, LSM)."""
    text = name.encode() + b"\0"
    attr = _pack("QIxxxxQ", address_of(text) if name else 0, prog_fd, cookie)
    return bpf(b.BPF_RAW_TRACEPOINT_OPEN, attr)


def prog_attach(target_fd: int, prog_fd: int, attach_type: int, *, flags: int = 0, replace_fd: int = 0) -> None:
    """BPF_PROG_ATTACH: to a cgroup, sockmap, network namespace."""
    bpf(b.BPF_PROG_ATTACH, _pack("IIIII", target_fd, prog_fd, attach_type, flags, replace_fd))


def prog_detach(target_fd: int, prog_fd: int, attach_type: int) -> None:
    """BPF_PROG_DETACH."""
    bpf(b.BPF_PROG_DETACH, _pack("III", target_fd, prog_fd, attach_type))


def prog_query(target_fd: int, attach_type: int, *, flags: int = 0) -> list[int]:
    """BPF_PROG_QUERY: ids of the programs that are attached there, in order."""
    count = 64
    while True:
        ids = bytearray(4 * count)
        attr = bytearray(_QUERY.pack(target_fd, attach_type, flags, 0, address_of(ids), count, 0, 0, 0, 0))
        try:
            bpf(b.BPF_PROG_QUERY, attr)
        except OSError as error:
            if error.errno != 28:  # ENOSPC
                raise
            count *= 4
            continue
        return list(struct.unpack_from(f"={struct.unpack_from('=I', attr, 24)[0]}I", ids))


def link_create(prog_fd: int, target: int, attach_type: int, *, flags: int = 0, more: bytes = b"") -> int:
    """BPF_LINK_CREATE: a descriptor of the link; target: a descriptor or an interface.

    more: what the kind of link has in union bpf_attr from offset 16 on, as ``*_options`` below make it.
    """
    return bpf(b.BPF_LINK_CREATE, _pack("IIII", prog_fd, target, attach_type, flags) + more)


def perf_event_options(cookie: int) -> bytes:
    """link_create.perf_event: what bpf_get_attach_cookie() gives."""
    return struct.pack("=Q", cookie)


def tracing_options(target_btf_id: int, cookie: int) -> bytes:
    """link_create.tracing: the target, where the program was loaded without one; what the program gets as cookie."""
    return struct.pack("=IxxxxQ", target_btf_id, cookie)


def iter_options(info: bytes | None) -> bytes:
    """link_create.iter_info: union bpf_iter_link_info (a map's descriptor, a task), None for everything."""
    return struct.pack("=QI", address_of(info), len(info)) if info else b""


def kprobe_multi_options(
    count: int, *, symbols: bytes | None = None, addresses: bytes | None = None, cookies: bytes | None = None,
    flags: int = 0,
) -> bytes:  # fmt: skip
    """link_create.kprobe_multi; symbols: an array of char *; addresses, cookies: arrays of u64."""
    return struct.pack("=IIQQQ", flags, count, address_of(symbols), address_of(addresses), address_of(cookies))


def uprobe_multi_options(
    path: bytes, count: int, offsets: bytes, *, semaphores: bytes | None = None, cookies: bytes | None = None,
    flags: int = 0, pid: int = 0,
) -> bytes:  # fmt: skip
    """link_create.uprobe_multi; path ends in NUL; offsets, semaphores, cookies: arrays of unsigned long and u64."""
    return struct.pack(
        "=QQQQIII", address_of(path), address_of(offsets), address_of(semaphores), address_of(cookies), count, flags,
        pid,
    )  # fmt: skip


def link_update(link_fd: int, prog_fd: int, *, flags: int = 0, old_prog_fd: int = 0) -> None:
    """BPF_LINK_UPDATE: another program behind the same link; flags BPF_F_REPLACE: only if it was old_prog_fd."""
    bpf(b.BPF_LINK_UPDATE, _pack("IIII", link_fd, prog_fd, flags, old_prog_fd))


def link_detach(link_fd: int) -> None:
    """BPF_LINK_DETACH: the link goes on to exist and does nothing.  OSError: EOPNOTSUPP for most kinds."""
    bpf(b.BPF_LINK_DETACH, _pack("I", link_fd))


def iter_create(link_fd: int) -> int:
    """BPF_ITER_CREATE: a descriptor to read(2) the iterator's output from."""
    return bpf(b.BPF_ITER_CREATE, _pack("II", link_fd, 0))


def enable_stats() -> int:
    """BPF_ENABLE_STATS: run times of programs are counted while the descriptor is open (since v5.8, d46edd671a14)."""
    return bpf(b.BPF_ENABLE_STATS, _pack("I", b.BPF_STATS_RUN_TIME))


def task_fd_query(pid: int, fd: int) -> tuple[int, int, str, int, int]:
    """BPF_TASK_FD_QUERY: (program, BPF_FD_TYPE_*, name, offset, address) of a perf descriptor of a process."""
    name = bytearray(256)
    attr = _pack("IIIIQIIQQ", pid, fd, 0, len(name), address_of(name), 0, 0, 0, 0)
    bpf(b.BPF_TASK_FD_QUERY, attr)
    program, kind, offset, address = struct.unpack_from("=IIQQ", attr, 24)
    return program, kind, bytes(name).partition(b"\0")[0].decode("utf-8", "replace"), offset, address


# -- what is there


def get_next_id(command: int, after: int) -> int:
    """BPF_*_GET_NEXT_ID: the least id above another.  OSError: ENOENT when there is none."""
    attr = _pack("III", after, 0, 0)
    bpf(command, attr)
    return int(struct.unpack_from("=I", attr, 4)[0])


def get_fd_by_id(command: int, id: int, flags: int = 0) -> int:
    """BPF_*_GET_FD_BY_ID.  OSError: ENOENT when it is gone."""
    return bpf(command, _pack("III", id, 0, flags))


def obj_get_info_by_fd(fd: int, info: bytearray) -> int:
    """BPF_OBJ_GET_INFO_BY_FD: info is read (pointers and lengths of buffers) and written; bytes that the kernel has."""
    attr = _pack("IIQ", fd, len(info), address_of(info))
    bpf(b.BPF_OBJ_GET_INFO_BY_FD, attr)
    return int(struct.unpack_from("=I", attr, 4)[0])
