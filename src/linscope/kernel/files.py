"""Files that a task has open.

Source: include/linux/fdtable.h, fs.h, fs_struct.h; net/socket.c (struct socket_alloc).
"""

from __future__ import annotations

from linscope.errors import FormatError, LinscopeError
from linscope.kernel.path import Paths, inode_kind
from linscope.kernel.told import told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

_MOST_FILES = 1 << 20


class OpenFile(NamedTuple):
    """One open file."""

    fd: int
    file: int  # addresses of the struct file, dentry, inode
    dentry: int
    inode: int
    mapping: int  # of the inode's struct address_space
    cached_pages: int  # pages of it in memory
    kind: str  # "REG", "DIR", "CHR", "BLK", "FIFO", "SOCK", "UNKN"
    path: str  # as /proc/PID/fd has it
    protocol: str  # of a socket: "TCP", "UNIX-STREAM"; "" for others
    position: int
    flags: int  # O_* of its opening


def iter_descriptors(kernel: Kernel, task: Object) -> Iterator[tuple[int, Object]]:
    """(number, struct file) of all that a task has open; nothing for a task without files.

    Raises FormatError, MemoryFault.
    """
    files = task.files
    if not int(files):
        return
    table = files.fdt
    count = int(table.max_fds)
    if not 0 <= count <= _MOST_FILES:
        raise FormatError(f"the table of files at {int(table):#x} has {count} places")
    pointers = kernel.memory.read(int(table.fd), 8 * count)
    kind = kernel.types.get("struct file")
    for number, address in enumerate(memoryview(pointers).cast("Q")):
        if address:
            yield number, kernel.object(kind, address)


def iter_files(kernel: Kernel, task: Object, paths: Paths) -> Iterator[OpenFile]:
    """What a task has open; what cannot be read is told in kernel.problems, and the rest is given."""
    for number, file in told(kernel, f"files of the task at {task.address_:#x}", iter_descriptors(kernel, task)):
        try:
            yield _open_file(number, file, paths)
        except LinscopeError as error:
            kernel.problems.append(f"file {number} at {file.address_:#x}: {error}")


def _open_file(number: int, file: Object, paths: Paths) -> OpenFile:
    path = file.f_path
    inode = file.f_inode
    kind = inode_kind(int(inode.i_mode))
    mapping = inode.i_mapping
    protocol = protocol_of(socket_of(inode.deref_())) if kind == "SOCK" else ""
    return OpenFile(
        number, file.address_ or 0, int(path.dentry), int(inode), int(mapping),
        int(mapping.nrpages) if int(mapping) else 0, kind, paths.of(path), protocol, int(file.f_pos), int(file.f_flags),
    )  # fmt: skip


def socket_of(inode: Object) -> Object:
    """The struct socket of an inode of a socket.  Raises UnknownNameError."""
    return inode.container_of_("struct socket_alloc", "vfs_inode").member_("socket")


def protocol_of(socket: Object) -> str:
    """What a socket's protocol calls itself ("TCP", "UNIX-STREAM"); "" without one.  Raises MemoryFault."""
    sock = socket.sk
    if not int(sock):
        return ""
    protocol = sock.member_("__sk_common.skc_prot")
    return protocol.member_("name").string_() if int(protocol) else ""


def root_path(task: Object, paths: Paths) -> str:
    """What is / for a task; "" for one that has ended.  Raises FormatError, MemoryFault."""
    fs = task.fs
    return paths.of(fs.root) if int(fs) else ""


def working_directory(task: Object, paths: Paths) -> str:
    """Where a task is; "" for one that has ended.  Raises FormatError, MemoryFault."""
    fs = task.fs
    return paths.of(fs.pwd) if int(fs) else ""
