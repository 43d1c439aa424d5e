"""Attach to what moves packets and to what groups processes: sockets, interfaces, network namespaces, cgroups.

Source: kernel/bpf/cgroup.c, cgroup_bpf_link_attach; net/core/dev.c, bpf_xdp_link_attach; socket(7), SO_ATTACH_BPF.
"""

from __future__ import annotations

import os
from errno import EINVAL, ENODEV

from linscope.abi import bpf as b
from linscope.bpf.kernel.links import Link
from linscope.sys import bpf as sys_bpf
from linscope.sys.bpf_errors import explain

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    import socket

    from linscope.bpf.kernel.programs import KernelProgram

_SOL_SOCKET, _SO_ATTACH_BPF, _SO_DETACH_FILTER = 1, 50, 27  # include/uapi/asm-generic/socket.h
XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE = 1 << 1, 1 << 2  # include/uapi/linux/if_link.h


def attach_cgroup(program: KernelProgram, path: str, *, attach_type: int | None = None) -> Link:
    """Run a program for a cgroup (version 2) and those in it; path: its folder.

    attach_type: as the program says when None.  By a link, else (before v5.7) by BPF_PROG_ATTACH, which stays when
    this process ends.  Raises SystemCallError.
    """
    kind = program.attach_type if attach_type is None else attach_type
    what = f"cannot attach {program.name!r} to a cgroup"
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise explain(error, what, where=path) from error
    try:
        try:
            return Link(sys_bpf.link_create(program.fd, folder, kind), "cgroup")
        except OSError as error:
            if error.errno != EINVAL:
                raise
        sys_bpf.prog_attach(folder, program.fd, kind, flags=b.BPF_F_ALLOW_MULTI)
        kept = os.dup(folder), os.dup(program.fd)

        def undo() -> None:
            sys_bpf.prog_detach(*kept, kind)
            for fd in kept:
                os.close(fd)

        return Link(-1, "cgroup, without a link", undo=undo)
    except OSError as error:
        why = "it is no cgroup of version 2" if error.errno == 9 else ""  # EBADF
        raise explain(error, what, where=path, config="CONFIG_CGROUP_BPF", net=True, why=why) from error
    finally:
        os.close(folder)


def attach_xdp(program: KernelProgram, interface: int, *, flags: int = 0) -> Link:
    """Run a program for all packets that an interface receives; of this network namespace, by its number.

    flags: XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE.  Raises SystemCallError: EBUSY when it has one.
    """
    try:
        return Link(sys_bpf.link_create(program.fd, interface, b.BPF_XDP, flags=flags), "xdp")
    except OSError as error:
        why = {ENODEV: "there is no interface of that number", 16: "it has an XDP program"}.get(error.errno or 0, "")
        what = f"cannot attach {program.name!r} to interface {interface}"
        raise explain(error, what, net=True, why=why, since="" if why else "v5.9") from error


def attach_netns(program: KernelProgram, path: str) -> Link:
    """Run a flow_dissector or sk_lookup program for a network namespace ("/proc/self/ns/net").

    Raises SystemCallError.
    """
    what = f"cannot attach {program.name!r} to a network namespace"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return Link(sys_bpf.link_create(program.fd, fd, program.attach_type), "netns")
        finally:
            os.close(fd)
    except OSError as error:
        raise explain(error, what, where=path, net=True, since="v5.8") from error


def attach_interface(program: KernelProgram, interface: int, attach_type: int) -> Link:
    """Run a traffic control program at an interface (BPF_TCX_INGRESS, BPF_TCX_EGRESS; since v6.6, e420bed02507).

    Raises NotInKernel, SystemCallError.
    """
    try:
        return Link(sys_bpf.link_create(program.fd, interface, attach_type), "tcx")
    except OSError as error:
        what = f"cannot attach {program.name!r} to interface {interface}"
        why = "there is no interface of that number" if error.errno == ENODEV else ""
        raise explain(error, what, net=True, why=why, since="" if why else "v6.6") from error


def attach_socket(program: KernelProgram, target: socket.socket) -> Link:
    """Let a socket receive only what a socket filter program passes.  Raises SystemCallError."""
    try:
        target.setsockopt(_SOL_SOCKET, _SO_ATTACH_BPF, program.fd)
    except OSError as error:
        raise explain(error, f"cannot attach {program.name!r} to a socket") from error

    def undo() -> None:
        if target.fileno() >= 0:
            target.setsockopt(_SOL_SOCKET, _SO_DETACH_FILTER, 0)

    return Link(-1, "socket", undo=undo)
