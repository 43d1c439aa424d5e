"""The lab's own kernel, built from Debian's source package with `kernel.config`, once, in the cache.

Every step can be killed and is taken up again: packages and trees appear by renaming, make goes on where it was.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from linscope.errors import LinscopeError
from linscope.lab.kernels import unpacked_package
from linscope.sys.folders import cache_folder

SOURCE_PACKAGE = "linux-source-6.1"
_CONFIG = Path(__file__).parent / "kernel.config"
# What each program or header comes from.
_NEEDED = {
    "gcc": "gcc",
    "make": "make",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "pahole": "dwarves",
    "xz": "xz-utils",
    "perl": "perl",
    "/usr/include/gelf.h": "libelf-dev",
}
_LINES_EXPECTED = 2_350  # of make's output, for the progress bar


def missing_packages() -> list[str]:
    """Packages that building needs and that are not here."""
    return [
        package
        for thing, package in _NEEDED.items()
        if not (os.path.exists(thing) if thing.startswith("/") else shutil.which(thing))
    ]


def build_kernel(jobs: int, say: Callable[[str], None], step: Callable[[float], None]) -> Path:
    """The image, built if it is not there yet.  say: told what happens; step: told the part that is done, 0 to 1.

    Raises LinscopeError when a tool is missing or make fails.
    """
    if missing := missing_packages():
        raise LinscopeError("a kernel cannot be built here", next_step=f"apt-get install {' '.join(missing)}")
    cache = Path(cache_folder("lab"))
    package = unpacked_package(SOURCE_PACKAGE, say)
    key = hashlib.blake2b(_CONFIG.read_bytes() + package.resolve().name.encode(), digest_size=6).hexdigest()
    image = cache / f"built-{key}" / "bzImage"
    if not image.exists():
        tree = _source_tree(package, cache, say)
        objects = cache / f"objects-{key}"
        objects.mkdir(exist_ok=True)
        _configure(tree, objects, say)
        say(f"compiling with {jobs} jobs in {objects} (about 15 CPU minutes)")
        _make(tree, objects, ["bzImage", f"-j{jobs}"], step)
        scratch = Path(tempfile.mkdtemp(prefix=".built-", dir=cache))
        scratch.chmod(0o755)
        shutil.copy(objects / "arch/x86/boot/bzImage", scratch / "bzImage")
        shutil.copy(objects / "System.map", scratch / "System.map")
        shutil.copy(objects / ".config", scratch / "config")
        scratch.rename(image.parent)
        shutil.rmtree(objects)
    link = cache / f".built-{os.getpid()}"
    link.symlink_to(image.parent.name)
    link.replace(cache / "built")
    return image


def _source_tree(package: Path, cache: Path, say: Callable[[str], None]) -> Path:
    """The unpacked source.  Raises LinscopeError."""
    tree = cache / f"{SOURCE_PACKAGE}-tree"
    if tree.is_dir():
        return tree
    archive = next(iter(package.glob("usr/src/*.tar.xz")), None)
    if archive is None:
        raise LinscopeError(f"the package {SOURCE_PACKAGE} holds no source archive", where=str(package))
    say("unpacking the kernel's source")
    scratch = Path(tempfile.mkdtemp(prefix=".source-", dir=cache))
    try:
        subprocess.run(["tar", "-xJf", str(archive), "-C", str(scratch), "--strip-components=1"], check=True)
        scratch.rename(tree)
    except subprocess.CalledProcessError as error:
        raise LinscopeError("the kernel's source cannot be unpacked", why=f"tar exits {error.returncode}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return tree


def wanted_lines() -> list[str]:
    """The lines of kernel.config that ask for something."""
    lines = _CONFIG.read_text().splitlines()
    return [line for line in lines if line.startswith("CONFIG_") or line.endswith(" is not set")]


def _configure(tree: Path, objects: Path, say: Callable[[str], None]) -> None:
    """.config of allnoconfig and our lines; Kconfig drops lines silently, so each is looked for."""
    if (objects / ".config").exists():
        return
    _make(tree, objects, [f"KCONFIG_ALLCONFIG={_CONFIG}", "allnoconfig"], None)
    has = set((objects / ".config").read_text().splitlines())
    if dropped := [line for line in wanted_lines() if line not in has]:
        say(f"this source does not know or allow: {', '.join(dropped)}")


def _make(tree: Path, objects: Path, words: list[str], step: Callable[[float], None] | None) -> None:
    """Run make.  Raises LinscopeError with its last lines."""
    command = ["make", "-C", str(tree), f"O={objects}", *words]
    environment = {**os.environ, "KBUILD_BUILD_TIMESTAMP": "2026-01-01", "LC_ALL": "C"}
    last: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, env=environment
    ) as make:
        assert make.stdout is not None
        for done, line in enumerate(make.stdout, 1):
            last = [*last[-9:], line.rstrip()]
            if step is not None:
                step(min(done / _LINES_EXPECTED, 0.99))
    if make.returncode:
        raise LinscopeError("make failed", why="its last lines:\n    " + "\n    ".join(last))
