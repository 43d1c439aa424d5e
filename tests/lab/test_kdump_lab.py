"""A kernel crashes, another one captures it, the dump is read here: all of kdump in one command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from disk_root import list_folder, make_disk_root, take_file

from linscope.kernel.task import iter_tasks
from linscope.lab.guest import Guest, GuestOptions
from linscope.memory import open_memory
from linscope.sys.folders import cache_folder
from linscope.target.kernel import open_kernel

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
CRASH = "sync; echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger"
IN_DISK = """set -e
modprobe virtio_blk
modprobe ext4
mkdir -p /mnt/disk
mount /dev/vda /mnt/disk
for folder in proc sys dev run "lib/modules"; do
    mount --rbind "/$folder" "/mnt/disk/$folder"
done
exec chroot /mnt/disk $linscope kdump load --kernel $kernel --then poweroff
"""


@pytest.fixture(autouse=True)
def need_qemu() -> None:
    """Skip, with the remedy."""
    if shutil.which("qemu-system-x86_64") is None or os.geteuid() != 0:
        pytest.skip("needs root and QEMU: apt-get install qemu-system-x86")


def test_crash_capture_and_look(tmp_path: Path) -> None:
    target = tmp_path / "vmcore"
    command = [sys.executable, "-m", "linscope", "kdump", "test", "--reserve", "192M", "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    steps = [line.split("  ")[0].strip() for line in done.stdout.splitlines()[:4]]
    assert steps == ["boot", "load", "crash and capture", "fetch"]
    assert 'PANIC: "Kernel panic - not syncing: sysrq triggered crash"' in done.stdout
    assert "write_sysrq_trigger at ffffffff" in done.stdout
    assert "The kernel died" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vmcore", "vmcore.log"]
    assert "sysrq: Trigger a crash" in (tmp_path / "vmcore.log").read_text()
    with open_memory(str(target)) as memory:
        assert memory.format == "kdump-compressed, zstd"
        assert memory.dump_level == 31
        assert not memory.is_incomplete
        assert memory.utsname is not None
        assert memory.utsname.nodename == "linscope-lab"
        assert len(memory.cpus) == 1
        stored = sum(behind - first for first, behind in memory.iter_present())
        assert stored < memory.size // 3
    with open_kernel(str(target)) as kernel:
        names = {task.comm.string_() for task in iter_tasks(kernel)}
        assert {"kthreadd", "sh", "busybox"} <= names
        assert kernel.problems == []


def test_a_machine_whose_root_is_on_a_disk(tmp_path: Path) -> None:
    """The guest crashes within a chroot on a disk; the capture kernel mounts the disk and runs from it."""
    image = tmp_path / "disk"
    make_disk_root(image, tmp_path / "tree", [Path(cache_folder("lab"))])
    shutil.rmtree(tmp_path / "tree")
    with Guest(GuestOptions(append="crashkernel=192M", disk=str(image))) as guest:
        environment = {
            "HOME": str(Path.home()), "kernel": str(guest.kernel.image), "linscope": f"{sys.executable} -m linscope",
        }  # fmt: skip
        done = guest.run(IN_DISK, cwd="/", environment=environment)
        assert done.exit_code == 0, done
        assert "root: /dev/vda (ext4), dumps to /var/crash" in done.stdout
        console = guest.run_to_end(CRASH, timeout_s=120)
    (name,) = list_folder(image, "/var/crash")
    assert f"the log is in /var/crash/{name}/dmesg.txt" in console
    assert sorted(list_folder(image, f"/var/crash/{name}")) == ["dmesg.txt", "vmcore"]
    for part in ("dmesg.txt", "vmcore"):
        take_file(image, f"/var/crash/{name}/{part}", tmp_path / part)
    assert "sysrq: Trigger a crash" in (tmp_path / "dmesg.txt").read_text()
    with open_kernel(str(tmp_path / "vmcore")) as kernel:
        assert "kthreadd" in {task.comm.string_() for task in iter_tasks(kernel)}
