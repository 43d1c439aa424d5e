"""vm: the address space of tasks."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.command import rows_of_text
from linscope.crash.session import Session, parse_hex
from linscope.crash.struct import rows_of_object
from linscope.crash.task import head_of
from linscope.errors import LinscopeError, UsageError
from linscope.kernel.memory_areas import Area, AreaPage, iter_areas, iter_pages, vm_flag_names
from linscope.kernel.swap import iter_swap_areas
from linscope.kernel.task import rss_pages, task_cpu
from linscope.kernel.user_space import user_space
from linscope.picture.rows import Column, Rows
from linscope.target.kernel import Kernel
from linscope.target.objects import Object

_PAGE_KB = 4
_AREAS = [
    Column("pid"), Column("vma", value=hex), Column("start", value=hex), Column("end", value=hex),
    Column("flags", value=hex), Column("file", value=hex), Column("file_offset"), Column("path"), Column("name"),
]  # fmt: skip
_PAGES = [
    Column("pid"), Column("vma", value=hex), Column("virtual", value=hex),
    Column("physical", value=lambda value: None if value is None else hex(value)), Column("swap_device"),
    Column("swap_page"), Column("path"), Column("file_offset"),
]  # fmt: skip


class Vm:
    """Memory areas of tasks, their pages."""

    usage = "[-p | -P VMA | -m | -v | -f FLAGS] [-M MM] [-R TEXT] [-x | -d] [PID | TASK]..."
    help = """\
Shows the address space of tasks: mm_struct, page directory, size, and every area with its flags and file.

  -p        where each page is: its physical address, its swap area, or its file     -P VMA   of one area only
            (of an area of more than 4 GB only the pages in memory)
  -m        the mm_struct           -v   every vm_area_struct         -x, -d   numbers to the base 16 or 10
  -M MM     of this mm_struct, for a task that has lost its own
  -R TEXT   only what has this number or name         -f FLAGS   the names of bits of vm_flags"""
    examples = ("vm 1", "vm -p 1", "foreach vm -R libc")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's vm."""
        what = parser.add_mutually_exclusive_group()
        what.add_argument("-p", dest="pages", action="store_true")
        what.add_argument("-P", dest="vma")
        what.add_argument("-m", dest="mm_struct", action="store_true")
        what.add_argument("-v", "-r", dest="structs", action="store_true")
        what.add_argument("-f", dest="flags")
        parser.add_argument("-M", dest="mm")
        parser.add_argument("-R", dest="reference", default="")
        parser.add_argument("-x", dest="base", action="store_const", const=16, default=10)
        parser.add_argument("-d", dest="base", action="store_const", const=10)
        parser.add_argument("tasks", nargs="*")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """Some answers a task."""
        if arguments.flags is not None:
            yield _rows_of_flags(_number(arguments.flags))
            return
        for task in session.find_tasks(arguments.tasks) if arguments.tasks else [session.task]:
            mm = session.kernel.object("struct mm_struct", _number(arguments.mm)) if arguments.mm else task.mm
            yield from _rows_of_task(session, task, mm, arguments)


def _number(text: str) -> int:
    found = parse_hex(text)
    if found is None:
        raise UsageError(f"{text!r} is no hexadecimal number")
    return found


def _rows_of_flags(flags: int) -> Rows:
    names = vm_flag_names(flags)
    text = f"{flags:x}: ({'|'.join(names)})\n"
    return Rows([Column("flags", value=hex), Column("names")], [(flags, names)], text=lambda: iter((text,)))


def _rows_of_task(session: Session, task: Object, mm: Object, arguments: argparse.Namespace) -> Iterator[Rows]:
    kernel = session.kernel
    pid = int(task.pid)
    address = int(mm) if mm.type_.target() is not None else mm.address_ or 0
    areas: list[Area] = []
    if address and not arguments.mm_struct:
        areas = list(iter_areas(kernel, mm, session.paths))
    if arguments.vma is not None:
        areas = [one for one in areas if one.vma == _number(arguments.vma)]
        if not areas:
            raise UsageError(f"{task.comm.string_()} (PID {pid}) has no memory area at {arguments.vma}")
    reference = arguments.reference
    if reference:
        areas = [one for one in areas if _is_meant(one, reference)]
        if not areas:
            return
    yield head_of(pid, task.address_ or 0, task_cpu(task), task.comm.string_())
    if arguments.mm_struct or arguments.structs:
        if not address:
            yield rows_of_text("(no memory of its own)\n")
        elif arguments.mm_struct:
            yield rows_of_object(session, kernel.object("struct mm_struct", address), [], arguments.base)
        else:
            for one in areas:
                vma = kernel.object("struct vm_area_struct", one.vma)
                yield rows_of_object(session, vma, [], arguments.base)
    else:
        if arguments.vma is None:
            yield _rows_of_space(kernel, task, mm, address)
        if arguments.pages or arguments.vma is not None:
            yield from _rows_of_pages(session, task, pid, areas, reference)
        else:
            yield rows_of_areas(pid, areas)
    yield rows_of_text("\n")


def _is_meant(area: Area, reference: str) -> bool:
    number = parse_hex(reference)
    if number is not None and (number in (area.vma, area.flags, area.file) or area.start <= number < area.end):
        return True
    return bool(reference) and reference in area.path


def _rows_of_space(kernel: Kernel, task: Object, mm: Object, address: int) -> Rows:
    rss = total = table = 0
    if address:
        rss, total, table = rss_pages(kernel, task) * _PAGE_KB, int(mm.total_vm) * _PAGE_KB, int(mm.pgd)
    row = (int(task.pid), address, table, rss, total)

    def lines() -> Iterator[str]:
        yield "       MM               PGD          RSS    TOTAL_VM\n"
        cells = [f"{one:016x}" if one else f"{0:^16}" for one in (address, table)]
        yield f"{cells[0]}  {cells[1]} {f'{rss}k':>5} {f'{total}k':>9}\n"

    columns = [Column("pid"), Column("mm", value=hex), Column("pgd", value=hex), Column("rss_kb"), Column("total_kb")]
    return Rows(columns, [row], text=lines)


_HEAD = "      VMA           START       END     FLAGS FILE\n"


def area_line(one: Area) -> str:
    """The line of crash's vm."""
    return f"{one.vma:016x} {one.start:10x} {one.end:10x} {one.flags:6x} {one.path}".rstrip() + "\n"


def rows_of_areas(pid: int, areas: list[Area]) -> Rows:
    """A row an area; as data with the names of /proc/PID/maps."""
    return Rows(_AREAS, [(pid, *one) for one in areas], text=lambda: iter([_HEAD, *map(area_line, areas)]))


def _rows_of_pages(session: Session, task: Object, pid: int, areas: list[Area], reference: str) -> Iterator[Rows]:
    """A table an area; reference: one address whose page alone is meant."""
    space = user_space(session.kernel, task)
    wanted = parse_hex(reference) if reference else None
    devices = swap_devices(session)

    def rows_of(area: Area) -> Rows:
        def pages() -> Iterator[AreaPage]:
            inside = wanted is not None and area.start <= wanted < area.end
            return (one for one in iter_pages(space, area) if not inside or one.address == (wanted or 0) & -4096)

        def data() -> Iterator[tuple[object, ...]]:
            for one in pages():
                device, page = (None, None) if one.swap is None else (devices.get(one.swap[0]), one.swap[1])
                yield pid, area.vma, one.address, one.physical, device, page, area.path, one.file_offset

        def lines() -> Iterator[str]:
            yield _HEAD + area_line(area) + f"{'VIRTUAL':^10}  PHYSICAL\n"
            for one in pages():
                yield f"{one.address:<10x}  {place_text(one, area, devices)}\n"

        return Rows(_PAGES, data(), text=lines)

    for area in areas:
        yield rows_of(area)


def swap_devices(session: Session) -> dict[int, str]:
    """Paths of the swap areas by their numbers."""
    try:
        return {one.number: one.path for one in iter_swap_areas(session.kernel, session.paths)}
    except LinscopeError as error:
        session.problems.append(f"swap areas: {error}")
        return {}


def place_text(page: AreaPage, area: Area | None, devices: dict[int, str]) -> str:
    """Where a page is, as crash says it."""
    if page.physical is not None:
        return f"{page.physical:x}"
    if page.swap is not None:
        kind, offset = page.swap
        return f"SWAP: {devices.get(kind, f'(area {kind})')}  OFFSET: {offset}"
    if area is not None and page.file_offset is not None:
        return f"FILE: {area.path}  OFFSET: {page.file_offset:x}"
    return "(not mapped)"


VM = Vm()
