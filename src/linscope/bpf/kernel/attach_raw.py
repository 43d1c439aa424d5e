"""Attach to raw tracepoints and to what the verifier knows by BTF: tp_btf, fentry, fexit, fmod_ret, LSM.

Source: kernel/bpf/syscall.c, bpf_raw_tp_link_attach and bpf_tracing_prog_attach.
"""

from __future__ import annotations

from errno import EINVAL, ENOENT

from linscope.bpf.kernel.links import Link
from linscope.sys import bpf as sys_bpf
from linscope.sys.bpf_errors import explain

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.kernel.programs import KernelProgram


def attach_raw_tracepoint(program: KernelProgram, name: str = "", *, cookie: int = 0) -> Link:
    """Run a raw tracepoint program at a tracepoint ("sys_enter", no category).

    name "": as the program says.  cookie: for bpf_get_attach_cookie(), since v6.10 (68ca5d4eebb8).
    Raises SystemCallError: no such tracepoint.
    """
    name = name or program.target
    try:
        return Link(sys_bpf.raw_tracepoint_open(name, program.fd, cookie=cookie), "raw_tracepoint")
    except OSError as error:
        why = ""
        if error.errno == ENOENT:
            from linscope.bpf.kernel.near_names import near_tracepoints

            why = f"there is no tracepoint of that name; {near_tracepoints(name)}".rstrip("; ")
        if error.errno == EINVAL and cookie:
            why = "the running kernel gives raw tracepoints no cookie (since v6.10)"
        raise explain(error, f"cannot attach {program.name!r} to the raw tracepoint {name!r}", why=why) from error


def attach_tracing(program: KernelProgram, *, cookie: int = 0) -> Link:
    """Attach a tp_btf, fentry, fexit, fmod_ret or LSM program to what it was loaded for.

    cookie: for bpf_get_attach_cookie(), since v5.19 (2fcc82411e74).  Raises SystemCallError.
    """
    try:
        if cookie:
            more = sys_bpf.tracing_options(0, cookie)
            return Link(sys_bpf.link_create(program.fd, 0, program.attach_type, more=more), "tracing")
        return Link(sys_bpf.raw_tracepoint_open("", program.fd), "tracing")
    except OSError as error:
        what = f"cannot attach {program.name!r} to {program.target!r}"
        raise explain(error, what, since="v5.19" if cookie and error.errno == EINVAL else "") from error
