"""The RAM of a guest that QEMU runs on this machine: found among the files that the process has open.

QEMU keeps it in a file when it is told so: -object memory-backend-file or memory-backend-memfd, with share=on.
"""

from __future__ import annotations

from pathlib import Path

from linscope.errors import InputError, UnsupportedError

_LEAST = 16 << 20  # bytes of a guest's RAM


def find_guest_ram(name: str) -> str:
    """The file with a guest's RAM.  name: the number of the QEMU process, or the file's own path.

    Raises InputError: there is no such process, or it is another's; UnsupportedError: its RAM is in no file.
    """
    if not name.isdigit():
        return name
    folder = f"/proc/{name}/fd"
    try:
        paths = list(Path(folder).iterdir())
    except OSError as error:
        raise InputError(f"cannot see what process {name} has open", why=error.strerror or "") from None
    found = []
    for path in paths:
        try:
            size, target = path.stat().st_size, str(path.readlink())
        except OSError:
            continue
        if size >= _LEAST and ("/memfd:" in target or target.startswith(("/dev/shm/", "/dev/hugepages/"))):
            found.append((size, str(path)))
    if not found:
        raise UnsupportedError(
            f"process {name} has no guest's RAM in a file", why="QEMU keeps it in memory of its own",
            next_step="start it with -object memory-backend-memfd,id=ram,size=...,share=on -machine memory-backend=ram",
        )  # fmt: skip
    return max(found)[1]
