"""The lab itself: commands in a guest, their output, exit codes, ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from linscope.errors import LinscopeError, UsageError
from linscope.lab.guest import Guest, GuestOptions
from linscope.lab.initramfs import build_archive, build_initramfs

pytestmark = pytest.mark.kernel
ROOT = Path(__file__).resolve().parents[2]


def linscope(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "linscope", *words], capture_output=True, check=False, cwd=ROOT)


def test_output_and_exit_code(debian) -> None:
    result = debian.guest.run("echo out; echo err >&2; exit 3")
    assert result == (3, "out\n", "err\n")


def test_a_signal_is_an_exit_code_too(debian) -> None:
    assert debian.guest.run("kill -TERM $$").exit_code == 128 + signal.SIGTERM


def test_programs_are_those_of_this_machine(debian) -> None:
    """Not the small ones of busybox, which the guest's own scripts use."""
    assert "coreutils" in debian.guest.run("cat --version").stdout
    assert debian.guest.run("readlink -f /proc/$$/exe").stdout.strip() == str(Path("/bin/sh").resolve())


def test_ctrl_c_reaches_the_command(debian) -> None:
    """A shell without job control lets its background jobs ignore SIGINT; ours must not."""
    assert debian.guest.run("grep SigIgn /proc/self/status").stdout.split()[1] == "0000000000000000"


def test_words_are_not_read_by_a_shell(debian) -> None:
    assert debian.guest.run(["printf", "%s|", "a b", "$HOME", "it's"]).stdout == "a b|$HOME|it's|"


def test_bytes_come_through(debian) -> None:
    seen = bytearray()
    debian.guest.run(["head", "-c", "3000000", "/dev/urandom"], on_stdout=seen.extend)
    assert len(seen) == 3_000_000


def test_this_machines_files_are_there_and_stay_as_they_are(debian, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("of the host")
    assert debian.guest.run(f"cat {file}; echo changed > {file}; cat {file}").stdout == "of the hostchanged\n"
    assert file.read_text() == "of the host"


def test_the_shared_folder_is_real(debian) -> None:
    debian.out("echo from the guest > new")
    assert (debian.folder / "new").read_text() == "from the guest\n"


def test_environment_and_folder(debian, tmp_path: Path) -> None:
    environment = {"ONE": "a 'b' \n c", "PATH": "/bin:/usr/bin"}
    result = debian.guest.run("pwd; echo $ONE", environment=environment, cwd=str(tmp_path))
    assert result.stdout == f"{tmp_path}\na 'b' c\n"


def test_a_command_that_does_not_end_is_killed_and_the_guest_lives_on(debian) -> None:
    with pytest.raises(LinscopeError, match="did not end within"):
        debian.guest.run("sleep 1000", timeout_s=0.5)
    assert debian.guest.run("pidof sleep; echo here").stdout == "here\n"


def test_kernel_file_systems(debian) -> None:
    mounted = debian.out("mount | cut -d' ' -f5 | sort -u").split()
    assert {"tracefs", "debugfs", "bpf", "cgroup2", "overlay", "proc", "sysfs"} <= set(mounted)


def test_modules_can_be_loaded(debian) -> None:
    assert "loop" in debian.out("modprobe loop && cut -d' ' -f1 /proc/modules")


def test_the_other_kernel(lab_kernel) -> None:
    assert "irqsoff" in lab_kernel.out("cat $T/available_tracers")


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_nothing_survives_a_kill(debian) -> None:
    """kill -9 of the command: QEMU and virtiofsd end with it, and the next start removes its folder."""
    child = subprocess.Popen(
        [sys.executable, "-m", "linscope", "lab", "run", "--", "sh", "-c", "echo up; sleep 1000"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    processes = [os.pidfd_open(pid) for pid in children_of(child.pid)]
    assert len(processes) == 2
    folder = next(Path(tempfile.gettempdir()).glob(f"linscope-lab-{child.pid}.*"))
    child.kill()
    child.wait()
    for process in processes:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        assert poll.poll(20_000)
        os.close(process)
    done = linscope("doctor", "--clean")
    assert str(folder).encode() in done.stdout
    assert not folder.exists()


def test_the_command_line(debian) -> None:
    script = "cat /proc/cmdline; exit 5"
    done = linscope("lab", "run", "--mem", "512M", "--append", "some.word=7", "--", "sh", "-c", script)
    assert done.returncode == 5, done.stderr
    assert b"some.word=7" in done.stdout


def test_a_dump_holds_the_guests_memory(debian, tmp_path: Path) -> None:
    target = tmp_path / "vmcore"
    debian.guest.dump(str(target), "kdump-zlib")
    assert target.read_bytes()[:12] == b"makedumpfile"
    assert [path.name for path in tmp_path.iterdir()] == ["vmcore"]
    assert debian.guest.run("echo on it goes").stdout == "on it goes\n"
    debian.guest.dump(str(target), "elf")
    assert target.read_bytes()[:4] == b"\x7fELF"


def test_a_dump_that_cannot_be_written(debian, tmp_path: Path) -> None:
    with pytest.raises(LinscopeError, match="cannot write the dump"):
        debian.guest.dump(str(tmp_path / "no" / "folder"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (GuestOptions(kernel="/no/such/image"), "no kernel"),
        (GuestOptions(cpus=0), "needs a CPU"),
        (GuestOptions(memory="1M"), "too little"),
        (GuestOptions(share="/no/such/folder"), "no folder"),
    ],
)
def test_wrong_options(options: GuestOptions, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Guest(options)


def test_without_qemu(monkeypatch: pytest.MonkeyPatch, debian) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LinscopeError, match="apt-get install qemu-system-x86"):
        Guest()


def test_a_kernel_that_does_not_boot_tells_its_last_words(tmp_path: Path, debian) -> None:
    image = tmp_path / "bzImage"
    image.write_bytes(b"no kernel at all" * 1000)
    guest = Guest(GuestOptions(kernel=str(image), boot_deadline_s=20))
    with pytest.raises(LinscopeError, match="last words"):
        guest.boot()
    assert not guest.machine.running


def test_packed_modules_are_unpacked(tmp_path: Path) -> None:
    """Debian packs modules with xz since 6.11, others with zstd or gzip; busybox's insmod takes none of them."""
    import gzip
    import lzma

    import zstandard

    (tmp_path / "busybox").write_bytes(b"#!")
    packed = {"": bytes, ".xz": lzma.compress, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}
    paths = []
    for ending, pack in packed.items():
        paths.append(tmp_path / f"one{ending[1:]}.ko{ending}")
        paths[-1].write_bytes(pack(b"\x7fELF of " + ending.encode()))
    archive = build_initramfs(tmp_path / "busybox", paths)
    for at, ending in enumerate(packed):
        assert f"modules/{at:02d}-one{ending[1:]}.ko\0".encode() in archive
        assert b"\x7fELF of " + ending.encode() in archive


def test_the_archive_is_what_cpio_reads(tmp_path: Path) -> None:
    (tmp_path / "a.cpio").write_bytes(build_archive({"bin/one": (0o755, b"first"), "two": (0o644, b"")}))
    listing = subprocess.run(
        ["cpio", "-itv", "--quiet"], stdin=(tmp_path / "a.cpio").open("rb"), capture_output=True, text=True, check=True
    ).stdout
    lines = {line.split()[-1]: line for line in listing.splitlines()}
    assert set(lines) == {"bin", "bin/one", "two", "dev", "dev/console"}
    assert lines["bin/one"].startswith("-rwxr-xr-x") and " 5 " in lines["bin/one"]
    assert lines["dev/console"].startswith("crw-------")
