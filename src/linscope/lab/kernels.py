"""Kernels for the lab: Debian's cloud kernel by apt-get, the one that `lab build` made, or any image.

Nothing is installed: packages are fetched and unpacked into the cache.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from linscope.errors import LinscopeError, OutputError, UsageError
from linscope.lab.initramfs import MODULES
from linscope.sys.folders import cache_folder

_META_PACKAGE = "linux-image-cloud-amd64"


class Kernel(NamedTuple):
    """What QEMU boots."""

    image: Path
    modules: Path | None  # lib/modules/RELEASE, None when all is built in

    def first_modules(self) -> list[Path]:
        """Files of the modules that the guest's first minutes need, in the order of their insertion."""
        if self.modules is None:
            return []
        files = {path.name.partition(".")[0]: path for path in self.modules.rglob("*.ko*")}
        return [files[name] for name in MODULES if name in files]


def find_kernel(name: str, say: Callable[[str], None]) -> Kernel:
    """The kernel of that name: "debian", "lab", or the path of an image.

    say: told what takes time.  Raises LinscopeError when it has to be built or cannot be fetched, UsageError when
    there is no such file.
    """
    if name == "debian":
        return _debian_kernel(say)
    if name == "lab":
        return built_kernel()
    image = Path(name).resolve()
    if not image.is_file():
        raise UsageError(f"no kernel {name}", next_step="debian, lab, or the path of a bzImage")
    release = image.name.partition("-")[2]
    beside = [image.parent.parent / "lib/modules" / release, Path("/lib/modules") / release]
    return Kernel(image, next((folder for folder in beside if release and folder.is_dir()), None))


def built_kernel() -> Kernel:
    """What `linscope lab build` left.  Raises LinscopeError."""
    image = Path(cache_folder("lab")) / "built" / "bzImage"
    if not image.exists():
        what = "the lab's own kernel has not been built yet"
        raise LinscopeError(what, next_step="linscope lab build (about 15 CPU minutes, once)")
    return Kernel(image, None)


def busybox(say: Callable[[str], None]) -> Path:
    """A static busybox.  Raises LinscopeError."""
    return unpacked_package("busybox-static", say) / "bin/busybox"


def _debian_kernel(say: Callable[[str], None]) -> Kernel:
    """The newest of Debian's cloud kernels in the cache, else fetched."""
    cached = sorted(Path(cache_folder("lab")).glob("linux-image-*/boot/vmlinuz-*"))
    image = cached[-1] if cached else None
    if image is None:
        folder = unpacked_package(_depends(_META_PACKAGE), say)
        image = next(iter(folder.glob("boot/vmlinuz-*")), None)
        if image is None:
            raise LinscopeError("the kernel package holds no boot/vmlinuz", where=str(folder))
    root, release = image.parent.parent, image.name.partition("-")[2]
    modules = next((root / lib / release for lib in ("lib/modules", "usr/lib/modules") if (root / lib).is_dir()), None)
    return Kernel(image, modules)


def _depends(package: str) -> str:
    """The kernel package that a meta package stands for.  Raises LinscopeError."""
    lines = _run(["apt-cache", "depends", "--important", package], package).splitlines()
    for line in lines:
        kind, _, name = line.strip().partition(": ")
        if kind == "Depends" and name.startswith("linux-image-"):
            return name
    raise _unknown_package(package)


def unpacked_package(package: str, say: Callable[[str], None]) -> Path:
    """The folder of the cache that holds an unpacked package; fetched when it is not there.  Raises LinscopeError."""
    cache = Path(cache_folder("lab"))
    target = cache / package
    if target.is_dir():
        return target
    say(f"fetching {package} by apt-get, once")
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".fetch-", dir=cache))
    try:
        if os.geteuid() == 0:
            scratch.chmod(0o755)  # apt-get downloads as another user
        _run(["apt-get", "download", "-qq", package], package, cwd=scratch)
        archive = next(iter(scratch.glob("*.deb")), None)
        if archive is None:
            raise _unknown_package(package)
        _run(["dpkg-deb", "-x", str(archive), str(scratch / "tree")], package)
        modules = next(iter((scratch / "tree").glob("lib/modules/*")), None)
        if modules is not None:
            _list_dependencies(scratch / "tree", modules.name, say)
        with contextlib.suppress(OSError):  # another of us was faster
            (scratch / "tree").rename(target)
        if not target.is_dir():
            raise OutputError("cannot keep what was fetched", where=str(target))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _list_dependencies(tree: Path, release: str, say: Callable[[str], None]) -> None:
    """modules.dep, which a package's installation would make, so that modprobe works in the guest."""
    depmod = shutil.which("depmod", path=os.environ.get("PATH", "") + ":/sbin:/usr/sbin")
    command = [depmod] if depmod else [str(busybox(say)), "depmod"]
    subprocess.run([*command, "-b", str(tree), release], check=False, capture_output=True)


def _unknown_package(package: str) -> LinscopeError:
    step = "apt-get update; or --kernel PATH of a bzImage"
    return LinscopeError(f"apt-get knows no package {package}", next_step=step)


def _run(command: list[str], package: str, cwd: Path | None = None) -> str:
    """The output of a command.  Raises LinscopeError."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        what = f"{package} cannot be fetched: there is no {command[0]} here"
        raise LinscopeError(what, next_step="--kernel PATH of a bzImage") from None
    if done.returncode:
        error = _unknown_package(package)
        error.why = (done.stderr.strip().splitlines() or [f"{command[0]} failed"])[-1]
        raise error
    return done.stdout
