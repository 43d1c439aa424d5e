"""The descriptor of a map, a program, a link or of types: who opens it closes it."""

from __future__ import annotations

import os
import struct

from linscope.abi import bpf as b
from linscope.sys import bpf as sys_bpf
from linscope.sys.bpf_errors import explain

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_ID_AT = {"map": 4, "program": 4, "link": 4, "BTF": 12}  # in struct bpf_{map,prog,link,btf}_info


class Closing:
    """What is closed at the end of a ``with``."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back what it holds; harmless when repeated."""
        raise NotImplementedError


class Descriptor(Closing):
    """Something that the kernel keeps as long as its descriptor is open (or it is pinned, or used)."""

    __slots__ = ("fd",)
    kind = ""

    def __init__(self, fd: int) -> None:
        """fd: is closed with this object."""
        self.fd = fd

    def fileno(self) -> int:
        """The descriptor, for select and epoll."""
        return self.fd

    def close(self) -> None:
        """Close it; harmless when repeated."""
        fd = self.take()
        if fd >= 0:
            os.close(fd)

    def take(self) -> int:
        """The descriptor, which is the caller's from now on; the object is as closed."""
        fd, self.fd = self.fd, -1
        return fd

    @property
    def id(self) -> int:
        """The kernel's number of it.  Raises SystemCallError."""
        info = bytearray(256)
        try:
            sys_bpf.obj_get_info_by_fd(self.fd, info)
        except OSError as error:
            raise explain(error, f"cannot look at the {self.kind}") from error
        return int(struct.unpack_from("=I", info, _ID_AT[self.kind])[0])

    def pin(self, path: str) -> None:
        """Give it a name in a bpf file system; it then lives until the name is removed.  Raises SystemCallError."""
        try:
            sys_bpf.obj_pin(path, self.fd)
        except OSError as error:
            raise explain(error, f"cannot pin the {self.kind}", where=path, why=_pin_reason(error)) from error


def get_pinned(path: str, flags: int = 0) -> int:
    """A descriptor of what is pinned at a path; flags: BPF_F_RDONLY.  Raises SystemCallError."""
    try:
        return sys_bpf.obj_get(path, flags=flags)
    except OSError as error:
        raise explain(error, "cannot open what is pinned", where=path, why=_pin_reason(error)) from error


def get_by_id(kind: str, id: int) -> int:
    """A descriptor of the "map", "program", "link" or "BTF" of an id.  Raises SystemCallError (ENOENT: gone)."""
    command = {
        "map": b.BPF_MAP_GET_FD_BY_ID, "program": b.BPF_PROG_GET_FD_BY_ID, "link": b.BPF_LINK_GET_FD_BY_ID,
        "BTF": b.BPF_BTF_GET_FD_BY_ID,
    }[kind]  # fmt: skip
    try:
        return sys_bpf.get_fd_by_id(command, id)
    except OSError as error:
        gone = error.errno == 2
        raise explain(error, f"cannot open {kind} {id}", why="there is none of that id" if gone else "") from error


def _pin_reason(error: OSError) -> str:
    # kernel/bpf/inode.c: bpf_obj_do_pin and bpf_obj_do_get return EPERM when the folder is of another file system
    return "its folder is in no bpf file system" if error.errno == 1 and os.geteuid() == 0 else ""
