"""The image of a kernel: its release, and how much memory it needs.

Source: Documentation/arch/x86/boot.rst (kernel_version at 0x20e, init_size at 0x260, boot protocol 2.10).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NamedTuple

from linscope.errors import FormatError, InputError, LinscopeError

_HEAD = 0x10000


class KernelImage(NamedTuple):
    """A bzImage."""

    path: Path
    release: str
    memory_bytes: int  # that it takes while it unpacks itself, which is what it is in the end


def read_image(path: Path) -> KernelImage:
    """What the setup header says.  Raises InputError, FormatError."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise InputError("cannot read the kernel's image", where=str(path), why=error.strerror or "") from None
    if len(head) < 0x264 or head[0x202:0x206] != b"HdrS":
        raise FormatError("no bzImage", where=str(path), offset=0x202)
    version_at, init_size = struct.unpack_from("<H", head, 0x20E)[0], struct.unpack_from("<I", head, 0x260)[0]
    text = head[version_at + 0x200 :].partition(b"\0")[0].decode("utf-8", "replace")
    return KernelImage(path, text.split(" ")[0], init_size)


def find_image(chosen: str = "", system: Path = Path("/")) -> KernelImage:
    """The image of the running kernel, or a chosen one.  Raises LinscopeError, which says where it was looked for."""
    if chosen:
        return read_image(Path(chosen))
    release = os.uname().release
    places = [system / "boot" / f"vmlinuz-{release}", system / "lib/modules" / release / "vmlinuz"]
    for place in places:
        if place.exists():
            return read_image(place)
    looked = ", ".join(map(str, places))
    what = f"no image of the running kernel, {release}"
    raise LinscopeError(what, why=f"not in {looked}", next_step="--kernel PATH of its bzImage")
