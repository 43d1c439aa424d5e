"""Attach as a section's name says: "kprobe/vfs_read", "uprobe//bin/true:main", "perf_event"...

Source: libbpf 1.5, src/libbpf.c, section_defs and the attach functions that it names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linscope.bpf.kernel import attach_multi, attach_perf, attach_raw, iterators
from linscope.bpf.kernel.links import Link
from linscope.bpf.kernel.user_functions import find_file, find_function, find_usdt, match_functions
from linscope.bpf.objects.sections import find_kind
from linscope.errors import NotInKernel, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    T = TypeVar("T")
    from linscope.bpf.kernel.objects import LoadedObject
    from linscope.bpf.kernel.programs import KernelProgram

# they need more than a section can say: an interface, a cgroup, a socket, a counter
_ELSEWHERE = {
    "xdp": "attach_net.attach_xdp", "cgroup": "attach_net.attach_cgroup", "netns": "attach_net.attach_netns",
    "socket": "attach_net.attach_socket", "perf_event": "attach_perf.attach_counter",
}  # fmt: skip


def says_where(section: str) -> bool:
    """Whether a section's name is enough to attach its programs."""
    kind = find_kind(section)
    return kind is not None and bool(kind.target) and bool(kind.attach) and kind.attach not in _ELSEWHERE


def attach_by_section(
    program: KernelProgram, section: str, loaded: LoadedObject | None = None, *, cookie: int = 0, pid: int = -1
) -> Link:
    """Attach a program to what its section names.

    loaded: the object that it is of (USDT programs share maps with it).  Raises UsageError when the section does not
    say where, UnknownNameError, SystemCallError.
    """
    kind = find_kind(section)
    if kind is None or kind.attach in _ELSEWHERE or not kind.attach or not kind.target:
        how = f"linscope.bpf.kernel.{_ELSEWHERE[kind.attach]}" if kind and kind.attach in _ELSEWHERE else ""
        raise UsageError(f"the section {section!r} does not say where {program.name!r} is attached", next_step=how)
    target, how = kind.target, kind.attach
    if how == "raw_tracepoint":
        return attach_raw.attach_raw_tracepoint(program, target, cookie=cookie)
    if how in ("tracing", "freplace"):
        return attach_raw.attach_tracing(program, cookie=cookie)
    if how == "tracepoint":
        category, _, name = target.partition("/")
        return attach_perf.attach_tracepoint(program, category, name, cookie=cookie)
    if how == "iter":
        return iterators.attach_iterator(program)
    if how in ("kprobe", "kretprobe", "ksyscall", "kretsyscall"):
        if how.endswith("syscall"):
            from linscope.bpf.kernel.running import syscall_symbol

            target = syscall_symbol(target)
        symbol, offset = _with_offset(target)
        retprobe = how.startswith("kret")
        return attach_perf.attach_kprobe(program, symbol, offset=offset, retprobe=retprobe, cookie=cookie)
    if how.startswith(("kprobe.", "kretprobe.")):
        return _attach_kprobes(program, how, target, cookie)
    if how == "usdt":
        return _attach_usdt(program, target, loaded, cookie, pid)
    if how.startswith(("uprobe", "uretprobe")):
        return _attach_uprobe(program, how, target, cookie, pid)
    raise UsageError(f"programs of the section {section!r} are not attached here")


def _attach_kprobes(program: KernelProgram, how: str, target: str, cookie: int) -> Link:
    """With one link, else (without CONFIG_FPROBE) function by function; sessions cannot be had so."""
    names = attach_multi.matching_functions(target) if set(target) & set("*?[") else [target]
    retprobe, session = how.startswith("kret"), how.endswith("session")
    try:
        return attach_multi.attach_kprobe_multi(
            program, names, retprobe=retprobe, session=session, cookies=[cookie] * len(names) if cookie else None
        )
    except NotInKernel:
        if session:
            raise
    return _one_by_one(lambda name: attach_perf.attach_kprobe(program, name, retprobe=retprobe, cookie=cookie), names)


def _one_by_one(attach: Callable[[T], Link], places: Sequence[T]) -> Link:
    """A link of many, all or none of which are attached."""
    parts: list[Link] = []
    try:
        for each in places:
            parts.append(attach(each))
    except BaseException:
        for link in parts:
            link.close()
        raise
    return Link(-1, "one by one", parts=parts)


def _with_offset(text: str) -> tuple[str, int]:
    """What "name+0x10" says: name, 16."""
    name, plus, offset = text.partition("+")
    try:
        return name, int(offset, 0) if plus else 0
    except ValueError:
        raise UsageError(f"no offset {offset!r} in {text!r}") from None


def _attach_uprobe(program: KernelProgram, how: str, target: str, cookie: int, pid: int) -> Link:
    file, colon, function = target.rpartition(":")
    if not colon or not file or not function:
        raise UsageError(f"no file and function in {target!r}", next_step="uprobe/FILE:FUNCTION[+OFFSET]")
    path = find_file(file)
    multi = how.endswith((".multi", ".session"))
    retprobe = how.startswith("uretprobe")
    if set(function) & set("*?[") and multi:
        offsets = [offset for _, offset in match_functions(path, function)]
    else:
        name, offset = _with_offset(function)
        offsets = [int(name, 0) if name[:1].isdigit() else find_function(path, name) + offset]

    def attach_one(place: int) -> Link:
        return attach_perf.attach_uprobe(program, path, place, retprobe=retprobe, pid=pid, cookie=cookie)

    if not multi:
        return attach_one(offsets[0])
    session = how.endswith("session")
    try:
        return attach_multi.attach_uprobe_multi(
            program, path, offsets, retprobe=retprobe, session=session, pid=max(pid, 0),
            cookies=[cookie] * len(offsets) if cookie else None,
        )  # fmt: skip
    except NotInKernel:  # before v6.6
        if session:
            raise
    return _one_by_one(attach_one, offsets)


def _attach_usdt(program: KernelProgram, target: str, loaded: LoadedObject | None, cookie: int, pid: int) -> Link:
    from linscope.bpf.kernel.usdt import attach_usdt

    file, _, probe = target.partition(":")
    provider, colon, name = probe.partition(":")
    if not colon:
        raise UsageError(f"no provider and name in {target!r}", next_step="usdt/FILE:PROVIDER:NAME")
    path = find_file(file)
    maps, known = (loaded.maps, loaded.usdt_specs) if loaded is not None else ({}, {})
    return attach_usdt(program, path, find_usdt(path, provider, name), maps, known=known, cookie=cookie, pid=pid)
