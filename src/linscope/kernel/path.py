"""Paths of files: directory entries up to the root of their mount, mounts up to the root of all.

Source: fs/d_path.c; include/linux/dcache.h, mount.h; fs/mount.h.
"""

from __future__ import annotations

from linscope.errors import FormatError, LinscopeError
from linscope.kernel.told import told
from linscope.target.walks import iter_objects, iter_rbtree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

_DEEPEST = 4096  # names in a path at most
_DENTRY, _MOUNT = "struct dentry", "struct mount"
_KINDS = {0o010: "FIFO", 0o020: "CHR", 0o040: "DIR", 0o060: "BLK", 0o100: "REG", 0o120: "LNK", 0o140: "SOCK"}


class MountFacts(NamedTuple):
    """A mounted file system."""

    mount: int  # address of the struct mount
    superblock: int
    kind: str  # "tmpfs"
    device: str  # "/dev/vda", or whatever it was called
    directory: str  # where it is mounted


def inode_kind(mode: int) -> str:
    """crash's word for an inode's kind: "REG", "DIR", "CHR", "BLK", "LNK", "FIFO", "SOCK", "UNKN"."""
    return _KINDS.get(mode >> 9 & 0o170, "UNKN")


class Paths:
    """Makes paths; what was found once is kept."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._found: dict[tuple[int, int], str] = {}

    def of_file(self, file: Object) -> str:
        """The path of an open file (struct file) as /proc/PID/fd has it: "/etc/passwd", "pipe:[1456]".

        Raises FormatError, MemoryFault, UnknownNameError.
        """
        return self.of(file.f_path)

    def of(self, path: Object) -> str:
        """The path that a struct path is.  Raises FormatError, MemoryFault, UnknownNameError."""
        return self.at(int(path.mnt), int(path.dentry))

    def at(self, vfsmount: int, dentry: int) -> str:
        """The same by the addresses of a struct vfsmount (0: within its file system) and a dentry."""
        key = (vfsmount, dentry)
        if key not in self._found:
            self._found[key] = self._make(vfsmount, dentry)
        return self._found[key]

    def _make(self, vfsmount: int, address: int) -> str:
        kernel = self.kernel
        if not address:
            return ""
        dentry = kernel.object(_DENTRY, address)
        special = self._special(dentry)
        if special is not None:
            return special
        mount = vfsmount - kernel.types.offset(_MOUNT, "mnt") if vfsmount else 0
        names: list[str] = []
        for _ in range(_DEEPEST):
            one = kernel.object(_DENTRY, address)
            parent = int(one.d_parent)
            if mount:
                place = kernel.object(_MOUNT, mount)
                if address == int(place.mnt.mnt_root) and int(place.mnt_parent) != mount:
                    address, mount = int(place.mnt_mountpoint), int(place.mnt_parent)
                    continue
                if address == int(place.mnt.mnt_root):
                    break
            if parent == address or not parent:
                break
            names.append(one.d_name.name.string_(256))
            address = parent
        else:
            raise FormatError(f"the directory entry at {dentry.address_:#x} is in more than {_DEEPEST} others")
        deleted = int(dentry.d_parent) != dentry.address_ and not int(dentry.d_hash.pprev)
        return "/" + "/".join(reversed(names)) + (" (deleted)" if deleted else "")

    def _special(self, dentry: Object) -> str | None:
        """What a file system without directories calls its files; None for others.

        Source: d_dname of fs/pipe.c, net/socket.c, fs/anon_inodes.c, fs/nsfs.c; simple_dname of fs/d_path.c.
        """
        operations = int(dentry.d_op)
        if not operations:
            return None
        function = int(self.kernel.object("struct dentry_operations", operations).d_dname)
        place = self.kernel.place_of(function) if function else None
        if place is None:
            return None
        match place.symbol:
            case "pipefs_dname":
                return f"pipe:[{int(dentry.d_inode.i_ino)}]"
            case "sockfs_dname":
                return f"socket:[{int(dentry.d_inode.i_ino)}]"
            case "anon_inodefs_dname":
                return f"anon_inode:{dentry.d_name.name.string_(256)}"
            case "ns_dname":
                return f"{_namespace_name(dentry)}:[{int(dentry.d_inode.i_ino)}]"
        return f"/{dentry.d_name.name.string_(256)} (deleted)"


def _namespace_name(dentry: Object) -> str:
    """ "net", "mnt" ...; the operations of a namespace's kind are kept in d_fsdata."""
    operations = int(dentry.d_fsdata)
    if not operations:
        return "ns"
    return dentry.space_.object("struct proc_ns_operations", operations).member_("name").string_(32)


def mount_namespace(task: Object) -> Object | None:
    """The struct mnt_namespace of a task; None for one that has ended.  Raises MemoryFault."""
    proxy = task.nsproxy
    return proxy.mnt_ns.deref_() if int(proxy) else None


def iter_mounts(kernel: Kernel, namespace: Object) -> Iterator[Object]:
    """The mounts (struct mount) of a namespace.  Raises FormatError, MemoryFault.

    Source: fs/mount.h: a list until v6.7, a tree by the number of the mount since v6.8 (2eea9ce4310d).
    """
    types = kernel.types
    if not types.has_member("struct mnt_namespace", "mounts.rb_node"):
        yield from iter_objects(kernel, namespace.member_("list"), _MOUNT, "mnt_list")
        return
    root = namespace.mounts.address_
    assert root is not None
    for address in iter_rbtree(kernel, root, types.offset(_MOUNT, types.first_member(_MOUNT, "mnt_node", "mnt_list"))):
        yield kernel.object(_MOUNT, address)


def iter_mount_facts(kernel: Kernel, namespace: Object, paths: Paths) -> Iterator[MountFacts]:
    """What is mounted where; what cannot be read is told in kernel.problems."""
    for mount in told(kernel, "mounts", iter_mounts(kernel, namespace)):
        try:
            inner = mount.mnt
            superblock = inner.mnt_sb
            device = mount.mnt_devname
            assert inner.address_ is not None
            yield MountFacts(
                mount.address_ or 0, int(superblock), file_system(superblock.deref_()),
                device.string_() if int(device) else "", paths.at(inner.address_, int(inner.mnt_root)),
            )  # fmt: skip
        except LinscopeError as error:
            kernel.problems.append(f"mount at {mount.address_:#x}: {error}")


def file_system(superblock: Object) -> str:
    """The kind of a file system, "ext4", "fuse.sshfs".  Raises MemoryFault."""
    name = superblock.s_type.member_("name").string_(64)
    subtype = superblock.s_subtype
    return f"{name}.{subtype.string_(64)}" if int(subtype) else name
