"""Iterators: programs that the kernel runs for each task, map entry, socket..., and whose output is read.

Source: Documentation/bpf/bpf_iterators.rst; include/uapi/linux/bpf.h, union bpf_iter_link_info.
"""

from __future__ import annotations

import os
import struct

from linscope.abi import bpf as b
from linscope.bpf.kernel.links import Link
from linscope.sys import bpf as sys_bpf
from linscope.sys.bpf_errors import explain

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.kernel.maps import KernelMap
    from linscope.bpf.kernel.programs import KernelProgram


def attach_iterator(
    program: KernelProgram, *, map: KernelMap | None = None, tid: int = 0, pid: int = 0
) -> Link:
    """An iterator, to be run by ``read_iterator``.

    map: whose entries it goes over; tid, pid: of the only task, the only process that it visits (since v6.1,
    f0d74c4da1f0).  Raises SystemCallError.
    """
    info: bytes | None = None
    if map is not None:
        info = struct.pack("=IIII", map.fd, 0, 0, 0)
    elif tid or pid:
        info = struct.pack("=IIII", tid, pid, 0, 0)
    try:
        more = sys_bpf.iter_options(info)
        return Link(sys_bpf.link_create(program.fd, 0, b.BPF_TRACE_ITER, more=more), "iter")
    except OSError as error:
        since = "v6.1" if tid or pid else "v5.8"
        raise explain(error, f"cannot attach the iterator {program.name!r}", since=since) from error


def read_iterator(link: Link) -> bytes:
    """Run it once; all that the program wrote.  Raises SystemCallError."""
    try:
        fd = sys_bpf.iter_create(link.fd)
        try:
            parts = []
            while part := os.read(fd, 1 << 16):
                parts.append(part)
            return b"".join(parts)
        finally:
            os.close(fd)
    except OSError as error:
        raise explain(error, "cannot run the iterator") from error
