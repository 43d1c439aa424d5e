"""vtop: from a virtual address to its physical one, step by step."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash._pages import rows_of_pages
from linscope.crash.command import rows_of_text
from linscope.crash.pte import pte_text
from linscope.crash.session import Session
from linscope.crash.vm import place_text, rows_of_areas, swap_devices
from linscope.errors import LinscopeError, MemoryFault
from linscope.kernel.memory_areas import find_area, page_at
from linscope.kernel.page import Pages, kernel_space
from linscope.kernel.user_space import user_space
from linscope.memory.paging import AddressSpace, Entry
from linscope.picture.rows import Column, Rows
from linscope.target.objects import Object

_FIRST_KERNEL = 1 << 63
_SIZES = {1 << 12: "", 1 << 21: "  (2MB)", 1 << 30: "  (1GB)"}
_COLUMNS = [
    Column("virtual", value=hex), Column("physical", value=lambda value: None if value is None else hex(value)),
    Column("why"), Column("level"), Column("entry_address", value=hex), Column("entry", value=hex),
]  # fmt: skip


class Vtop:
    """Walks page tables."""

    usage = "[-c PID | TASK] [-u | -k] ADDRESS | SYMBOL..."
    help = """\
Translates virtual addresses: the entry of every page table on the way, the bits of the last, the area of user space,
and the struct page.  Addresses of user space are those of the session's task.

  -c PID   those of another task; also for the kernel's addresses by its page tables     -u, -k   user's or kernel's"""
    examples = ("vtop ffff888000000000", "vtop init_task", "vtop -c 1 7ffe4c9ff000")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's vtop."""
        parser.add_argument("-c", dest="task")
        parser.add_argument("-u", dest="user", action="store_true")
        parser.add_argument("-k", dest="kernel", action="store_true")
        parser.add_argument("addresses", nargs="+")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """Some tables an address."""
        task = session.task if arguments.task is None else session.find_tasks([arguments.task])[0]
        for word in arguments.addresses:
            address = session.address(word)
            if arguments.user or (address < _FIRST_KERNEL and not arguments.kernel):
                yield from _rows_of_user(session, task, address)
            else:
                space = kernel_space(session.kernel) if arguments.task is None else user_space(session.kernel, task)
                yield from _rows_of_kernel(session, space, address, arguments.task and task)


def _rows_of_kernel(session: Session, space: AddressSpace, address: int, task: Object | None) -> Iterator[Rows]:
    table = _kernel_tables(session) if task is None else int(task.mm.pgd)
    entries, why = _walk(space, address)
    physical, why = _translate(space, address, why)
    top = f"PGD DIRECTORY: {table:x}\n"
    if entries:
        top += f"PAGE DIRECTORY: {entries[0].value:x}\n"
    yield _rows_of_steps(address, physical, why, entries, top, entries[1:], 16)
    yield from _rows_of_page(session, physical)


def _kernel_tables(session: Session) -> int:
    """Address of the kernel's top page table: swapper_pg_dir is a macro, or the symbol itself."""
    found = session.kernel.info.symbol("swapper_pg_dir")
    return session.kernel.symbol("init_top_pgt") if found is None else found


def _rows_of_user(session: Session, task: Object, address: int) -> Iterator[Rows]:
    space = user_space(session.kernel, task)
    entries, why = _walk(space, address)
    physical, why = _translate(space, address, why)
    yield _rows_of_steps(address, physical, why, entries, "", entries, 10)
    area = find_area(session.kernel, task.mm, address, session.paths)
    if area is not None:
        yield rows_of_areas(int(task.pid), [area])
        yield rows_of_text("\n")
        if physical is None:
            devices = swap_devices(session)
            yield rows_of_text(place_text(page_at(space, area, address), area, devices) + "\n\n")
    yield from _rows_of_page(session, physical)


def _walk(space: AddressSpace, address: int) -> tuple[list[Entry], str]:
    try:
        return space.walk(address), ""
    except MemoryFault as fault:
        return [], str(fault)


def _translate(space: AddressSpace, address: int, why: str) -> tuple[int | None, str]:
    try:
        return space.translate(address), why
    except MemoryFault as fault:
        return None, why or fault.detail or fault.reason


def _rows_of_steps(
    address: int, physical: int | None, why: str, entries: list[Entry], top: str, shown: list[Entry], width: int
) -> Rows:
    def lines() -> Iterator[str]:
        text = "(not mapped)" if physical is None else f"{physical:x}"
        yield f"{'VIRTUAL':<{width}}  PHYSICAL\n{address:<{width}x}  {text}\n\n{top}"
        for one in shown:
            yield f"{one.level:>6}: {one.address:x} => {one.value:x}\n"
        if physical is not None and entries:
            size = entries[-1].size
            yield f"{'PAGE':>6}: {physical & -size:x}{_SIZES.get(size, '')}\n\n"
            yield pte_text(entries[-1].value, physical & -size) + "\n"
        else:
            yield f"\n  ({why or 'not mapped'})\n\n"

    rows = [(address, physical, why, one.level, one.address, one.value) for one in entries]
    return Rows(_COLUMNS, rows or [(address, physical, why, "", 0, 0)], text=lines)


def _rows_of_page(session: Session, physical: int | None) -> Iterator[Rows]:
    if physical is None:
        return
    try:
        pages = Pages(session.kernel)
        yield rows_of_pages([pages.facts(pages.page_of(physical))])
        yield rows_of_text("\n")
    except LinscopeError as error:
        session.problems.append(f"struct page of {physical:#x}: {error}")


VTOP = Vtop()
