"""Why the kernel does not take a probe: what is missing in it, or what may have been meant.

Looked into only when something went wrong; errors of attaching (bpf/kernel) say the rest.
"""

from __future__ import annotations

import os

from linscope.lang.probes import kernel_names as kernel

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

    from linscope.lang.probe import Probe

_PMUS = "/sys/bus/event_source/devices"
_BLACKLIST = "/sys/kernel/debug/kprobes/blacklist"


def explain(probe: Probe) -> str:
    """Why a probe cannot be here, and what would allow it or may have been meant; "" when nothing is known."""
    look = _REASONS.get(probe.kind)
    return look(probe) if look is not None else ""


def missing_kind(kind: str) -> str:
    """Why there can be no probes of a kind in this kernel, and what would allow them; "" when there can be some."""
    if kind in ("kprobe", "kretprobe") and not kernel.has_kprobes():
        return "the kernel has no kprobes: CONFIG_KPROBES and CONFIG_KPROBE_EVENTS are off"
    if kind in ("uprobe", "uretprobe", "usdt") and not os.path.exists(f"{_PMUS}/uprobe/type"):
        return "the kernel has no uprobes: CONFIG_UPROBES and CONFIG_UPROBE_EVENTS are off"
    if kind in ("fentry", "fexit", "rawtracepoint", "iter") and not os.path.exists("/sys/kernel/btf/vmlinux"):
        return "the kernel has no types: CONFIG_DEBUG_INFO_BTF is off"
    if kind == "hardware" and not _has_hardware_counters():
        return "this machine has no counters of its own: the virtual machine hides them, or the driver is missing"
    return ""


def _has_hardware_counters() -> bool:
    try:
        names = os.listdir(_PMUS)  # noqa: PTH208 - pathlib takes 10 ms to import
    except OSError:
        return False
    return any(name == "cpu" or name.startswith(("cpu_", "armv", "riscv")) for name in names)


def _kprobe(probe: Probe) -> str:
    return missing_kind(probe.kind) or _function(probe)


def _function(probe: Probe) -> str:
    """By the kernel's symbols: there is no such function, or it takes no probe."""
    name = probe.target
    if not name:
        return ""
    try:
        with open("/proc/kallsyms", "rb") as file:
            data = file.read()
    except OSError:
        return ""
    kinds, owners = set(), set()
    for line in kernel.lines_with(data, name):
        words = line.decode("ascii", "replace").split()
        if len(words) > 2 and words[2] == name:
            kinds.add(words[1].lower())
            owners.add(words[3].strip("[]") if len(words) > 3 else kernel.VMLINUX)
    if not kinds:
        return _near_function(name, data)
    if not kinds & {"t", "w"}:
        return f"{name} is no function"
    if probe.module and probe.module not in owners:
        return f"{name} is not in {probe.module}, but in {' and '.join(sorted(owners))}"
    if probe.kind.startswith(("kprobe", "kretprobe")) and _is_blacklisted(name):
        return f"{name} takes no probe: the kernel needs it for probes"
    return _not_traceable(name) if probe.kind in ("fentry", "fexit") or not probe.offset else ""


def _near_function(name: str, data: bytes) -> str:
    """Compiled under another name (a clone of the compiler's), or a name that is near."""
    pieces = {
        words[2] for line in kernel.lines_with(data, f"{name}.*")
        if len(words := line.decode("ascii", "replace").split()) > 2 and words[2].startswith(name + ".")
    }  # fmt: skip
    if pieces:
        return f"the compiler has made {' and '.join(sorted(pieces)[:3])} of it"
    from linscope.bpf.kernel.near_names import near_functions

    near = near_functions(name)
    return f"there is no function of that name{': ' + near if near else ', or it is inlined everywhere'}"


def _is_blacklisted(name: str) -> bool:
    try:
        with open(_BLACKLIST, encoding="ascii", errors="replace") as file:
            return any(line.split()[-1:] == [name] for line in file)
    except OSError:
        return False


def _not_traceable(name: str) -> str:
    """By ftrace's list, where that can be read."""
    try:
        with open(kernel.tracing_folder() + "/available_filter_functions", "rb") as file:
            data = file.read()
    except OSError:
        return ""
    if not data or any(line.split()[:1] == [name.encode()] for line in kernel.lines_with(data, name)):
        return ""
    return f"{name} is marked notrace, or was compiled without room for a probe"


def _fentry(probe: Probe) -> str:
    missing = missing_kind(probe.kind)
    if missing or probe.module == "bpf":
        return missing
    if not _is_described(probe.target):
        return _function(probe) or f"BTF does not describe {probe.target}; kprobe:{probe.target} may do"
    return _not_traceable(probe.target) or (
        "the kernel changes no code of its own: it is locked down, or CONFIG_FUNCTION_TRACER is off"
    )


def _is_described(name: str) -> bool:
    from linscope.binfmt.btf_types import KIND_FUNC

    return any(btf.find_one(name, (KIND_FUNC,)) for _, btf in kernel.iter_btf())


def _rawtracepoint(probe: Probe) -> str:
    missing = missing_kind(probe.kind)
    if missing or kernel.match_raw_tracepoints("*", probe.target):
        return missing
    from linscope.lang.probes.problems import near

    names = [name for _, name in kernel.match_raw_tracepoints("*", "*")]
    return near(probe.target, names, "rawtracepoint:") or "there is no raw tracepoint of that name"


def _kind_only(probe: Probe) -> str:
    return missing_kind(probe.kind)


_REASONS: dict[str, Callable[[Probe], str]] = {
    "kprobe": _kprobe, "kretprobe": _kprobe, "fentry": _fentry, "fexit": _fentry, "rawtracepoint": _rawtracepoint,
    "uprobe": _kind_only, "uretprobe": _kind_only, "usdt": _kind_only, "hardware": _kind_only, "iter": _kind_only,
}  # fmt: skip
