"""mount: what is mounted where."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.session import Session, parse_hex
from linscope.errors import UsageError
from linscope.kernel.path import MountFacts, iter_mount_facts, mount_namespace
from linscope.picture.rows import Column, Rows


class Mount:
    """Mounted file systems."""

    usage = "[-n PID | TASK] [MOUNT | SUPERBLOCK | DEVICE | DIRECTORY | DENTRY | INODE]..."
    help = """\
Shows the mounted file systems as a task sees them: the session's, or that of -n.  With arguments, only those that are
meant, or that a dentry or an inode belongs to."""
    examples = ("mount", "mount /proc", "mount -n 1")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's mount."""
        parser.add_argument("-n", dest="task")
        parser.add_argument("wanted", nargs="*")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One table."""
        task = session.task if arguments.task is None else session.find_tasks([arguments.task])[0]
        namespace = mount_namespace(task)
        if namespace is None:
            raise UsageError(f"{task.comm.string_()} has ended: it sees no file systems")
        found = list(iter_mount_facts(session.kernel, namespace, session.paths))
        if arguments.wanted:
            found = _chosen(session, found, arguments.wanted)
        width = max((len(one.device) for one in found), default=0)

        def lines() -> Iterator[str]:
            yield f"{'MOUNT':^16} {'SUPERBLK':^16} {'TYPE':<6} {'DEVNAME':<{max(width, 9)}} DIRNAME\n"
            for one in found:
                yield (
                    f"{one.mount:016x} {one.superblock:016x} {one.kind:<6} {one.device:<{max(width, 9)}}"
                    f" {one.directory}\n"
                )

        columns = [
            Column("mount", value=hex), Column("superblock", value=hex), Column("type"), Column("device"),
            Column("directory"),
        ]  # fmt: skip
        yield Rows(columns, found, text=lines)


def _chosen(session: Session, found: list[MountFacts], wanted: list[str]) -> list[MountFacts]:
    chosen = []
    for word in wanted:
        some = [one for one in found if word in (one.device, one.directory)]
        address = parse_hex(word)
        if not some and address is not None:
            some = [one for one in found if address in (one.mount, one.superblock)]
            some = some or _of_superblock(session, found, address)
        if not some:
            raise UsageError(f"nothing that is mounted is or has {word!r}")
        chosen += some
    return chosen


def _of_superblock(session: Session, found: list[MountFacts], address: int) -> list[MountFacts]:
    """The mounts of the file system that has a dentry or an inode at an address."""
    kernel = session.kernel
    for kind, member in (("struct dentry", "d_sb"), ("struct inode", "i_sb"), ("struct vfsmount", "mnt_sb")):
        superblock = int(kernel.object(kind, address).member_(member))
        some = [one for one in found if one.superblock == superblock]
        if some:
            return some
    return []


MOUNT = Mount()
