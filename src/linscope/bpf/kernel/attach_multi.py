"""Attach to many functions with one call: kprobe_multi, uprobe_multi; sessions run at entry and return.

Source: kernel/trace/bpf_trace.c, bpf_kprobe_multi_link_attach (since v5.18, 0dcac2725406) and
bpf_uprobe_multi_link_attach (since v6.6, 89ae89f53d20).
"""

from __future__ import annotations

import ctypes
import struct

from linscope.abi import bpf as b
from linscope.bpf.kernel.links import Link
from linscope.errors import UnknownNameError
from linscope.sys import bpf as sys_bpf
from linscope.sys.bpf_errors import ENOTSUPP, explain
from linscope.sys.tracefs import find_tracefs

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence

    from linscope.bpf.kernel.programs import KernelProgram


def _numbers(values: Sequence[int] | None) -> bytes | None:
    return struct.pack(f"={len(values)}Q", *values) if values else None


def attach_kprobe_multi(
    program: KernelProgram, symbols: Sequence[str] = (), *, addresses: Sequence[int] = (), retprobe: bool = False,
    session: bool = False, cookies: Sequence[int] | None = None,
) -> Link:  # fmt: skip
    """Run a program at kernel functions, by names or by addresses; cookies: one for each.

    Raises NotInKernel: older than v5.18, or without CONFIG_FPROBE; SystemCallError: a function is not there.
    """
    texts = [name.encode() for name in symbols]
    array = (ctypes.c_char_p * len(texts))(*texts)
    names = bytes(array) if texts else None
    more = sys_bpf.kprobe_multi_options(
        len(texts) or len(addresses), symbols=names, addresses=(places := _numbers(addresses)),
        cookies=(marks := _numbers(cookies)), flags=b.BPF_F_KPROBE_MULTI_RETURN if retprobe else 0,
    )  # fmt: skip
    kind = b.BPF_TRACE_KPROBE_SESSION if session else b.BPF_TRACE_KPROBE_MULTI
    try:
        return Link(sys_bpf.link_create(program.fd, 0, kind, more=more), "kprobe_multi")
    except OSError as error:
        what = f"cannot attach {program.name!r} to {len(texts) or len(addresses)} kernel functions"
        if error.errno == 3:  # ESRCH
            raise explain(error, what, why="one of them is not there, or takes no probe") from error
        since = "v6.10" if session else "v5.18"
        raise explain(error, what, config="CONFIG_FPROBE", since=since) from error
    finally:
        del places, marks  # what the addresses in more point to lives until here


def attach_uprobe_multi(
    program: KernelProgram, path: str, offsets: Sequence[int], *, semaphores: Sequence[int] | None = None,
    cookies: Sequence[int] | None = None, retprobe: bool = False, session: bool = False, pid: int = 0,
) -> Link:  # fmt: skip
    """Run a program at places of a file; semaphores, cookies: one for each; pid: 0 for all processes.

    Raises NotInKernel: older than v6.6 (attach each by ``attach_perf.attach_uprobe`` then), SystemCallError.
    """
    name = path.encode() + b"\0"
    places, counters, marks = _numbers(offsets) or b"", _numbers(semaphores), _numbers(cookies)
    more = sys_bpf.uprobe_multi_options(
        name, len(offsets), places, semaphores=counters, cookies=marks, pid=pid,
        flags=b.BPF_F_UPROBE_MULTI_RETURN if retprobe else 0,
    )  # fmt: skip
    kind = b.BPF_TRACE_UPROBE_SESSION if session else b.BPF_TRACE_UPROBE_MULTI
    try:
        return Link(sys_bpf.link_create(program.fd, 0, kind, more=more), "uprobe_multi")
    except OSError as error:
        what = f"cannot attach {program.name!r} to {len(offsets)} places of {path}"
        if error.errno in (2, 3):  # ENOENT, ESRCH
            raise explain(error, what, why="there is no such file or process") from error
        if error.errno == ENOTSUPP:
            raise explain(error, what, why="the instruction at one of them takes no probe") from error
        raise explain(error, what, config="CONFIG_UPROBES", since="v6.13" if session else "v6.6") from error


def matching_functions(pattern: str) -> list[str]:
    """Kernel functions that take probes and match "tcp_*".

    Raises UnknownNameError, PermissionDenied (also when the kernel is locked down), NotInKernel.
    """
    from fnmatch import fnmatchcase

    place = f"{find_tracefs()}/available_filter_functions"
    try:
        with open(place, encoding="ascii", errors="replace") as file:
            names = [name for line in file if fnmatchcase(name := line.split()[0], pattern)]
    except OSError as error:
        what = f"cannot find out which kernel functions match {pattern!r}"
        raise explain(error, what, where=place, config="CONFIG_DYNAMIC_FTRACE") from error
    if not names:
        raise UnknownNameError("kernel function", pattern)
    return names
