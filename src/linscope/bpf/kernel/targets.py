"""What a program of BTF's kinds is attached to: a type in the kernel, a module or another program, by name.

Source: kernel/bpf/verifier.c, bpf_check_attach_target: tp_btf takes the typedef "btf_trace_NAME", iterators the
function "bpf_iter_NAME", LSM "bpf_lsm_NAME", all else the function itself.
"""

from __future__ import annotations

import os
import struct

from linscope.abi import bpf as b
from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf import Btf
from linscope.bpf.kernel.types import KernelTypes
from linscope.errors import FormatError, NotInKernel, UnknownNameError
from linscope.sys import bpf as sys_bpf
from linscope.sys.bpf_errors import explain

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.bpf.kernel.descriptor import Descriptor
    from linscope.bpf.kernel.programs import KernelProgram
    from linscope.bpf.program import Program

_FOLDER = "/sys/kernel/btf"
_PREFIXES = {
    b.BPF_TRACE_RAW_TP: ("btf_trace_", "tracepoint", bt.KIND_TYPEDEF),
    b.BPF_TRACE_ITER: ("bpf_iter_", "iterator", bt.KIND_FUNC),
    b.BPF_LSM_MAC: ("bpf_lsm_", "LSM hook", bt.KIND_FUNC),
    b.BPF_LSM_CGROUP: ("bpf_lsm_", "LSM hook", bt.KIND_FUNC),
}


def find_target(
    program: Program, target_program: KernelProgram | None, opened: list[Descriptor]
) -> tuple[int, int]:
    """(type, descriptor of the BTF or the program that it is in; 0: the kernel's own) for BPF_PROG_LOAD.

    Program.target: "function", or "module:function".  opened: takes what must be open until the program is loaded.
    Raises UnknownNameError, NotInKernel (no BTF), SystemCallError.
    """
    if target_program is not None:
        return _in_program(program.target, target_program), target_program.fd
    prefix, what, kind = _PREFIXES.get(program.attach_type, ("", "function", bt.KIND_FUNC))
    module, colon, name = program.target.rpartition(":")
    try:
        kernel = Btf.open(f"{_FOLDER}/vmlinux")
    except FileNotFoundError as error:
        raise NotInKernel(
            f"cannot find {program.target!r}", errno=2, why="the kernel has no types: CONFIG_DEBUG_INFO_BTF is off"
        ) from error
    if not colon or module == "vmlinux":
        found = kernel.find_one(prefix + name, (kind,))
        if found:
            return found, 0
    for each in [module] if colon else _modules():
        try:
            types = Btf.open(f"{_FOLDER}/{each}", kernel)
            found = next((n for n in types.find(prefix + name, (kind,)) if n >= types.first_id), 0)
        except (OSError, FormatError):
            continue
        if found:
            descriptor = _module_types(each)
            opened.append(descriptor)
            return found, descriptor.fd
    raise UnknownNameError(what, program.target, _near(kernel, prefix, name, kind))


def _near(kernel: Btf, prefix: str, name: str, kind: int) -> list[str]:
    """Names that begin as the wanted one does, for the message."""
    begin = prefix + name[:3]
    names = (kernel.name(each) for each in kernel.iter_ids(kind))
    return [each.removeprefix(prefix) for each in names if each.startswith(begin)]


def _modules() -> list[str]:
    with os.scandir(_FOLDER) as entries:
        return sorted({each.name for each in entries} - {"vmlinux"})


def iter_kernel_types() -> Iterator[KernelTypes]:
    """All BTF that is in the kernel, which closes when the next is taken.  Raises SystemCallError."""
    number = 0
    while True:
        try:
            number = sys_bpf.get_next_id(b.BPF_BTF_GET_NEXT_ID, number)
            with KernelTypes(sys_bpf.get_fd_by_id(b.BPF_BTF_GET_FD_BY_ID, number)) as types:
                yield types
        except FileNotFoundError:
            return
        except OSError as error:
            raise explain(error, "cannot list the kernel's BTF") from error


def _module_types(module: str) -> KernelTypes:
    for types in iter_kernel_types():
        _number, name, kernel, _size = types.info()
        if kernel and name == module:
            return KernelTypes(os.dup(types.fd))
    raise NotInKernel(f"the kernel has no types of the module {module!r}", why="CONFIG_DEBUG_INFO_BTF_MODULES is off")


def _in_program(name: str, target: KernelProgram) -> int:
    """The function of a loaded program, by the program's own types; name "": its main function."""
    info = bytearray(256)
    try:
        sys_bpf.obj_get_info_by_fd(target.fd, info)
    except OSError as error:
        raise explain(error, "cannot look at the program") from error
    number = struct.unpack_from("=I", info, 128)[0]
    if not number:
        raise UnknownNameError("function", name or target.name, next_step="load the target program with its BTF")
    with KernelTypes.by_id(number) as types:
        btf = types.read()
    wanted = name or target.name
    found = btf.find_one(wanted, (bt.KIND_FUNC,))
    if not found:
        raise UnknownNameError("function", wanted, (btf.name(each) for each in btf.iter_ids(bt.KIND_FUNC)))
    return found
