"""kmem ADDRESS: what an address belongs to; kmem -v: areas of vmalloc."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from linscope.crash._kmem_slabs import rows_of_object
from linscope.crash._kmem_zones import rows_of_free_page
from linscope.crash._pages import rows_of_pages
from linscope.crash.command import rows_of_text
from linscope.crash.session import Session
from linscope.errors import LinscopeError, MemoryFault, UsageError
from linscope.kernel.page import Pages, kernel_space
from linscope.kernel.slab import Slabs
from linscope.kernel.stacks import stack_size
from linscope.kernel.task import iter_tasks, task_cpu
from linscope.kernel.vmalloc import VmapArea, iter_vmap_areas
from linscope.kernel.zones import find_free
from linscope.memory.physical import ADDRESS_END
from linscope.picture.rows import Column, Rows

_AREAS = [
    Column("vmap_area", value=hex), Column("vm_struct", value=hex), Column("start", value=hex),
    Column("end", value=hex), Column("size_bytes"), Column("caller"), Column("pages"), Column("flags", value=hex),
]  # fmt: skip


def physical_of_page(session: Session, pages: Pages, address: int, is_physical: bool) -> int:
    """The physical address that an address is, or means: of a struct page, or virtual.

    Raises MemoryFault, UsageError.
    """
    if is_physical or address < ADDRESS_END:
        return address
    of_page = pages.physical_of(address)
    if of_page is not None and (address - pages.base) % pages.size == 0:
        return of_page
    return kernel_space(session.kernel).translate(address)


def rows_of_vmalloc(session: Session, address: int | None = None) -> Rows:
    """The areas of vmalloc; with an address, virtual or physical, the one that has it."""
    found = list(iter_vmap_areas(session.kernel))
    if address is not None:
        found = [one for one in found if _has(session, one, address)]

    def caller(one: VmapArea) -> str:
        return session.kernel.name_of(one.caller) if one.caller else ""

    def lines() -> Iterator[str]:
        yield "   VMAP_AREA         VM_STRUCT                 ADDRESS RANGE                SIZE\n"
        for one in found:
            size = one.end - one.start
            yield f"{one.area:016x}  {one.vm_struct:016x}  {one.start:016x} - {one.end:016x}  {size:7}\n"

    rows = [
        (one.area, one.vm_struct, one.start, one.end, one.end - one.start, caller(one), one.pages, one.flags)
        for one in found
    ]
    return Rows(_AREAS, rows, text=lines)


def _has(session: Session, one: VmapArea, address: int) -> bool:
    if address >= ADDRESS_END:
        return one.start <= address < one.end
    space = kernel_space(session.kernel)
    for at in range(one.start, one.end, 4096):
        try:
            if space.translate(at) == address & -4096:
                return True
        except MemoryFault:
            continue
    return False


def rows_of_address(session: Session, address: int, is_physical: bool) -> Iterator[Rows]:
    """All that an address belongs to: symbol, slab, task, stack, vmalloc, free list, page.

    Raises UsageError for one that belongs to nothing.
    """
    pages = Pages(session.kernel)
    try:
        physical = physical_of_page(session, pages, address, is_physical)
    except MemoryFault as fault:
        raise UsageError(f"{address:x} is no address of the kernel", why=str(fault)) from None
    some = False
    for find in (_symbol, _slab, _task, _vmalloc, _free, _page):
        try:
            for rows in find(session, pages, address, physical):
                some = True
                yield rows
                yield rows_of_text("\n")
        except LinscopeError as error:
            session.problems.append(f"{find.__name__.strip('_')} of {address:#x}: {error}")
    if not some:
        raise UsageError(f"{address:x} belongs to nothing that the kernel tells of")


def _symbol(session: Session, pages: Pages, address: int, physical: int) -> Iterator[Rows]:
    if address < ADDRESS_END or pages.offset <= address < pages.base:
        return
    place = session.kernel.place_of(address)
    if place is None:
        return
    at = session.kernel.symbols.find_place(place.address) if not place.module else None
    letter = "?" if at is None else session.kernel.symbols.kind(at)
    name = place.symbol + (f"+{place.offset}" if place.offset else "")
    text = f"{address:x} ({letter}) {name}" + (f" [{place.module}]" if place.module else "") + "\n"
    columns = [Column("address", value=hex), Column("type"), Column("symbol"), Column("offset"), Column("module")]
    row = (address, letter, place.symbol, place.offset, place.module)
    yield Rows(columns, [row], text=lambda: iter((text,)))


def _slab(session: Session, pages: Pages, address: int, physical: int) -> Iterator[Rows]:
    if address < ADDRESS_END or pages.physical_of(address) is not None:
        return
    found = rows_of_object(session, Slabs(session.kernel), address)
    if found is not None:
        yield found


def _task(session: Session, pages: Pages, address: int, physical: int) -> Iterator[Rows]:
    size = session.kernel.types.get("struct task_struct").size
    depth = stack_size(session.kernel)
    for task in iter_tasks(session.kernel, idle=True):
        at = task.address_ or 0
        if at <= address < at + size or int(task.stack) <= address < int(task.stack) + depth:
            pid, comm, cpu = int(task.pid), task.comm.string_(), task_cpu(task)
            text = f'    PID: {pid}\nCOMMAND: "{comm}"\n   TASK: {at:x}\n    CPU: {cpu}\n'
            where = "task_struct" if at <= address < at + size else "stack"
            columns = [Column("pid"), Column("comm"), Column("task", value=hex), Column("cpu"), Column("part")]
            yield Rows(columns, [(pid, comm, at, cpu, where)], text=partial(iter, (text,)))
            return


def _vmalloc(session: Session, pages: Pages, address: int, physical: int) -> Iterator[Rows]:
    if address >= ADDRESS_END:
        found = rows_of_vmalloc(session, address)
        if list(found.rows):
            yield found


def _free(session: Session, pages: Pages, address: int, physical: int) -> Iterator[Rows]:
    found = find_free(session.kernel, pages, pages.page_of(physical))
    if found is not None:
        yield rows_of_free_page(*found, pages)


def _page(session: Session, pages: Pages, address: int, physical: int) -> Iterator[Rows]:
    if pages.has(physical):
        yield rows_of_pages([pages.facts(pages.page_of(physical))])
