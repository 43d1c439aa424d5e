"""What kdump finds on made-up machines: reservation, settings, mounts, disks with their modules, kernel images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kernel_images import bzimage

from linscope.errors import FormatError, InputError, LinscopeError, UnsupportedError
from linscope.kdump import status
from linscope.kdump.image import find_image, read_image
from linscope.kdump.load import capture_command_line, find_busybox
from linscope.kdump.mounts import Modules, find_disk, mount_of, read_mounts

MOUNTINFO = """\
22 1 253:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
23 22 0:21 / /proc rw,nosuid - proc proc rw
24 22 8:17 / /srv/with\\040blank rw,relatime - xfs /dev/sdb1 rw
25 22 0:44 /@home /home rw,relatime - btrfs /dev/sdb2 rw,space_cache,subvolid=257,subvol=/@home
26 22 253:0 / /var rw - ext4 /dev/mapper/vg-var rw
27 22 0:50 / /tmp rw - tmpfs tmpfs rw
28 22 253:1 /data /opt rw - ext4 /dev/vda1 rw
29 22 0:60 / /mnt/nfs rw - nfs4 server:/export rw,vers=4.2
30 22 8:33 / /old rw - ext4 /dev/sdc1 rw
31 22 8:17 / /old rw - xfs /dev/sdb1 rw
"""


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A machine with a virtio disk, a SCSI disk, and one behind device mapper."""
    write(tmp_path, {"proc/self/mountinfo": MOUNTINFO})
    drivers = tmp_path / "sys/bus/drivers"
    chain = {
        "pci0000:00/0000:00:05.0": ("virtio-pci", "virtio_pci"),
        "pci0000:00/0000:00:05.0/virtio2": ("virtio_blk", "virtio_blk"),
        "pci0000:00/0000:00:1f.2": ("ahci", "ahci"),
        "pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0": ("sd", None),
    }
    for place, (driver, module) in chain.items():
        folder = tmp_path / "sys/devices" / place
        folder.mkdir(parents=True)
        (drivers / driver).mkdir(parents=True, exist_ok=True)
        (folder / "driver").symlink_to(drivers / driver)
        if module:
            (tmp_path / "sys/module" / module).mkdir(parents=True, exist_ok=True)
            (drivers / driver / "module").symlink_to(tmp_path / "sys/module" / module)
    disks = {
        "253:1": "pci0000:00/0000:00:05.0/virtio2/block/vda/vda1",
        "8:17": "pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sdb/sdb1",
        "253:0": "virtual/block/dm-0",
    }
    for number, place in disks.items():
        folder = tmp_path / "sys/devices" / place
        write(folder, {"dev": f"{number}\n"})
        link = tmp_path / "sys/dev/block" / number
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder)
    return tmp_path


def test_mounts(system: Path) -> None:
    mounts = read_mounts(system)
    assert mount_of("/etc/fstab", mounts).source == "/dev/vda1"
    assert mount_of("/srv/with blank/x/y", mounts).point == "/srv/with blank"
    assert mount_of("/srv/with", mounts).point == "/"
    assert mount_of("/old/file", mounts).kind == "xfs"  # the later one hides the other
    with pytest.raises(InputError, match="cannot read the mounts"):
        read_mounts(system / "nowhere")


def test_disks(system: Path) -> None:
    mounts = read_mounts(system)
    assert find_disk(mount_of("/", mounts), system) == ("/dev/vda1", "ext4", "", ["virtio_pci", "virtio_blk", "ext4"])
    assert find_disk(mount_of("/srv/with blank", mounts), system)[1:] == ("xfs", "", ["ahci", "sd_mod", "xfs"])


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/tmp/x", "tmpfs is no file system on a disk"), ("/mnt/nfs", "nfs4 is no file system on a disk"),
        ("/var", "device mapper"), ("/opt", "a bind mount of /data"), ("/home", "/dev/sdb2 is no disk"),
    ],
)  # fmt: skip
def test_what_an_initramfs_of_ours_cannot_mount_is_named(system: Path, path: str, what: str) -> None:
    mounts = [mount for mount in read_mounts(system) if mount.point != "/tmp" or path.startswith("/tmp")]
    with pytest.raises(UnsupportedError, match=what) as caught:
        find_disk(mount_of(path, mounts), system)
    assert "--initrd" in caught.value.next_step


def test_disks_have_the_name_that_lasts(system: Path) -> None:
    """/dev/null stands for a disk: making one takes root."""
    number = "1:3"
    link = system / "sys/dev/block" / number
    link.symlink_to((system / "sys/dev/block/253:1").resolve())
    write((system / "sys/dev/block/253:1").resolve(), {"dev": f"{number}\n"})
    folder = system / "dev/disk/by-uuid"
    folder.mkdir(parents=True)
    (folder / "dead-beef").symlink_to("/nowhere")
    (folder / "fade-cafe").symlink_to("/dev/null")
    mount = mount_of("/", read_mounts(system))._replace(device=number)
    assert find_disk(mount, system).source == "UUID=fade-cafe"


def test_modules_come_behind_what_they_need(tmp_path: Path) -> None:
    write(tmp_path, {
        "modules.dep": "kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2.ko.xz kernel/lib/crc16.ko.xz\nkernel/fs/jbd2.ko.xz:\n"
        "kernel/lib/crc16.ko.xz:\nkernel/drivers/virtio-blk.ko: kernel/virtio.ko\nkernel/virtio.ko:\n"
        "kernel/crypto/crc32c-intel.ko:\nkernel/a.ko: kernel/b.ko\nkernel/b.ko: kernel/a.ko\n",
        "modules.softdep": "# a comment\nsoftdep ext4 pre: crc32c post: other\n",
        "modules.alias": "alias pci:v00001AF4* virtio_pci\nalias crc32c crc32c_intel\nalias fs-ext4 ext4\n",
    })  # fmt: skip
    modules = Modules(tmp_path)
    names = [path.name for path in modules.closure(["virtio_blk", "ext4", "built-in", "jbd2", "a"])]
    assert names == ["virtio.ko", "virtio-blk.ko", "crc32c-intel.ko", "crc16.ko.xz", "jbd2.ko.xz", "ext4.ko.xz",
                     "b.ko", "a.ko"]  # fmt: skip
    with pytest.raises(LinscopeError, match="cannot read what modules need"):
        Modules(tmp_path / "none")


def test_kernel_images(tmp_path: Path) -> None:
    release = os.uname().release
    with pytest.raises(LinscopeError, match="no image of the running kernel") as caught:
        find_image(system=tmp_path)
    assert "--kernel" in caught.value.next_step
    (tmp_path / "boot").mkdir()
    (tmp_path / f"boot/vmlinuz-{release}").write_bytes(bzimage(release))
    found = find_image(system=tmp_path)
    assert (found.release, found.memory_bytes) == (release, 50 << 20)
    (tmp_path / "text").write_text("no kernel")
    with pytest.raises(FormatError, match="no bzImage"):
        read_image(tmp_path / "text")
    with pytest.raises(InputError, match="cannot read the kernel's image"):
        find_image(str(tmp_path / "none"))


def test_the_command_line_of_the_capture_kernel() -> None:
    running = "BOOT_IMAGE=/vmlinuz root=UUID=1 ro quiet crashkernel=256M hugepages=64 isolcpus=2 nohz_full=2 mce=off"
    words = capture_command_line(running, "nokaslr x=1").split()
    assert words[:3] == ["root=UUID=1", "ro", "quiet"]
    assert not any(word.startswith(("crashkernel", "BOOT_IMAGE", "hugepages", "isolcpus", "nohz")) for word in words)
    assert {"nr_cpus=1", "irqpoll", "reset_devices", "panic=10"} <= set(words)
    assert words[-2:] == ["nokaslr", "x=1"]
    assert words.count("mce=off") == 1
    assert "panic=10" not in capture_command_line("panic=-1")


def test_a_busybox_is_static() -> None:
    path = find_busybox(lambda text: None)
    assert path.read_bytes()[:4] == b"\x7fELF"


# -- status


def findings(system: Path, target: str = "/var/crash") -> dict[tuple[str, str], status.Finding]:
    return {(one.area, one.name): one for one in status.iter_findings(target, system)}


READY = {
    "proc/cmdline": "ro crashkernel=192M quiet\n", "sys/kernel/kexec_crash_size": "201326592\n",
    "sys/kernel/kexec_crash_loaded": "1\n", "proc/sys/kernel/kexec_load_disabled": "0\n",
    "sys/kernel/security/lockdown": "[none] integrity confidentiality\n", "proc/sys/kernel/panic_on_oops": "1\n",
    "proc/sys/kernel/hung_task_panic": "0\n", "proc/sys/kernel/sysrq": "1\n", "proc/sys/kernel/panic": "0\n",
    "proc/iomem": "00100000-3fffffff : System RAM\n  2f000000-3affffff : Crash kernel\n",
    "sys/module/kernel/parameters/crash_kexec_post_notifiers": "N\n",
    "lib/systemd/system/kdump-tools.service": "", "var/crash/x": "",
    "proc/meminfo": "MemTotal: 800000 kB\nMemFree: 500000 kB\nCached: 100000 kB\nBuffers: 0 kB\nAnonPages: 90000 kB\n",
}  # fmt: skip


def test_a_machine_that_is_ready(tmp_path: Path) -> None:
    found = findings(write(tmp_path, READY))
    assert found["reserve", "memory"].value == "192.0 MiB at 0x2f000000-0x3b000000"
    assert found["loaded", "capture kernel"].value == "loaded"
    assert found["loaded", "starts"].value == "at once"
    assert found["service", "kdump-tools"].value == "systemd does not run"
    assert status.kernel_memory_bytes(tmp_path) == (1023 - 192 << 20) - (690_000 << 10)
    write(tmp_path, {"proc/iomem": "00000000-00000000 : System RAM\n"})  # as others than root see it
    assert status.memory_ranges("System RAM", tmp_path) == []
    assert status.kernel_memory_bytes(tmp_path) == 110_000 << 10
    assert found["target", "/var/crash"].works
    bad = [one for one in found.values() if one.works is False]
    assert [(one.area, one.name) for one in bad] == [("kernel", "image"), ("service", "kdump-tools")]


@pytest.mark.parametrize(
    ("file", "text", "area", "name", "remedy"),
    [
        ("proc/cmdline", "ro quiet\n", "reserve", "command line", "crashkernel=SIZE"),
        ("sys/kernel/kexec_crash_size", "0\n", "reserve", "memory", "crashkernel=SIZE,high"),
        ("sys/kernel/kexec_crash_loaded", "0\n", "loaded", "capture kernel", "linscope kdump load"),
        ("proc/sys/kernel/kexec_load_disabled", "1\n", "kernel", "kexec_load_disabled", "reboot"),
        ("sys/kernel/security/lockdown", "none [integrity]\n", "kernel", "lockdown", "signed"),
        ("proc/sys/kernel/panic_on_oops", "0\n", "sysctl", "kernel.panic_on_oops", "sysctl kernel.panic_on_oops=1"),
    ],
)
def test_each_thing_that_is_missing_is_named(
    tmp_path: Path, file: str, text: str, area: str, name: str, remedy: str
) -> None:
    found = findings(write(tmp_path, READY | {file: text}))
    assert found[area, name].works is False
    assert remedy in found[area, name].remedy


def test_a_machine_without_anything(tmp_path: Path) -> None:
    found = findings(tmp_path, "/no/such/folder")
    assert not found["reserve", "memory"].works
    assert "CONFIG_CRASH_DUMP" in found["loaded", "capture kernel"].remedy
    assert found["service", "kdump-tools"].works is None
