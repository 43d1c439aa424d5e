"""kmem: the kernel's memory, how it is used, and what an address belongs to."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from linscope.crash import _kmem_zones as zones
from linscope.crash._kmem_find import physical_of_page, rows_of_address, rows_of_vmalloc
from linscope.crash._kmem_slabs import rows_of_caches
from linscope.crash._pages import HEADING, PAGE_COLUMNS, page_line, page_row, rows_of_pages
from linscope.crash.session import Session, parse_hex
from linscope.errors import UsageError
from linscope.kernel.page import FRAME_SHIFT, Pages
from linscope.kernel.zones import find_free
from linscope.picture.rows import Column, Rows

_WHOLE = (
    ("use", zones.rows_of_use), ("counters", zones.rows_of_counters), ("nodes", zones.rows_of_nodes),
    ("zones", zones.rows_of_zones), ("huge", zones.rows_of_huge_pages),
)  # fmt: skip

_CPUS = re.compile(r"a|all|[\d,-]+")


class Kmem:
    """Slabs, zones, vmalloc, pages, and any address."""

    usage = "[-i -f -F -v -V -n -z -o -h] [-p | -m MEMBERS | -g] [-s | -S | -S=CPUS] [-I CACHES] [-P] [WORD]..."
    help = """\
Shows how the kernel's memory is used.  With an address alone: its symbol, slab object, task, area, page.

  -i   what it is used for       -z   zones          -n   nodes and sections     -V   counters     -h   huge pages
  -f   free blocks by size       -F   each of them   -v   vmalloc                -o   where CPUs' variables begin
  -s [CACHE|ADDRESS|list]   slab caches, or the object at an address      -I CACHES   but not these
  -S [CACHE]   with every object; -S=CPUS: of those CPUs
  -p [ADDRESS] struct pages; -m MEMBERS: those members of them      -g [FLAGS]   names of their flags
  -P   the addresses are physical"""
    examples = ("kmem -i", "kmem -s", "kmem -S task_struct", "kmem ffff8e95811fb000")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's kmem."""
        add = parser.add_argument
        for letter, name in (
            ("i", "use"), ("f", "free"), ("F", "free_pages"), ("v", "vmalloc"), ("V", "counters"), ("n", "nodes"),
            ("z", "zones"), ("o", "offsets"), ("h", "huge"), ("p", "pages"), ("g", "flags"), ("s", "caches"),
            ("P", "physical"),
        ):  # fmt: skip
            add(f"-{letter}", dest=name, action="store_true")
        add("-S", dest="objects", nargs="?", const="")
        add("-m", dest="members")
        add("-I", dest="ignored", default="")
        add("words", nargs="*")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """The answers of each option that is given."""
        words = arguments.words
        if arguments.caches or arguments.objects is not None:
            cpus = arguments.objects or None
            if cpus is not None and not _CPUS.fullmatch(cpus):  # -S CACHE
                words, cpus = [cpus, *words], None
            yield from rows_of_caches(session, words, arguments.ignored, arguments.objects is not None, cpus)
            return
        if arguments.flags:
            yield _rows_of_flags(session, words)
            return
        addresses = [session.address(word) for word in words]
        if arguments.pages or arguments.members:
            yield _rows_of_pages(session, arguments, addresses)
        elif arguments.vmalloc:
            if not addresses:
                yield rows_of_vmalloc(session)
            for address in addresses:
                yield rows_of_vmalloc(session, address)
        elif (arguments.free or arguments.free_pages) and addresses:
            yield from _rows_of_free_pages(session, arguments, addresses)
        elif addresses:
            for address in addresses:
                yield from rows_of_address(session, address, arguments.physical)
            return
        yield from _whole(session, arguments)


def _whole(session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
    some = False
    for name, make in _WHOLE:
        if getattr(arguments, name):
            some = True
            yield from make(session)
    if (arguments.free or arguments.free_pages) and not arguments.words:
        some = True
        yield from zones.rows_of_free(session, arguments.free_pages)
    if arguments.offsets:
        some = True
        yield _rows_of_offsets(session)
    if not some and not (arguments.words or arguments.pages or arguments.members or arguments.vmalloc):
        raise UsageError("an option or an address is needed", next_step="help kmem")


def _rows_of_offsets(session: Session) -> Rows:
    rows = [(cpu, session.kernel.per_cpu_address(0, cpu)) for cpu in session.kernel.cpus("possible")]
    lines = ["PER-CPU OFFSET VALUES:\n", *(f"  CPU {cpu}: {offset:x}\n" for cpu, offset in rows)]
    return Rows([Column("cpu"), Column("offset", value=hex)], rows, text=lambda: iter(lines))


def _rows_of_flags(session: Session, words: list[str]) -> Rows:
    bits = Pages(session.kernel).flag_bits()
    head = []
    if words:
        value = parse_hex(words[0])
        if value is None:
            raise UsageError(f"{words[0]!r} is no hexadecimal number")
        head = [f"FLAGS: {value:x}\n"]
        bits = [(bit, name) for bit, name in bits if value >> bit & 1]
    width = max((len(name) for _, name in bits), default=0) + 3
    indent = "  " if words else ""

    def lines() -> Iterator[str]:
        yield from head
        yield f"{indent}{'PAGE-FLAG':<{max(width, 9)}}  BIT  VALUE\n"
        for bit, name in bits:
            yield f"{indent}{'PG_' + name:<{max(width, 9)}} {bit:4}  {1 << bit:07x}\n"

    return Rows([Column("name"), Column("bit")], [(name, bit) for bit, name in bits], text=lines)


def _rows_of_pages(session: Session, arguments: argparse.Namespace, addresses: list[int]) -> Rows:
    pages = Pages(session.kernel)
    if arguments.members:
        return _rows_of_members(session, pages, arguments, addresses)
    if addresses:
        places = [physical_of_page(session, pages, one, arguments.physical) for one in addresses]
        return rows_of_pages([pages.facts(pages.page_of(one)) for one in places])

    def lines() -> Iterator[str]:
        yield HEADING
        yield from map(page_line, pages.iter_facts())

    return Rows(PAGE_COLUMNS, map(page_row, pages.iter_facts()), text=lines)


def _iter_pages(pages: Pages) -> Iterator[int]:
    for first, behind in pages.iter_frames():
        yield from (pages.page_of(frame << FRAME_SHIFT) for frame in range(first, behind))


def _rows_of_members(session: Session, pages: Pages, arguments: argparse.Namespace, addresses: list[int]) -> Rows:
    from linscope.crash.struct import data_of, shower

    names = [name for name in arguments.members.split(",") if name]
    for name in names:
        session.kernel.types.place(pages.type, name)
    places = [pages.page_of(physical_of_page(session, pages, one, arguments.physical)) for one in addresses]
    show = shower(session, 16)

    def rows() -> Iterator[tuple[object, ...]]:
        for page in places or _iter_pages(pages):
            one = session.kernel.object(pages.type, page)
            yield page, *(data_of(one.member_(name)) for name in names)

    def lines() -> Iterator[str]:
        yield f"{'PAGE':^16}  {'  '.join(name.upper() for name in names)}\n"
        for page in places or _iter_pages(pages):
            one = session.kernel.object(pages.type, page)
            cells = "  ".join(" ".join(show.show(one.member_(name)).split()) for name in names)
            yield f"{page:016x}  {cells}\n"

    return Rows([Column("page", value=hex), *map(Column, names)], rows(), text=lines)


def _rows_of_free_pages(session: Session, arguments: argparse.Namespace, addresses: list[int]) -> Iterator[Rows]:
    pages = Pages(session.kernel)
    for address in addresses:
        page = pages.page_of(physical_of_page(session, pages, address, arguments.physical))
        found = find_free(session.kernel, pages, page)
        if found is None:
            raise UsageError(f"the page of {address:x} is not free")
        yield zones.rows_of_free_page(*found, pages)


KMEM = Kmem()
