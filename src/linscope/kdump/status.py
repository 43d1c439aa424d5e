"""Would a crash of this machine be captured?  Everything that decides it, each with what to change.

Source: Documentation/admin-guide/kdump/kdump.rst, Documentation/admin-guide/sysctl/kernel.rst,
Documentation/ABI/testing/sysfs-kernel-kexec-kdump.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from linscope.bpf.kernel.running import RunningKernel
from linscope.errors import LinscopeError
from linscope.kdump.image import find_image
from linscope.units import format_bytes

_SYSTEM = Path("/")
_OPTIONS = ("KEXEC_FILE", "CRASH_DUMP", "PROC_VMCORE", "RELOCATABLE")
# Sysctls that turn a trouble into a crash, or decide what follows it: name -> what it is for
_PANICS = {
    "kernel.panic_on_oops": "a bug in the kernel (oops) becomes a crash",
    "kernel.panic_on_warn": "a warning becomes a crash",
    "kernel.hung_task_panic": "a task that hangs in the kernel becomes a crash",
    "kernel.softlockup_panic": "a CPU that hangs in the kernel becomes a crash",
    "kernel.hardlockup_panic": "a CPU that hangs with interrupts off becomes a crash",
    "kernel.panic_on_rcu_stall": "a CPU that RCU waits for becomes a crash",
    "kernel.unknown_nmi_panic": "a non-maskable interrupt (the NMI button) becomes a crash",
    "kernel.panic_on_io_nmi": "an I/O error told by NMI becomes a crash",
    "kernel.panic_on_unrecovered_nmi": "a memory error told by NMI becomes a crash",
    "vm.panic_on_oom": "running out of memory becomes a crash",
}
_RECOMMENDED = ("kernel.panic_on_oops",)
_SERVICES = ("kdump-tools", "kdump")


class Finding(NamedTuple):
    """One thing that was looked at."""

    area: str  # reserve, kernel, loaded, service, target, sysctl
    name: str
    value: str
    works: bool | None  # None: a choice, neither good nor bad
    remedy: str


def iter_findings(target: str, system: Path = _SYSTEM) -> Iterator[Finding]:
    """All, in the order in which a crash meets them.  target: where dumps go; system: the folder to read as /."""
    yield from _reservation(system)
    yield from _kernel(system)
    yield from _loaded(system)
    yield from _services(system)
    yield from _target(target, system)
    yield from _sysctls(system)


def _read(system: Path, path: str) -> str | None:
    """The first line of a small file, None when it cannot be read."""
    try:
        return (system / path).read_text(errors="replace").partition("\n")[0].strip()
    except OSError:
        return None


def memory_ranges(name: str, system: Path = _SYSTEM) -> list[tuple[int, int]]:
    """(first, behind the last) addresses of a kind of memory, "Crash kernel" or "System RAM"; [] when not root."""
    try:
        lines = (system / "proc/iomem").read_text().splitlines()
    except OSError:
        return []
    spans = [line.split(" : ")[0].strip().split("-") for line in lines if line.endswith(f" : {name}")]
    ranges = [(int(first, 16), int(last, 16) + 1) for first, last in spans]
    return [one for one in ranges if one[1] > 1]  # zeros are shown to those who are not root


def _reservation(system: Path) -> Iterator[Finding]:
    words = (_read(system, "proc/cmdline") or "").split()
    asked = " ".join(word for word in words if word.startswith("crashkernel="))
    step = "crashkernel=SIZE on the kernel's command line and a reboot; linscope kdump estimate"
    yield Finding("reserve", "command line", asked or "no crashkernel=", bool(asked), "" if asked else step)
    size = int(_read(system, "sys/kernel/kexec_crash_size") or 0)
    places = ", ".join(f"{first:#x}-{behind:#x}" for first, behind in memory_ranges("Crash kernel", system))
    value = format_bytes(size) + (f" at {places}" if places else "") if size else "none"
    if asked and not size:
        step = "a smaller size, or none so large is free below 4 GB: crashkernel=SIZE,high; see dmesg"
    yield Finding("reserve", "memory", value, size > 0, "" if size else step)


def _kernel(system: Path) -> Iterator[Finding]:
    config = RunningKernel().config() if system == _SYSTEM else None
    for name in _OPTIONS:
        if config is None:
            yield Finding("kernel", f"CONFIG_{name}", "not known", None, "the kernel's configuration is not in /boot")
            continue
        value = config.get(f"CONFIG_{name}", "n")
        yield Finding("kernel", f"CONFIG_{name}", value, value == "y", "" if value == "y" else "another kernel")
    if config is not None and config.get("CONFIG_KEXEC_SIG_FORCE") == "y":
        yield Finding("kernel", "CONFIG_KEXEC_SIG_FORCE", "y", None, "only an image with a trusted signature loads")
    lockdown = _read(system, "sys/kernel/security/lockdown")
    if lockdown is not None:
        free = "[none]" in lockdown
        yield Finding("kernel", "lockdown", lockdown, free, "" if free else "only a signed image loads")
    disabled = _read(system, "proc/sys/kernel/kexec_load_disabled")
    if disabled is not None:
        yield Finding("kernel", "kexec_load_disabled", disabled, disabled == "0", "" if disabled == "0" else "reboot")
    try:
        image = find_image(system=system)
        yield Finding("kernel", "image", str(image.path), True, "")
    except LinscopeError as error:
        yield Finding("kernel", "image", error.what, False, error.next_step)


def _loaded(system: Path) -> Iterator[Finding]:
    loaded = _read(system, "sys/kernel/kexec_crash_loaded")
    if loaded is None:
        yield Finding("loaded", "capture kernel", "this kernel knows no kdump", False, "CONFIG_CRASH_DUMP")
        return
    step = "" if loaded == "1" else "linscope kdump load, or systemctl start kdump-tools"
    yield Finding("loaded", "capture kernel", "loaded" if loaded == "1" else "not loaded", loaded == "1", step)
    after = _read(system, "sys/module/kernel/parameters/crash_kexec_post_notifiers")
    if after is not None:
        value = "after panic notifiers" if after == "Y" else "at once"
        yield Finding("loaded", "starts", value, None, "kernel.crash_kexec_post_notifiers")


def _services(system: Path) -> Iterator[Finding]:
    for name in _SERVICES:
        folders = ("lib/systemd/system", "usr/lib/systemd/system", "etc/systemd/system")
        if not any((system / folder / f"{name}.service").exists() for folder in folders):
            continue
        state = _service_state(name) if (system / "run/systemd/system").is_dir() else "systemd does not run"
        works = state == "active"
        yield Finding("service", name, state, works, "" if works else f"systemctl enable --now {name}")
        return
    yield Finding("service", "kdump-tools", "not installed", None, "not needed with linscope kdump load at each boot")


def _service_state(name: str) -> str:
    try:
        done = subprocess.run(
            ["systemctl", "is-active", name], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def kernel_memory_bytes(system: Path = _SYSTEM) -> int:
    """What a dump of level 31 has to hold at most: memory that is neither free, nor of files, nor of processes."""
    values: dict[str, int] = {}
    try:
        for line in (system / "proc/meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            values[name] = int(rest.split()[0]) << 10
    except OSError:
        return 0
    total = sum(behind - first for first, behind in memory_ranges("System RAM", system))
    total -= sum(behind - first for first, behind in memory_ranges("Crash kernel", system))
    others = ("MemFree", "Buffers", "Cached", "SwapCached", "AnonPages")
    return max((total or values.get("MemTotal", 0)) - sum(values.get(name, 0) for name in others), 0)


def _target(target: str, system: Path) -> Iterator[Finding]:
    place = system / target.lstrip("/")
    existing = next((folder for folder in (place, *place.parents) if folder.is_dir()), None)
    if existing is None:
        yield Finding("target", target, "no such folder", False, f"mkdir -p {target}")
        return
    free = shutil.disk_usage(existing).free
    needed = kernel_memory_bytes(system) // 2
    enough = free > needed
    value = f"{format_bytes(free)} free; a dump takes about {format_bytes(needed)}"
    yield Finding("target", target, value, enough, "" if enough else "remove old dumps, or another --target")
    if os.access(existing, os.W_OK) or os.geteuid() != 0:
        return
    yield Finding("target", "writable", "no", False, "another --target")


def _sysctls(system: Path) -> Iterator[Finding]:
    for name, meaning in _PANICS.items():
        value = _read(system, "proc/sys/" + name.replace(".", "/"))
        if value is None:
            continue
        wanted = name in _RECOMMENDED and value == "0"
        remedy = f"sysctl {name}=1: {meaning}" if wanted else meaning
        yield Finding("sysctl", name, value, False if wanted else None, remedy)
    sysrq = _read(system, "proc/sys/kernel/sysrq")
    if sysrq is not None:
        may = sysrq.isdigit() and (sysrq == "1" or bool(int(sysrq) & 8))
        meaning = "Alt-SysRq-c crashes" if may else "sysctl kernel.sysrq=1: crash a hanging machine by the keyboard"
        yield Finding("sysctl", "kernel.sysrq", sysrq, None, meaning)
    seconds = _read(system, "proc/sys/kernel/panic")
    if seconds is not None:
        yield Finding("sysctl", "kernel.panic", seconds, None, "seconds until a reboot, where nothing is loaded")
