"""What there is in this kernel to be attached to: tracepoints, functions, iterators, eBPF programs.

Nothing here is read for a name without wildcards.
"""

from __future__ import annotations

import os

from linscope.lang.definitions.tracepoints import tracing_folder as tracing_folder
from linscope.lang.probes.wildcards import filter_names, has_wildcard, longest_literal, matches

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.binfmt.btf import Btf

_BTF = "/sys/kernel/btf"
_NOT_TRACEABLE = ("__pfx_", "__cfi_", "__probestub_", "__bpf_trace_", "__SCT__", "__traceiter_")
_NO_MODULES = ("bpf", "__builtin__kprobes", "__builtin__ftrace")  # in brackets in kallsyms
VMLINUX = "vmlinux"
ITERATORS = ("task", "task_file", "task_vma")  # those that bpftrace has


# -- tracepoints


def folders(path: str) -> list[str]:
    """The names of the folders in a folder, sorted; none when it cannot be read."""
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
    except OSError:
        return []


def has_tracepoint(system: str, event: str) -> bool:
    """Whether a tracepoint is there."""
    if not system or not event or "/" in system + event:
        return False
    return os.path.exists(f"{tracing_folder()}/events/{system}/{event}/format")


def match_tracepoints(system: str, event: str) -> list[tuple[str, str]]:
    """(subsystem, event) of the tracepoints that two patterns stand for, sorted."""
    events = tracing_folder() + "/events"
    found = []
    for name in filter_names(system, folders(events)) if has_wildcard(system) else [system]:
        if has_wildcard(event):
            found += [(name, one) for one in filter_names(event, folders(f"{events}/{name}"))]
        elif has_tracepoint(name, event):
            found.append((name, event))
    found.sort(key=":".join)  # as bpftrace has them: fib6:x before fib:x
    return [pair for pair in found if pair[0] != "ftrace"]  # formats of ftrace's own records, no tracepoints


# -- functions


def has_kprobes() -> bool:
    """Whether the kernel can put probes on its functions (CONFIG_KPROBES and CONFIG_KPROBE_EVENTS)."""
    return os.path.exists("/sys/bus/event_source/devices/kprobe/type") or os.path.exists(
        tracing_folder() + "/kprobe_events"
    )


def match_functions(module: str, function: str) -> list[tuple[str, str]]:
    """(module, function) of the functions that take a kprobe and that two patterns stand for, sorted, each once.

    module: "" for any.  By ftrace's list, or where that is not to be read by the kernel's symbols.
    """
    try:
        found = _match_traceable(module, function, _read(tracing_folder() + "/available_filter_functions"))
    except OSError:
        found = None
    if found is None:
        try:
            found = _match_symbols(module, function, _read("/proc/kallsyms"))
        except OSError:
            return []
    return sorted(pair for pair in found if ".part." not in pair[1])


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def lines_with(data: bytes, pattern: str) -> Iterator[bytes]:
    """The lines in which the plain part of a pattern occurs; all when it has none."""
    literal = longest_literal(pattern).encode()
    if not literal:
        yield from data.splitlines()
        return
    at = data.find(literal)
    while at >= 0:
        start = data.rfind(b"\n", 0, at) + 1
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        yield data[start:end]
        at = data.find(literal, end)


def _match_traceable(module: str, function: str, data: bytes) -> set[tuple[str, str]] | None:
    """By the lines ``name`` and ``name [module]``; None: the file is empty."""
    found = set()
    for line in lines_with(data, function):
        name, _, owner = line.decode("ascii", "replace").partition(" ")
        pair = owner.strip("[] ") or VMLINUX, name
        if matches(function, name) and (not module or matches(module, pair[0])):
            found.add(pair)
    return found if data else None


def _match_symbols(module: str, function: str, data: bytes) -> set[tuple[str, str]]:
    """By the lines ``address type name`` and ``address type name\\t[module]`` of kallsyms."""
    found = set()
    for line in lines_with(data, function):
        words = line.decode("ascii", "replace").split()
        if len(words) < 3 or words[1] not in "tTwW" or words[2].startswith(_NOT_TRACEABLE) or ".cold" in words[2]:
            continue
        owner = words[3].strip("[]") if len(words) > 3 else VMLINUX
        if owner not in _NO_MODULES and matches(function, words[2]) and (not module or matches(module, owner)):
            found.add((owner, words[2]))
    return found


# -- what BTF knows


def open_btf(base: Btf | None = None, module: str = VMLINUX) -> Btf | None:
    """The BTF of the kernel or of a module; None: there is none."""
    from linscope.binfmt.btf import Btf

    try:
        return Btf.open(f"{_BTF}/{module}", base)
    except OSError:
        return None


def btf_modules() -> list[str]:
    """The modules that have BTF, sorted."""
    try:
        return sorted({entry.name for entry in os.scandir(_BTF)} - {VMLINUX})
    except OSError:
        return []


def iter_btf() -> Iterator[tuple[str, Btf]]:
    """(module, BTF) of the kernel, then of its modules."""
    kernel = open_btf()
    if kernel is None:
        return
    yield VMLINUX, kernel
    for module in btf_modules():
        found = open_btf(kernel, module)
        if found is not None:
            yield module, found


def owners(name: str, kind: int) -> list[str]:
    """The modules whose BTF has a type of a kind (KIND_*) by a name; only vmlinux when that has it, or without BTF."""
    modules = btf_modules()
    kernel = open_btf()
    if kernel is None or kernel.find_one(name, (kind,)):
        return [VMLINUX]
    found = []
    for module in modules:
        btf = open_btf(kernel, module)
        if btf is not None and btf.find_one(name, (kind,)):
            found.append(module)
    return found


def has_function(module: str, name: str) -> bool:
    """Whether the BTF of a module describes a function; also when there is no BTF to ask."""
    from linscope.binfmt.btf_types import KIND_FUNC

    kernel = open_btf()
    if kernel is None:
        return True
    found = kernel if module == VMLINUX else open_btf(kernel, module)
    return found is not None and bool(found.find_one(name, (KIND_FUNC,)))


def iter_names(kind: int, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(module, name without prefix) of the types of a kind (KIND_*) whose names begin with a prefix."""
    for module, btf in iter_btf():
        for _, name in btf.iter_names(kind, prefix):
            yield module, name[len(prefix) :]


def match_btf_functions(module: str, function: str) -> list[tuple[str, str]]:
    """(module, function) of what fentry can be attached to, sorted: BTF describes it, and it is traceable.

    module: "" for any.
    """
    from linscope.binfmt.btf_types import KIND_FUNC

    begin = function if not has_wildcard(function) else function.partition("*")[0].partition("[")[0]
    described = {
        (owner, begin + rest) for owner, rest in iter_names(KIND_FUNC, begin)
        if matches(function, begin + rest) and (not module or matches(module, owner))
    }  # fmt: skip
    return sorted(described & set(match_functions(module, function))) if described else []


def match_raw_tracepoints(module: str, event: str) -> list[tuple[str, str]]:
    """(module, event) of the raw tracepoints that two patterns stand for; sorted."""
    from linscope.binfmt.btf_types import KIND_TYPEDEF

    found = iter_names(KIND_TYPEDEF, "btf_trace_")
    return sorted({pair for pair in found if matches(event, pair[1]) and matches(module or "*", pair[0])})


def has_iterator(name: str) -> bool:
    """Whether the kernel has an iterator; True when nobody can tell."""
    from linscope.binfmt.btf_types import KIND_STRUCT

    btf = open_btf()
    return btf is None or bool(btf.find_one(f"bpf_iter__{name}", (KIND_STRUCT,)))


def all_iterators() -> list[str]:
    """The iterators of this kernel, sorted."""
    from linscope.binfmt.btf_types import KIND_FUNC

    return sorted({name for _, name in iter_names(KIND_FUNC, "bpf_iter_")} & {n for n in ITERATORS if has_iterator(n)})


def bpf_programs() -> Iterator[tuple[int, str]]:
    """(id, name) of the eBPF programs that are loaded; nothing for who may not see them."""
    from linscope.abi import bpf as b
    from linscope.sys import bpf as sys_bpf

    number = 0
    while True:
        try:
            number = sys_bpf.get_next_id(b.BPF_PROG_GET_NEXT_ID, number)
            fd = sys_bpf.get_fd_by_id(b.BPF_PROG_GET_FD_BY_ID, number)
        except OSError:
            return
        try:
            info = bytearray(256)
            sys_bpf.obj_get_info_by_fd(fd, info)
            yield number, info[64:80].split(b"\0")[0].decode("ascii", "replace")  # struct bpf_prog_info, name
        except OSError:
            continue
        finally:
            os.close(fd)
