"""Load the kernel that captures a crash, with an initramfs made for this machine.

The initramfs has busybox, the modules of the disks with the root file system and the target, and two scripts; linscope
itself runs from the root file system, where it is installed.  In the lab, the root is that of the lab's guests.
Source: Documentation/admin-guide/kdump/kdump.rst, also for the words on the capture kernel's command line.
"""

from __future__ import annotations

import os
import shlex
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from linscope.errors import LinscopeError, PermissionDenied, UnsupportedError
from linscope.kdump.image import KernelImage, find_image
from linscope.kdump.mounts import Disk, Modules, Mount, find_disk, is_lab, mount_of, read_mounts
from linscope.lab.initramfs import MODULES, build_initramfs
from linscope.lab.kernels import busybox
from linscope.sys.kexec import KEXEC_FILE_ON_CRASH, KEXEC_FILE_UNLOAD, kexec_file_load

_HERE = Path(__file__).parent
_SIZE_FILE, _LOADED_FILE = "/sys/kernel/kexec_crash_size", "/sys/kernel/kexec_crash_loaded"
_HEAD = 4096  # of a program: its headers
_PT_INTERP = 3  # include/uapi/linux/elf.h
_MAX_COMMAND_LINE = 2048 - 64  # COMMAND_LINE_SIZE of x86, less what the kernel puts in front: elfcorehdr=
_DROPPED = ("crashkernel=", "BOOT_IMAGE=", "initrd=", "hugepages=", "hugepagesz=", "default_hugepagesz=", "isolcpus=",
            "nohz_full=", "cma=", "nr_cpus=", "maxcpus=")  # fmt: skip
_ADDED = ("nr_cpus=1", "irqpoll", "reset_devices", "cgroup_disable=memory", "mce=off", "numa=off",
          "transparent_hugepage=never")  # fmt: skip
THEN = {"reboot": "b", "poweroff": "o"}  # letters of sysrq


class LoadOptions(NamedTuple):
    """What the capture kernel shall do."""

    target: str = "/var/crash"
    level: int = 31
    compression: str = "zstd"
    makedumpfile: bool = False  # it writes the dump, not linscope
    then: str = "reboot"  # or "poweroff"
    kernel: str = ""  # path of a bzImage; "": the running kernel's
    initrd: str = ""  # path of an initramfs that captures by itself; "": one is made
    append: str = ""  # more for the command line
    command_line: str = ""  # "": made of the running kernel's


class LoadPlan(NamedTuple):
    """What is going to be loaded."""

    image: KernelImage
    initramfs: bytes
    command_line: str
    root: str  # in words, for people
    target: str


def make_plan(options: LoadOptions, say: Callable[[str], None]) -> LoadPlan:
    """All that is loaded; nothing is changed yet.  Raises LinscopeError with the exact thing that is missing."""
    image = find_image(options.kernel)
    running = Path("/proc/cmdline").read_text(encoding="utf-8", errors="replace")
    line = options.command_line or capture_command_line(running, options.append)
    if len(line) > _MAX_COMMAND_LINE:
        raise LinscopeError(f"a command line of {len(line)} bytes", why=f"at most {_MAX_COMMAND_LINE} fit")
    if options.initrd:
        try:
            content = Path(options.initrd).read_bytes()
        except OSError as error:
            why = error.strerror or ""
            raise LinscopeError("cannot read the initramfs", where=options.initrd, why=why) from None
        return LoadPlan(image, content, line, "what the initramfs says", options.target)
    return _with_initramfs(options, image, line, running, say)


def _with_initramfs(
    options: LoadOptions, image: KernelImage, line: str, running: str, say: Callable[[str], None]
) -> LoadPlan:
    mounts = read_mounts()
    folder = Path("/lib/modules") / image.release
    root, target = mount_of("/", mounts), mount_of(options.target, mounts)
    in_lab = root.kind == "overlay" and "lab.root=" in running
    root_disk = target_disk = None
    if not in_lab:
        root_disk = find_disk(root)
        _check_program(root, mounts)
    if target.point != root.point and not (in_lab and is_lab(target)):
        target_disk = find_disk(target)
    elif in_lab and target.point == root.point:
        raise UnsupportedError(
            f"what is written to {options.target} is forgotten with the guest",
            next_step="--target in the folder that the guest shares, or on a disk",
        )
    files = _lab_modules(folder) if in_lab else []
    names = [name for disk in (root_disk, target_disk) if disk for name in disk.modules]
    files += [path for path in Modules(folder).closure(names) if path not in files] if names else []
    agent = _front(options, target_disk, target) + _script("capture-agent.sh")
    access = "rw" if target.point == root.point else "ro"
    init = _disk_front(options, root_disk, access).encode() if root_disk else None
    content = build_initramfs(find_busybox(say), files, agent=agent.encode(), init=init)
    where = f"{root_disk.source} ({root.kind})" if root_disk else "the lab's"
    return LoadPlan(image, content, line, where, options.target)


def _lab_modules(folder: Path) -> list[Path]:
    """The modules that the lab's init inserts."""
    files = {path.name.partition(".")[0]: path for path in folder.rglob("*.ko*")}
    return [files[name] for name in MODULES if name in files]


def _check_program(root: Mount, mounts: list[Mount]) -> None:
    """Python, linscope and what they import have to lie where the capture kernel can read them."""
    import numpy
    import zstandard

    places = [sys.executable, os.__file__, __file__, str(numpy.__file__), str(zstandard.__file__)]
    for place in places:
        mount = mount_of(place, mounts)
        if mount.point != root.point:
            raise UnsupportedError(
                f"{place} lies on {mount.point}, which the capture kernel does not mount",
                next_step="install linscope in the root file system: python3 -m venv /opt/linscope",
            )


def _script(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _front(options: LoadOptions, disk: Disk | None, mount: Mount) -> str:
    """The lines in front of the agent."""
    words = [sys.executable, "-m", "linscope", "kdump", "capture", "--target", options.target, "-d", str(options.level)]
    words += ["-c", options.compression, *(["--makedumpfile"] if options.makedumpfile else [])]
    path = os.environ.get("PYTHONPATH", "")
    command = (f"PYTHONPATH={shlex.quote(path)} " if path else "") + shlex.join(words)
    values = {"command": command, "target": options.target, "away": THEN[options.then], "target_source": ""}
    if disk is not None:
        values |= {
            "target_source": disk.source, "target_kind": disk.kind, "target_point": mount.point,
            "target_options": _mount_options("rw", disk),
        }  # fmt: skip
    return _assignments(values) + _script("mount-disk.sh")


def _disk_front(options: LoadOptions, disk: Disk, access: str) -> str:
    """The init of a capture kernel whose root is on a disk."""
    values = {
        "away": THEN[options.then], "root_source": disk.source, "root_kind": disk.kind,
        "root_options": _mount_options(access, disk),
    }  # fmt: skip
    return "#!/bin/busybox sh\n" + _assignments(values) + _script("mount-disk.sh") + _script("disk-init.sh")


def _mount_options(access: str, disk: Disk) -> str:
    return f"{access},{disk.options}" if disk.options else access


def _assignments(values: dict[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def find_busybox(say: Callable[[str], None]) -> Path:
    """A static busybox: the installed one, else one that is fetched.  Raises LinscopeError."""
    for place in ("/bin/busybox", "/usr/bin/busybox", "/sbin/busybox"):
        path = Path(place)
        if path.is_file() and _is_static(path):
            return path
    try:
        return busybox(say)
    except LinscopeError as error:
        step = "apt-get install busybox-static"
        raise LinscopeError("there is no static busybox for the initramfs", why=error.what, next_step=step) from None


def _is_static(path: Path) -> bool:
    """True for a 64-bit ELF program that names no interpreter."""
    head = path.read_bytes()[:_HEAD]
    if head[:5] != b"\x7fELF\2" or len(head) < 64:
        return False
    start, size, count = *struct.unpack_from("<Q", head, 32), *struct.unpack_from("<HH", head, 54)
    kinds = [struct.unpack_from("<I", head, at)[0] for at in range(start, start + size * count, size or 1)]
    return _PT_INTERP not in kinds


def capture_command_line(running: str, append: str = "") -> str:
    """The capture kernel's, of the running kernel's: without what reserves memory or CPUs, with what one needs."""
    words = [word for word in running.split() if not word.startswith(_DROPPED)]
    words += [word for word in _ADDED if word not in words]
    if not any(word.startswith("panic=") for word in words):
        words.append("panic=10")  # should it crash, too
    return " ".join([*words, *append.split()])


def reserved_bytes() -> int:
    """Memory that is reserved for a capture kernel; 0: none.  Raises LinscopeError when the kernel knows no kdump."""
    return _number(_SIZE_FILE)


def is_loaded() -> bool:
    """True if a capture kernel is loaded."""
    return _number(_LOADED_FILE) != 0


def _number(path: str) -> int:
    try:
        return int(Path(path).read_text())
    except OSError:
        raise LinscopeError("the kernel knows no kdump", why=f"there is no {path}", next_step=_CONFIG) from None


_CONFIG = "a kernel with CONFIG_KEXEC_FILE and CONFIG_CRASH_DUMP"


def load(plan: LoadPlan) -> str:
    """Load it, in place of the one that is loaded; returns what there is to worry about, "" for nothing.

    Raises LinscopeError with the exact thing that is missing.
    """
    from linscope.kdump.estimate import recommend

    reserved, wanted = reserved_bytes(), recommend(plan)
    if not reserved:
        step = f"boot with crashkernel={wanted >> 20}M on the kernel's command line"
        raise LinscopeError("no memory is reserved for a capture kernel", next_step=step)
    _need_root()
    with tempfile.TemporaryDirectory(prefix="linscope-kdump-") as folder:
        path = Path(folder) / "initramfs"
        path.write_bytes(plan.initramfs)
        with plan.image.path.open("rb") as kernel, path.open("rb") as initramfs:  # one that is open to write is busy
            kexec_file_load(kernel.fileno(), initramfs.fileno(), plan.command_line, KEXEC_FILE_ON_CRASH)
    return f"only {reserved >> 20} MB are reserved; {wanted >> 20} MB are estimated" if reserved < wanted else ""


def unload() -> None:
    """Forget the loaded capture kernel.  Raises LinscopeError."""
    reserved_bytes()
    _need_root()
    kexec_file_load(-1, -1, "", KEXEC_FILE_ON_CRASH | KEXEC_FILE_UNLOAD)


def _need_root() -> None:
    if os.geteuid() != 0:
        raise PermissionDenied("only root may load a kernel", errno=1, next_step="run as root")
