"""`linscope trace --info`: what this kernel has that scripts may need."""

from __future__ import annotations

import os


def information() -> str:
    """A line for each feature."""
    from linscope.bpf.kernel.attach_perf import pmu_type
    from linscope.lang.definitions.tracepoints import tracing_folder

    system = os.uname()
    yes = {True: "yes", False: "no"}
    functions = os.path.exists(f"{tracing_folder()}/available_filter_functions")
    features = {
        "btf": os.path.exists("/sys/kernel/btf/vmlinux"),
        "kprobe": pmu_type("kprobe") is not None,
        "kprobe_multi": _has_symbol("bpf_kprobe_multi_link_attach"),
        "kprobe_session": _has_symbol("kprobe_multi_link_exit_handler"),
        "uprobe": pmu_type("uprobe") is not None,
        "uprobe_multi": _has_symbol("bpf_uprobe_multi_link_attach"),
        "function tracer": functions,
        "tracefs": os.path.exists(f"{tracing_folder()}/events"),
    }
    lines = [
        "System", f"  OS: {system.sysname} {system.release} {system.version}", f"  Arch: {system.machine}", "",
        "Kernel features", *(f"  {name}: {yes[there]}" for name, there in features.items()),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _has_symbol(name: str) -> bool:
    """Whether the kernel has a function."""
    from linscope.lang.bpftrace.addresses import kernel_address

    return bool(kernel_address(name))
