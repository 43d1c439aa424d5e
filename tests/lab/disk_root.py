"""A disk with just enough of this machine's files to run linscope from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import numpy
import zstandard

import linscope

_FOLDERS = ("proc", "sys", "dev", "run", "tmp", "etc", "root", "var/crash", "lib/modules")
_LEFT_OUT = shutil.ignore_patterns("test", "tests", "__pycache__", "idlelib", "ensurepip", "site-packages", "*.a")


def make_disk_root(image: Path, tree: Path, more: Iterable[Path]) -> None:
    """Write an ext4 image with Python, numpy, zstandard, linscope, sh and these folders; tree: for its files."""
    tree.mkdir()
    for name in ("bin", "sbin", "lib", "lib64"):
        link = Path("/", name)
        if link.is_symlink():
            (tree / name).symlink_to(link.readlink())
            (tree / link.readlink()).mkdir(parents=True, exist_ok=True)
    for name in _FOLDERS:
        (tree / name).mkdir(parents=True, exist_ok=True)
    packages = Path(numpy.__file__).parent.parent
    standard = Path(sysconfig.get_path("stdlib"))
    program = Path(linscope.__file__).parent
    parts = [standard, Path(sys.executable), Path(sys.prefix, "pyvenv.cfg"), program, Path("/bin/sh"), *more]
    parts += [packages / name for name in ("numpy", "numpy.libs", "linscope-checkout.pth")]
    parts.append(Path(zstandard.__file__).parent)
    for part in parts:
        _copy(part, tree)
    objects = [Path(sys.executable), Path("/bin/sh")]
    for folder in (standard / "lib-dynload", packages / "numpy", Path(zstandard.__file__).parent, program):
        objects += folder.rglob("*.so")
    for library in _libraries(objects):
        _copy(library, tree)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(image), "700M"], check=True, capture_output=True)


def _copy(source: Path, tree: Path) -> None:
    """A file, a folder, or a link and what it leads to."""
    target = tree / str(source).lstrip("/")
    if not source.exists() or target.exists() or target.is_symlink():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(source.readlink())
        _copy(source.parent / source.readlink(), tree)
    elif source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=_LEFT_OUT)
    else:
        shutil.copy2(source, target)


def _libraries(objects: Iterable[Path]) -> set[Path]:
    """What the dynamic linker finds for some programs and libraries."""
    found: set[Path] = set()
    environment = {"PATH": os.environ["PATH"]}
    for path in objects:
        done = subprocess.run(["ldd", str(path)], capture_output=True, text=True, env=environment, check=False)
        found |= {Path(word) for word in done.stdout.split() if word.startswith("/")}
    return found


def take_file(image: Path, name: str, target: Path) -> None:
    """Copy a file out of an ext4 image."""
    subprocess.run(["debugfs", "-R", f"dump {name} {target}", str(image)], check=True, capture_output=True)


def list_folder(image: Path, name: str) -> list[str]:
    """Names in a folder of an ext4 image."""
    done = subprocess.run(
        ["debugfs", "-R", f"ls -p {name}", str(image)], check=True, capture_output=True, text=True
    )
    names = [line.split("/")[5] for line in done.stdout.splitlines() if line.startswith("/")]
    return [name for name in names if name not in (".", "..")]
