"""Where a folder lies: mounts, block devices, and the modules that these need.

Source: proc(5), /proc/pid/mountinfo; Documentation/admin-guide/sysfs-rules.rst; modules.dep(5), modules.softdep.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from linscope.errors import InputError, LinscopeError, UnsupportedError

_SYSTEM = Path("/")
_ESCAPE = re.compile(r"\\([0-7]{3})")
_DISK_MODULES = {"sd": "sd_mod", "sr": "sr_mod"}  # drivers whose module has another name
_FILE_SYSTEMS = frozenset(("ext4", "ext3", "ext2", "xfs", "btrfs", "f2fs", "vfat"))
_LAB_TYPES = {"virtiofs": "virtiofs", "9p": "9p"}


class Mount(NamedTuple):
    """A line of /proc/self/mountinfo."""

    device: str  # "253:1", major and minor
    root: str  # folder of the file system that is mounted: "/" for all of it
    point: str
    kind: str  # "ext4"
    source: str  # "/dev/vda1"
    options: str  # of the file system: "rw,subvol=/root"


def read_mounts(system: Path = _SYSTEM) -> list[Mount]:
    """All mounts that this process sees.  Raises InputError.  system: the folder to read as /."""
    place = system / "proc/self/mountinfo"
    try:
        lines = place.read_text(errors="replace").splitlines()
    except OSError as error:
        raise InputError("cannot read the mounts", where=str(place), why=error.strerror or "") from None
    return [_parse(line) for line in lines]


def _parse(line: str) -> Mount:
    words, _, rest = line.partition(" - ")
    _, _, device, root, point = words.split(" ")[:5]
    kind, source, options = rest.split(" ")[:3]
    return Mount(device, _plain(root), _plain(point), kind, _plain(source), options)


def _plain(text: str) -> str:
    """Without the octal escapes of blanks."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def mount_of(path: str, mounts: list[Mount]) -> Mount:
    """The mount that a path, whose last parts need not exist, lies on.  Raises InputError."""
    real = os.path.realpath(path)
    found: Mount | None = None
    for mount in mounts:  # of several at one point, the last hides the others
        inside = real == mount.point or real.startswith(mount.point.rstrip("/") + "/")
        if inside and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    if found is None:
        raise InputError("lies on no mount", where=path)
    return found


class Disk(NamedTuple):
    """A file system on a block device, as an initramfs mounts it."""

    source: str  # "UUID=..." or "/dev/vda1"
    kind: str
    options: str  # of btrfs: its subvolume; "" else
    modules: list[str]  # names of its drivers and of the file system, without those that these need


def is_lab(mount: Mount) -> bool:
    """True for a folder that the lab's guest shares with its host."""
    return mount.kind in _LAB_TYPES


def find_disk(mount: Mount, system: Path = _SYSTEM) -> Disk:
    """How to mount again what a mount shows.  Raises UnsupportedError with what an initramfs of ours cannot do."""
    if mount.kind not in _FILE_SYSTEMS:
        raise UnsupportedError(f"{mount.kind} is no file system on a disk", where=mount.point, next_step=_OTHER_WAY)
    if mount.root != "/" and mount.kind != "btrfs":
        raise UnsupportedError(f"a bind mount of {mount.root}", where=mount.point, next_step=_OTHER_WAY)
    device = _device_folder(mount, system)
    if device.name.startswith(("dm-", "md", "loop", "nbd", "drbd", "rbd")):
        kind = {"dm": "device mapper (LVM, LUKS)", "md": "RAID"}.get(device.name[:2], device.name)
        raise UnsupportedError(f"it lies on {kind}", where=mount.point, next_step=_OTHER_WAY)
    names = [*_driver_modules(device), mount.kind]
    number = (device / "dev").read_text().strip()
    subvolume = next((word for word in mount.options.split(",") if word.startswith("subvol=")), "")
    return Disk(_stable_name(mount.source, number, system), mount.kind, subvolume, names)


_OTHER_WAY = "linscope kdump load --initrd FILE, one of dracut or kdump-tools"


def _device_folder(mount: Mount, system: Path) -> Path:
    """The folder of sysfs of a mount's block device.  Raises UnsupportedError."""
    number = mount.device
    if number.startswith("0:"):  # btrfs has device numbers of its own
        try:
            info = os.stat(system / mount.source.lstrip("/"))
            number = f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
        except OSError:
            number = ""
    folder = system / "sys/dev/block" / number
    if not number or not folder.exists():
        raise UnsupportedError(f"{mount.source} is no disk", where=mount.point, next_step=_OTHER_WAY)
    return folder.resolve()


def _driver_modules(device: Path) -> list[str]:
    """Modules of the drivers from the bus down to a block device; those built in have none."""
    names: list[str] = []
    for folder in [*reversed(device.parents), device]:
        driver = folder / "driver"
        if not driver.is_symlink():
            continue
        module = driver / "module"
        name = module.resolve().name if module.exists() else driver.resolve().name
        names.append(_DISK_MODULES.get(name, name))
    return names


def _stable_name(source: str, number: str, system: Path) -> str:
    """A name that the device has in another kernel, too: by UUID when udev has told it."""
    folder = system / "dev/disk/by-uuid"
    try:
        links = sorted(folder.iterdir())
    except OSError:
        return source
    for link in links:
        try:
            info = os.stat(link)
        except OSError:
            continue
        if f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}" == number:
            return f"UUID={link.name}"
    return source


class Modules:
    """The modules of one kernel: files, and what each needs."""

    def __init__(self, folder: Path) -> None:
        """folder: /lib/modules/RELEASE.  Raises LinscopeError without modules.dep."""
        self.folder = folder
        self._files: dict[str, Path] = {}
        self._needs: dict[str, list[str]] = {}
        self._soft: dict[str, list[str]] = {}
        self._aliases: dict[str, list[str]] = {}
        for line in self._lines("modules.dep", required=True):
            name, _, needs = line.partition(":")
            self._files[_name(name)] = folder / name
            self._needs[_name(name)] = [_name(one) for one in needs.split()]
        for line in self._lines("modules.softdep"):
            words = line.split()
            if words[:1] == ["softdep"] and "pre:" in words:
                before = " ".join(words[words.index("pre:") + 1 :]).partition("post:")[0]
                self._soft[words[1].replace("-", "_")] = before.split()
        for line in self._lines("modules.alias"):
            words = line.split()
            if len(words) == 3 and words[0] == "alias" and not set(words[1]) & set("*[:"):
                self._aliases.setdefault(words[1].replace("-", "_"), []).append(words[2])

    def _lines(self, name: str, *, required: bool = False) -> list[str]:
        try:
            return (self.folder / name).read_text(errors="replace").splitlines()
        except OSError as error:
            if not required:
                return []
            raise LinscopeError(
                "cannot read what modules need", where=str(self.folder / name), why=error.strerror or "",
                next_step="depmod",
            ) from None  # fmt: skip

    def closure(self, names: list[str]) -> list[Path]:
        """Files of the modules of these names and of all that they need, in the order of insertion; none built in."""
        ordered: dict[str, None] = {}

        def add(name: str, above: tuple[str, ...]) -> None:
            name = name.replace("-", "_")
            if name in ordered or name in above:
                return
            if name not in self._files:
                for other in self._aliases.get(name, []):
                    add(other, (*above, name))
                return
            for other in [*self._soft.get(name, []), *reversed(self._needs[name])]:
                add(other, (*above, name))
            ordered[name] = None

        for name in names:
            add(name, ())
        return [self._files[name] for name in ordered]


def _name(path: str) -> str:
    """kernel/drivers/block/virtio-blk.ko.xz -> virtio_blk"""
    return os.path.basename(path).partition(".ko")[0].replace("-", "_")
