"""The running kernel, as objects ask for it: types, settings, addresses; each is read when it is asked for.

Source: libbpf 1.5, src/libbpf.c, bpf_object__resolve_externs, and src/libbpf_probes.c, get_kernel_version.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from linscope.abi import bpf as b
from linscope.binfmt.btf import VMLINUX, Btf
from linscope.bpf.instructions import Instruction, encode
from linscope.bpf.objects.target import Target
from linscope.errors import FormatError
from linscope.sys import bpf as sys_bpf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GET_ATTACH_COOKIE = 174
_ARCHITECTURES = {"x86_64": "x64", "aarch64": "arm64", "s390x": "s390x", "riscv64": "riscv", "i686": "ia32"}


class RunningKernel(Target):
    """The kernel that runs now."""

    def __init__(self) -> None:
        super().__init__()
        self._kernel_types: Btf | None = None
        self._module_types: list[Btf] | None = None
        self._settings: dict[str, str] | None = None

    @property
    def btf(self) -> Btf | None:
        """Its types; None without CONFIG_DEBUG_INFO_BTF."""
        if self._kernel_types is None:
            try:
                self._kernel_types = Btf.open(VMLINUX)
            except FileNotFoundError:
                return None
        return self._kernel_types

    @property
    def modules(self) -> Sequence[Btf]:
        """The types of the modules that are loaded."""
        if self._module_types is None:
            self._module_types = []
            folder = VMLINUX.rpartition("/")[0]
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries if entry.name != "vmlinux")
            for name in names:
                try:
                    self._module_types.append(Btf.open(f"{folder}/{name}", self.btf))
                except (OSError, FormatError):
                    continue  # unloaded since, or built for another kernel
        return self._module_types

    def config(self) -> Mapping[str, str] | None:
        """Its settings, from /proc/config.gz or /boot; None when neither is there."""
        if self._settings is None:
            text = _read_config()
            if text is None:
                return None
            pairs = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
            self._settings = {name: value for name, mark, value in pairs if mark}
        return self._settings

    def addresses(self, names: set[str]) -> Mapping[str, int] | None:
        """Addresses of symbols of the kernel and its modules; None when they are hidden (kernel.kptr_restrict)."""
        with open("/proc/kallsyms", "rb") as file:
            table = file.read()
        found: dict[str, int] = {}
        for name in names:
            for end in (b"\n", b"\t"):
                at = table.find(b" " + name.encode() + end)
                if at >= 0:
                    begin = table.rfind(b"\n", 0, at) + 1
                    found.setdefault(name, int(table[begin : table.find(b" ", begin)], 16))
        if found and not any(found.values()):
            return None
        return found

    def fact(self, name: str) -> int | None:
        """LINUX_KERNEL_VERSION as KERNEL_VERSION() makes it, LINUX_HAS_BPF_COOKIE, LINUX_HAS_SYSCALL_WRAPPER."""
        if name == "LINUX_KERNEL_VERSION":
            return kernel_version()
        if name == "LINUX_HAS_BPF_COOKIE":
            return int(_has_cookie())
        if name == "LINUX_HAS_SYSCALL_WRAPPER":
            return int(bool(self.addresses({f"__{_ARCHITECTURES.get(os.uname().machine, '')}_sys_bpf"})))
        return None


def kernel_version() -> int:
    """The kernel's version as programs compare it; only for them: what it can do is found by trying."""
    uname = os.uname()
    text = uname.version.partition("Debian ")[2] or uname.release  # Debian's release names no patch level
    numbers = []
    for part in text.split(".")[:3]:
        digits = ""
        for character in part:
            if not character.isdigit():
                break
            digits += character
        numbers.append(int(digits or "0"))
    major, minor, patch = (*numbers, 0, 0)[:3]
    return major << 16 | minor << 8 | min(patch, 255)


def syscall_symbol(name: str) -> str:
    """The function of a system call in this kernel: "__x64_sys_openat" for "openat", "sys_openat" in older ones."""
    architecture = _ARCHITECTURES.get(os.uname().machine, "")
    wrapped = f"__{architecture}_sys_{name}"
    return wrapped if RunningKernel().addresses({wrapped}) != {} else f"sys_{name}"


def _has_cookie() -> bool:
    """Whether bpf_get_attach_cookie() is there: a program that calls it loads (since v5.15, 7adfc6c9b315)."""
    code = [Instruction(b.BPF_JMP | b.BPF_CALL, 0, 0, 0, _GET_ATTACH_COOKIE), Instruction(0x95, 0, 0, 0, 0)]
    try:
        os.close(sys_bpf.prog_load(b.BPF_PROG_TYPE_TRACEPOINT, encode(code), "GPL"))
    except OSError:
        return False
    return True


def _read_config() -> str | None:
    import gzip

    try:
        with gzip.open("/proc/config.gz", "rt", encoding="utf-8", errors="replace") as packed:
            return packed.read()
    except OSError:
        pass
    try:
        with open(f"/boot/config-{os.uname().release}", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None
