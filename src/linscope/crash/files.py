"""files: what tasks have open."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash._pages import rows_of_pages
from linscope.crash.command import rows_of_text
from linscope.crash.session import Session, parse_hex
from linscope.crash.task import head_of
from linscope.errors import UsageError
from linscope.kernel.files import OpenFile, iter_files, root_path, working_directory
from linscope.kernel.page import Pages
from linscope.kernel.path import inode_kind
from linscope.kernel.task import task_cpu
from linscope.picture.rows import Column, Rows
from linscope.target.objects import Object
from linscope.target.walks import iter_xarray

_COLUMNS = [
    Column("pid"), Column("fd"), Column("file", value=hex), Column("dentry", value=hex), Column("inode", value=hex),
    Column("mapping", value=hex), Column("cached_pages"), Column("kind"), Column("path"), Column("protocol"),
    Column("position"), Column("flags"),
]  # fmt: skip


class Files:
    """Open files of tasks."""

    usage = "[-c] [-R TEXT] [-d DENTRY | -p INODE] [PID | TASK]..."
    help = """\
Shows the root, the working directory and the open files of tasks.  Paths are as /proc/PID/fd has them.

  -c        with the pages of each file that are in memory
  -R TEXT   only tasks and files whose number, address or path has this
  -d DENTRY, -p INODE   what a dentry is, which pages of an inode are in memory"""
    examples = ("files 1", "foreach files -R /dev/pts", "files -c")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's files."""
        parser.add_argument("-c", dest="cached", action="store_true")
        parser.add_argument("-R", dest="reference", default="")
        parser.add_argument("-d", dest="dentry")
        parser.add_argument("-p", dest="inode")
        parser.add_argument("tasks", nargs="*")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """A head, the places, the files of each task."""
        if arguments.dentry is not None:
            yield _rows_of_dentry(session, _address(arguments.dentry))
        elif arguments.inode is not None:
            yield from _rows_of_inode(session, _address(arguments.inode))
        else:
            for task in session.find_tasks(arguments.tasks) if arguments.tasks else [session.task]:
                yield from _rows_of_task(session, task, arguments.reference, arguments.cached)


def _address(word: str) -> int:
    found = parse_hex(word)
    if found is None:
        raise UsageError(f"{word!r} is no address")
    return found


def _rows_of_task(session: Session, task: Object, reference: str, cached: bool) -> Iterator[Rows]:
    paths = session.paths
    files = [one for one in iter_files(session.kernel, task, paths) if not reference or _is_meant(one, reference)]
    if reference and not files:
        return
    pid = int(task.pid)
    yield head_of(pid, task.address_ or 0, task_cpu(task), task.comm.string_())
    root, here = root_path(task, paths), working_directory(task, paths)
    places = [(pid, root, here)]
    columns = [Column("pid"), Column("root"), Column("working_directory")]
    yield Rows(columns, places, text=lambda: iter((f"ROOT: {root}    CWD: {here}\n",)))
    if not files:
        yield rows_of_text("No open files\n\n")
        return

    def lines() -> Iterator[str]:
        if cached:
            yield f" FD {'INODE':^16} {'I_MAPPING':^16} NRPAGES TYPE PATH\n"
        else:
            yield f" FD {'FILE':^16} {'DENTRY':^16} {'INODE':^16} TYPE PATH\n"
        for one in files:
            name = one.protocol or one.path
            if cached:
                yield f"{one.fd:3} {one.inode:016x} {one.mapping:016x} {one.cached_pages:7} {one.kind:4} {name}\n"
            else:
                yield f"{one.fd:3} {one.file:016x} {one.dentry:016x} {one.inode:016x} {one.kind:4} {name}\n"
        yield "\n"

    yield Rows(_COLUMNS, [(pid, *one) for one in files], text=lines)


def _is_meant(one: OpenFile, reference: str) -> bool:
    if reference.isdigit() and int(reference) == one.fd:
        return True
    address = parse_hex(reference)
    return address in (one.file, one.dentry, one.inode, one.mapping) or reference in (one.protocol or one.path)


def _rows_of_dentry(session: Session, address: int) -> Rows:
    dentry = session.kernel.object("struct dentry", address)
    inode, path = dentry.d_inode, session.paths.at(0, address)
    kind = inode_kind(int(inode.i_mode)) if int(inode) else ""
    row = (address, int(inode), int(dentry.d_sb), kind, path)

    def lines() -> Iterator[str]:
        yield f"{'DENTRY':^16} {'INODE':^16} {'SUPERBLK':^16} TYPE PATH\n"
        yield f"{row[0]:016x} {row[1]:016x} {row[2]:016x} {kind:4} {path}\n"

    columns = [
        Column("dentry", value=hex), Column("inode", value=hex), Column("superblock", value=hex), Column("kind"),
        Column("path"),
    ]  # fmt: skip
    return Rows(columns, [row], text=lines)


def _rows_of_inode(session: Session, address: int) -> Iterator[Rows]:
    mapping = session.kernel.object("struct inode", address).i_mapping
    count = int(mapping.nrpages)
    heading = f"{'INODE':^16} NRPAGES\n{address:016x} {count:7}\n\n"
    yield Rows([Column("inode", value=hex), Column("cached_pages")], [(address, count)], text=lambda: iter((heading,)))
    pages = Pages(session.kernel)
    entries = iter_xarray(session.kernel, int(mapping.i_pages.xa_head))
    yield rows_of_pages([pages.facts(entry) for _, entry in entries if not entry & 3])


FILES = Files()
