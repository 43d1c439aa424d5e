"""System V IPC: shared memory, semaphores, message queues.

Source: include/linux/ipc_namespace.h, ipc.h (struct kern_ipc_perm); ipc/shm.c, sem.c, msg.c; include/linux/shmem_fs.h.
"""

from __future__ import annotations

from linscope.errors import LinscopeError
from linscope.kernel.path import file_system
from linscope.kernel.told import told
from linscope.target.walks import iter_xarray

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

_SEM, _MSG, _SHM = 0, 1, 2  # IPC_SEM_IDS, IPC_MSG_IDS, IPC_SHM_IDS (ipc/util.h)
_PERMS = 0o777
_DEST, _LOCKED = 0o1000, 0o2000  # SHM_DEST, SHM_LOCKED


class SharedMemory(NamedTuple):
    """A segment of shared memory."""

    address: int  # of the shmid_kernel
    key: int
    id: int
    uid: int
    perms: int
    size_bytes: int
    attached: int  # processes
    status: str  # "", "dest", "locked"
    inode: int
    resident_pages: int
    swapped_pages: int


class Semaphores(NamedTuple):
    """A set of semaphores."""

    address: int  # of the sem_array
    key: int
    id: int
    uid: int
    perms: int
    semaphores: int


class MessageQueue(NamedTuple):
    """A queue of messages."""

    address: int  # of the msg_queue
    key: int
    id: int
    uid: int
    perms: int
    used_bytes: int
    messages: int


def ipc_namespace(kernel: Kernel, task: Object) -> Object:
    """The struct ipc_namespace of a task; the first one for a task that has ended.  Raises MemoryFault."""
    proxy = task.nsproxy
    return proxy.ipc_ns.deref_() if int(proxy) else kernel.variable("init_ipc_ns")


def _iter(kernel: Kernel, namespace: Object, which: int, kind: str, member: str) -> Iterator[Object]:
    """What a namespace has of one kind; a damaged tree is told in kernel.problems.  Raises MemoryFault."""
    tree = namespace.ids[which].ipcs_idr.idr_rt
    entries = iter_xarray(kernel, int(tree.cast_("struct xarray").xa_head))
    for _, address in told(kernel, f"{kind.removeprefix('struct ')}s of {namespace.address_:#x}", entries):
        if not address & 3:
            yield kernel.object("struct kern_ipc_perm", address).container_of_(kind, member)


def iter_shared_memory(kernel: Kernel, namespace: Object) -> Iterator[SharedMemory]:
    """The segments; what cannot be read is told in kernel.problems."""
    for one in _iter(kernel, namespace, _SHM, "struct shmid_kernel", "shm_perm"):
        try:
            perm, file = one.shm_perm, one.shm_file
            mode = int(perm.mode)
            inode = file.f_inode if int(file) else None
            resident, swapped = (0, 0) if inode is None else _pages(kernel, inode)
            status = "dest" if mode & _DEST else "locked" if mode & _LOCKED else ""
            yield SharedMemory(
                *_head(one, perm), int(one.shm_segsz), int(one.shm_nattch), status, 0 if inode is None else int(inode),
                resident, swapped,
            )  # fmt: skip
        except LinscopeError as error:
            kernel.problems.append(f"shmid_kernel at {one.address_:#x}: {error}")


def _head(one: Object, perm: Object) -> tuple[int, int, int, int, int]:
    """(address, key, id, uid, perms)."""
    return (one.address_ or 0, int(perm.key) & 0xFFFF_FFFF, int(perm.id), int(perm.uid.val), int(perm.mode) & _PERMS)


def _pages(kernel: Kernel, inode: Object) -> tuple[int, int]:
    """(in memory, swapped out) pages of a file in memory."""
    resident = int(inode.i_mapping.nrpages)
    if file_system(inode.i_sb.deref_()) != "tmpfs":
        return resident, 0  # huge pages
    return resident, int(inode.container_of_("struct shmem_inode_info", "vfs_inode").swapped)


def iter_semaphores(kernel: Kernel, namespace: Object) -> Iterator[Semaphores]:
    """The sets of semaphores; what cannot be read is told in kernel.problems."""
    for one in _iter(kernel, namespace, _SEM, "struct sem_array", "sem_perm"):
        try:
            yield Semaphores(*_head(one, one.sem_perm), int(one.sem_nsems))
        except LinscopeError as error:
            kernel.problems.append(f"sem_array at {one.address_:#x}: {error}")


def iter_message_queues(kernel: Kernel, namespace: Object) -> Iterator[MessageQueue]:
    """The queues; what cannot be read is told in kernel.problems."""
    for one in _iter(kernel, namespace, _MSG, "struct msg_queue", "q_perm"):
        try:
            yield MessageQueue(*_head(one, one.q_perm), int(one.q_cbytes), int(one.q_qnum))
        except LinscopeError as error:
            kernel.problems.append(f"msg_queue at {one.address_:#x}: {error}")
