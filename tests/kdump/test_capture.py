"""linscope kdump, by its command line: capture from a dump, what is refused and why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_images import bzimage

from linscope.kdump.load import LoadOptions, make_plan
from linscope.memory import open_memory

SHARED = Path(__file__).resolve().parents[3] / "shared" / "dumps" / "debian-6.1-lzo.kdump"
needs_dump = pytest.mark.skipif(not SHARED.exists(), reason="no ../shared/dumps beside the checkout; clone it there")


def kdump(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "linscope", "kdump", *words], capture_output=True, text=True, check=False
    )


@needs_dump
def test_into_a_folder_with_the_log(tmp_path: Path) -> None:
    done = kdump("capture", str(SHARED), "--target", str(tmp_path / "new" / "crash"))
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "new" / "crash").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["dmesg.txt", "vmcore"]
    assert "sysrq triggered crash" in (folder / "dmesg.txt").read_text()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert "66.3 MiB of 351.5 MiB of memory to" in done.stdout
    with open_memory(str(folder / "vmcore")) as memory:
        assert memory.format == "kdump-compressed, zstd"


@needs_dump
def test_into_a_file(tmp_path: Path) -> None:
    done = kdump("capture", str(SHARED), "-o", str(tmp_path / "dump"), "-c", "zlib", "-d", "0")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["dump"]
    with open_memory(str(tmp_path / "dump")) as memory:
        assert (memory.format, memory.dump_level) == ("kdump-compressed, zlib", 31)


@needs_dump
@pytest.mark.peer
def test_by_makedumpfile(tmp_path: Path) -> None:
    if shutil.which("makedumpfile") is None:
        pytest.skip("needs makedumpfile: apt-get install makedumpfile")
    done = kdump("capture", str(SHARED), "-o", str(tmp_path / "dump"), "-c", "lzo", "--makedumpfile")
    assert done.returncode == 0, done.stderr
    assert "by makedumpfile" in done.stdout
    with open_memory(str(tmp_path / "dump")) as memory, open_memory(str(SHARED)) as source:
        assert list(memory.iter_present()) == list(source.iter_present())
    (tmp_path / "text").write_text("no dump")
    done = kdump("capture", str(tmp_path / "text"), "-o", str(tmp_path / "other"), "--makedumpfile")
    assert done.returncode == 1
    assert "makedumpfile failed" in done.stderr
    assert not (tmp_path / "other").exists()


@needs_dump
def test_a_log_that_cannot_be_read_does_not_stop_the_dump(tmp_path: Path) -> None:
    data = bytearray(SHARED.read_bytes())
    at = data.index(b"SYMBOL(kallsyms_names)=")
    data[at + 7 : at + 9] = b"xx"
    (tmp_path / "damaged").write_bytes(data)
    done = kdump("capture", str(tmp_path / "damaged"), "--target", str(tmp_path / "crash"))
    assert done.returncode == 0, done.stderr
    assert "no log: " in done.stderr
    (folder,) = (tmp_path / "crash").iterdir()
    assert [path.name for path in folder.iterdir()] == ["vmcore"]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["capture", "/no/such/dump"], "No such file"),
        (["capture", __file__, "-o", "/tmp/x"], "not a memory dump"),
        (["capture", "-d", "32", str(SHARED), "-o", "/dev/full/x"], "no dump level 32"),
        (["load", "--kernel", "/no/such/image"], "cannot read the kernel's image"),
        (["load", "--kernel", __file__], "no bzImage"),
    ],
)
def test_what_is_refused(words: list[str], what: str) -> None:
    done = kdump(*words)
    assert done.returncode in (1, 2)
    assert what in done.stderr, done.stderr


@pytest.mark.skipif(os.path.exists("/proc/vmcore"), reason="this kernel captures a crash")
def test_a_kernel_that_no_crash_has_started() -> None:
    done = kdump("capture")
    assert done.returncode == 1
    assert "has not been started by a crash" in done.stderr
    assert "linscope kdump load" in done.stderr


def test_an_initramfs_of_others(tmp_path: Path) -> None:
    """Then nothing has to be known of disks; it is taken as it is."""
    (tmp_path / "image").write_bytes(bzimage())
    (tmp_path / "initrd").write_bytes(b"070701")
    options = LoadOptions(kernel=str(tmp_path / "image"), initrd=str(tmp_path / "initrd"), command_line="root=/dev/x")
    plan = make_plan(options, print)
    assert (plan.initramfs, plan.command_line, plan.image.release) == (b"070701", "root=/dev/x", "6.1.0-x")
    done = kdump("load", "--dry-run", "--kernel", str(tmp_path / "image"), "--initrd", str(tmp_path / "initrd"))
    assert done.returncode == 0, done.stderr
    assert "would load" in done.stdout
    assert "nr_cpus=1" in done.stdout
    done = kdump("load", "--kernel", str(tmp_path / "image"), "--initrd", str(tmp_path / "none"))
    assert "cannot read the initramfs" in done.stderr


def test_status_of_this_machine() -> None:
    done = kdump("status", "--json")
    assert done.returncode == 0, done.stderr
    assert '"area": "reserve"' in done.stdout


def test_an_estimate(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(bzimage(init_size=64 << 20))
    (tmp_path / "initrd").write_bytes(bytes(10 << 20))
    done = kdump("estimate", "--kernel", str(tmp_path / "image"), "--initrd", str(tmp_path / "initrd"))
    assert done.returncode == 0, done.stderr
    assert "crashkernel=208M" in done.stdout
    assert "64.0 MiB  init_size" in done.stdout
