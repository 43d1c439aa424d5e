"""The processes of a guest: QEMU and virtiofsd, their sockets and their end.

Both die with us, even when we are killed: PR_SET_PDEATHSIG.  Measured recipes: TCG with one CPU is fastest; `-cpu max`
has what numpy and pyarrow need of a CPU.  Source: QEMU's documentation of vhost-user-fs, virtio-serial and vmcoreinfo.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from linscope.errors import LinscopeError, PermissionDenied
from linscope.lab.initramfs import build_initramfs
from linscope.lab.kernels import Kernel

_PORTS = ("control", "stdout", "stderr")
_PR_SET_PDEATHSIG = 1
_INSTALL = "apt-get install qemu-system-x86"
_VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd")
_FOLDER_PREFIX = "linscope-lab-"


class MachineOptions(NamedTuple):
    """What QEMU needs to know."""

    kernel: Kernel
    busybox: Path
    cpus: int
    memory_bytes: int
    append: str
    disk: str  # "": none
    share: str  # "": none


class Machine:
    """QEMU and what it needs beside it."""

    def __init__(self, options: MachineOptions, accelerator: Callable[[str, Path], str]) -> None:
        """accelerator: (qemu, image) -> "kvm" or "tcg".  Raises LinscopeError when a program is missing."""
        qemu = shutil.which("qemu-system-x86_64")
        if qemu is None:
            raise LinscopeError("there is no QEMU here", next_step=_INSTALL)
        self.options = options
        self.qemu = qemu
        self.virtiofsd = next((path for path in _VIRTIOFSD if os.access(path, os.X_OK)), "")
        self.transport = self._choose_transport()
        self.accelerator = accelerator(qemu, options.kernel.image)
        self.ports: dict[str, socket.socket] = {}
        self.selector = selectors.DefaultSelector()
        self.folder = Path()
        self._processes: list[subprocess.Popen[bytes]] = []

    def _choose_transport(self) -> str:
        """How the guest reaches this machine's files: virtiofsd needs root; 9p a kernel that has it."""
        modules = self.options.kernel.modules
        has_9p = modules is None or any(modules.rglob("9pnet_virtio.ko*"))
        if self.virtiofsd and os.geteuid() == 0:
            return "virtiofs"
        if has_9p:
            return "9p"
        if not self.virtiofsd:
            raise LinscopeError("there is no virtiofsd here", next_step=_INSTALL + " (or virtiofsd)")
        raise PermissionDenied(
            "virtiofsd, which shows this machine's files to the guest, runs as root only",
            errno=1,
            next_step="run as root, or take a kernel that has 9p: linscope lab build, then --kernel lab",
        )

    @property
    def running(self) -> bool:
        """True while QEMU runs."""
        return bool(self._processes) and self._processes[-1].poll() is None

    @property
    def pid(self) -> int:
        """Number of the QEMU process; 0 while it does not run."""
        return self._processes[-1].pid if self.running else 0

    @property
    def state(self) -> str:
        """A word for people."""
        return f"running, {self.accelerator}, {self.transport}" if self.running else "off"

    def start(self) -> None:
        """Start all processes.  Raises LinscopeError."""
        remove_leftovers()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}."))
        options = self.options
        archive = build_initramfs(options.busybox, options.kernel.first_modules())
        (self.folder / "initramfs").write_bytes(archive)
        command = [self.qemu, "-accel", self._accelerator_options(), "-cpu", self._cpu(), "-smp", str(options.cpus)]
        command += ["-m", f"{options.memory_bytes >> 20}M", "-nodefaults", "-display", "none", "-no-reboot"]
        command += ["-kernel", str(options.kernel.image), "-initrd", str(self.folder / "initramfs")]
        command += ["-append", self._kernel_arguments(), "-device", "vmcoreinfo"]
        command += ["-qmp", f"unix:{self.folder}/qmp,server=on,wait=off"]
        command += ["-chardev", f"file,id=console,path={self.folder}/console", "-serial", "chardev:console"]
        ours = self._connect(command)
        self._share_files(command)
        if options.disk:
            command += ["-drive", f"file={options.disk.replace(',', ',,')},if=virtio,format=raw"]
        self._spawn(command, [theirs.fileno() for theirs in ours])
        for theirs in ours:
            theirs.close()

    def _accelerator_options(self) -> str:
        return "tcg,thread=multi" if self.accelerator == "tcg" else self.accelerator

    def _cpu(self) -> str:
        return "host" if self.accelerator == "kvm" else "max"

    def _kernel_arguments(self) -> str:
        words = ["console=ttyS0 quiet panic=-1 mitigations=off", f"lab.root={self.transport}"]
        if "kaslr" not in self.options.append.split():
            words.append("nokaslr")  # addresses are the same in every guest; there is no word that takes it back
        if self.options.kernel.modules is not None:
            words.append(f"lab.modules={self.options.kernel.modules}")
        if self.options.share:
            words.append(f"lab.share={self.options.share}")
        return " ".join([*words, self.options.append]).strip()

    def _connect(self, command: list[str]) -> list[socket.socket]:
        """Ports of virtio-serial, and a serial line for a shell; returns QEMU's ends."""
        command += ["-device", "virtio-serial-pci"]
        ends = []
        for name in (*_PORTS, "shell"):
            ours, theirs = socket.socketpair()
            command += ["-chardev", f"socket,id={name},fd={theirs.fileno()}"]
            if name == "shell":
                command += ["-serial", f"chardev:{name}"]
            else:
                command += ["-device", f"virtserialport,chardev={name},name={name}"]
                self.selector.register(ours, selectors.EVENT_READ, name)
            self.ports[name] = ours
            ends.append(theirs)
        return ends

    def _share_files(self, command: list[str]) -> None:
        """This machine's files, and the shared folder."""
        shares = [("root", "/", True)]
        if self.options.share:
            shares.append(("share", self.options.share, False))
        if self.transport == "9p":
            for tag, path, read_only in shares:
                where = path.replace(",", ",,")
                only = ",readonly=on" if read_only else ""
                command += ["-fsdev", f"local,id={tag},path={where},security_model=none,multidevs=remap{only}"]
                command += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
            return
        size = self.options.memory_bytes >> 20
        command += ["-object", f"memory-backend-memfd,id=memory,size={size}M,share=on", "-numa", "node,memdev=memory"]
        for tag, path, _ in shares:
            place = f"{self.folder}/{tag}.sock"
            sharing = [self.virtiofsd, f"--socket-path={place}", "-o", f"source={path}", "-o", "cache=always"]
            self._spawn([*sharing, "-o", "sandbox=chroot"], [])
            self._wait_for(place)
            command += ["-chardev", f"socket,id=fs-{tag},path={place}"]
            command += ["-device", f"vhost-user-fs-pci,chardev=fs-{tag},tag={tag}"]

    def _wait_for(self, place: str) -> None:
        """Until virtiofsd listens.  Raises LinscopeError."""
        deadline = time.monotonic() + 10
        while not os.path.exists(place):
            if self._processes[-1].poll() is not None or time.monotonic() > deadline:
                raise LinscopeError("virtiofsd did not start", why=self.last_words())
            time.sleep(0.005)

    def _spawn(self, command: list[str], descriptors: list[int]) -> None:
        """A child that ends when we do."""
        prctl = ctypes.CDLL(None).prctl
        parent = os.getpid()

        def die_with_parent() -> None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

        with open(self.folder / "messages", "ab") as messages:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=messages,
                pass_fds=descriptors,
                preexec_fn=die_with_parent,
                start_new_session=True,
            )
        self._processes.append(child)

    def last_words(self) -> str:
        """The end of what the guest's console and QEMU said."""
        lines = []
        for name in ("messages", "console"):
            with contextlib.suppress(OSError):
                text = (self.folder / name).read_text(errors="replace").replace("\r", "")
                lines += [line for line in text.splitlines() if line.strip()][-12:]
        return "\n".join("    " + line for line in lines) or "    (none)"

    def stop(self, grace_s: float = 0) -> None:
        """End the guest; grace_s: how long it may take to do so itself."""
        for process in reversed(self._processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
            process.kill()
            process.wait()
            grace_s = 0
        self._processes.clear()
        for port in self.ports.values():
            port.close()
        self.ports.clear()
        self.selector.close()
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)


def remove_leftovers() -> list[str]:
    """Remove the folders of guests whose process was killed; returns what was removed."""
    removed = []
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*.*"):
        pid = folder.name.removeprefix(_FOLDER_PREFIX).partition(".")[0]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}") and folder.stat().st_uid == os.geteuid():
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(str(folder))
    return removed


