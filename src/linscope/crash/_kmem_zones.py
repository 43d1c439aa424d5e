"""kmem -i, -f, -F, -z, -n, -V, -h: how memory is used, zone by zone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from linscope.crash.command import rows_of_text
from linscope.crash.session import Session
from linscope.kernel.memory_use import iter_memory_use
from linscope.kernel.page import Pages
from linscope.kernel.vmstat import counters_of_zone, event_counters, node_counters, zone_counters
from linscope.kernel.zones import (
    FreeList,
    ZoneFacts,
    iter_free_lists,
    iter_free_pages,
    iter_huge_pages,
    iter_memory_blocks,
    iter_nodes,
    iter_zone_facts,
    iter_zones,
    zone_facts,
)
from linscope.picture.rows import Column, Rows
from linscope.target.objects import Object

_KB, _MB, _GB = 1 << 10, 1 << 20, 1 << 30
_PAGE = 4096
_AREA_HEAD = "AREA    SIZE  FREE_AREA_STRUCT  BLOCKS  PAGES\n"


def rows_of_use(session: Session) -> Iterator[Rows]:
    """kmem -i."""
    found = list(iter_memory_use(session.kernel, session.paths))

    def lines() -> Iterator[str]:
        yield f"{'PAGES':>22}        TOTAL      PERCENTAGE\n"
        for one in found:
            if one.name in ("TOTAL HUGE", "TOTAL SWAP", "COMMIT LIMIT"):
                yield "\n"
            share = "        ----" if not one.of else f"{_percent(one.pages, one.total):>4} of {one.of}"
            yield f"{one.name:>13} {one.pages:8} {_size(one.pages * _PAGE):>12} {share}\n"

    columns = [Column("name"), Column("pages"), Column("of"), Column("total_pages")]
    yield Rows(columns, found, text=lines)


def _percent(pages: int, total: int) -> str:
    return f"{100 * pages // total if total else 0}%"


def _size(count: int) -> str:
    """12.5 MB; whole numbers have no point."""
    for unit, name in ((_GB, "GB"), (_MB, "MB"), (_KB, "KB")):
        if count >= unit:
            text = f"{count / unit:.1f}"
            return f"{text.removesuffix('.0')} {name}"
    return str(count) if count else "0"


def rows_of_free(session: Session, with_pages: bool) -> Iterator[Rows]:
    """kmem -f, -F."""
    kernel = session.kernel
    pages = Pages(kernel)
    counted = 0
    for zone, facts in iter_zone_facts(kernel):
        lists = list(iter_free_lists(kernel, zone))
        counted += sum(one.blocks << one.order for one in lists)
        yield _rows_of_free_zone(session, pages, facts, lists, with_pages)
    expected = dict(zone_counters(kernel))["NR_FREE_PAGES"]
    verdict = "(verified)" if counted == expected else f"({counted} on the lists)"
    yield rows_of_text(f"nr_free_pages: {expected}  {verdict}\n")


def _rows_of_free_zone(
    session: Session, pages: Pages, zone: ZoneFacts, lists: list[FreeList], with_pages: bool
) -> Rows:
    def blocks(one: FreeList) -> list[int]:
        return list(iter_free_pages(session.kernel, one.head)) if with_pages and one.blocks else []

    def lines() -> Iterator[str]:
        yield _zone_head(pages, zone)
        if lists and not with_pages:
            yield _AREA_HEAD
        for one in lists:
            if with_pages:
                yield f"AREA    SIZE  FREE_AREA_STRUCT\n{_area(one)}\n"
                yield from (f"{page:016x}\n" for page in blocks(one))
            else:
                yield f"{_area(one)} {one.blocks:6} {one.blocks << one.order:6}\n"
        yield "\n"

    rows = [
        (zone.node, zone.name, one.order, one.migrate_type, one.head, one.blocks, one.blocks << one.order)
        for one in lists
    ]  # fmt: skip
    columns = [
        Column("node"), Column("zone"), Column("order"), Column("migrate_type"), Column("free_list", value=hex),
        Column("blocks"), Column("pages"),
    ]  # fmt: skip
    if with_pages:
        columns.append(Column("block_pages", value=lambda found: [hex(page) for page in found]))
        return Rows(columns, [(*row, blocks(one)) for row, one in zip(rows, lists, strict=True)], text=lines)
    return Rows(columns, rows, text=lines)


def _area(one: FreeList) -> str:
    return f"{one.order:3} {f'{4 << one.order}k':>8}  {one.head:016x}"


def _zone_head(pages: Pages, zone: ZoneFacts) -> str:
    start = zone.first_frame * _PAGE
    page = pages.page_of(start) if zone.spanned else 0
    first = f"{page:016x}" if page else f"{0:>16}"
    return (
        "ZONE  NAME        SIZE    FREE      MEM_MAP       START_PADDR  START_MAPNR\n"
        f"{zone.number:3}   {zone.name:<8} {zone.spanned:7} {zone.free:7}  {first}  {start:10x} {zone.first_frame:12}\n"
    )


def rows_of_free_page(facts: ZoneFacts, one: FreeList, first: int, pages: Pages) -> Rows:
    """Where a free page is listed."""
    row = (facts.node, facts.name, one.order, one.migrate_type, one.head, first)
    text = _zone_head(pages, facts) + "AREA    SIZE  FREE_AREA_STRUCT\n" + f"{_area(one)}\n\n{first:016x}\n"
    columns = [
        Column("node"), Column("zone"), Column("order"), Column("migrate_type"), Column("free_list", value=hex),
        Column("block_page", value=hex),
    ]  # fmt: skip
    return Rows(columns, [row], text=lambda: iter((text,)))


def rows_of_zones(session: Session) -> Iterator[Rows]:
    """kmem -z."""
    for zone, facts in iter_zone_facts(session.kernel):
        yield _rows_of_zone(session, zone, facts)


def _rows_of_zone(session: Session, zone: Object, facts: ZoneFacts) -> Rows:
    counters = counters_of_zone(session.kernel, zone) if facts.spanned else []

    def lines() -> Iterator[str]:
        yield f'NODE: {facts.node}  ZONE: {facts.number}  ADDR: {facts.zone:016x}  NAME: "{facts.name}"\n'
        if not facts.spanned:
            yield "  [unpopulated]\n\n"
            return
        present = f"  PRESENT: {facts.present}" if facts.present != facts.spanned else ""
        marks = "/".join(map(str, facts.watermarks))
        yield f"  SIZE: {facts.spanned}{present}  MIN/LOW/HIGH: {marks}\n  VM_STAT:\n"
        for name, value in counters:
            yield f"{name:>21}: {value}\n"
        yield "\n\n"

    columns = [
        Column("node"), Column("number"), Column("zone", value=hex), Column("name"), Column("spanned_pages"),
        Column("present_pages"), Column("first_frame"), Column("watermarks"), Column("free_pages"), Column("counters"),
    ]  # fmt: skip
    return Rows(columns, [(*facts[:7], list(facts.watermarks), facts.free, dict(counters))], text=lines)


def rows_of_counters(session: Session) -> Iterator[Rows]:
    """kmem -V."""
    kernel = session.kernel
    for title, found in (
        ("VM_ZONE_STAT", zone_counters(kernel)), ("VM_NODE_STAT", node_counters(kernel)),
        ("VM_EVENT_STATES", event_counters(kernel)),
    ):  # fmt: skip
        width = max((len(name) for name, _ in found), default=0)
        text = [f"  {title}:\n", *(f"{name:>{max(width, 26)}}: {value}\n" for name, value in found), "\n"]
        rows = [(title.lower(), *one) for one in found]
        yield Rows([Column("table"), Column("name"), Column("value")], rows, text=partial(iter, text))


def rows_of_nodes(session: Session) -> Iterator[Rows]:
    """kmem -n."""
    kernel = session.kernel
    pages = Pages(kernel)
    for node in iter_nodes(kernel):
        yield from _rows_of_node(session, pages, node)
    yield rows_of_text("-" * 67 + "\n\n")
    sections = []
    for number, address, coded in pages.iter_sections():
        base = coded & ~0x3F
        flags = "".join(letter if coded >> bit & 1 else " " for bit, letter in enumerate("PMOED"))
        sections.append((number, address, base, base + number * 32768 * pages.size, flags.strip(), number * 32768))

    def lines() -> Iterator[str]:
        yield "NR      SECTION        CODED_MEM_MAP        MEM_MAP       STATE PFN\n"
        for number, address, base, first, flags, frame in sections:
            yield f"{number:2}  {address:016x}  {base:016x}  {first:016x}  {flags:<5} {frame}\n"
        yield "\n"

    columns = [
        Column("section"), Column("mem_section", value=hex), Column("coded_mem_map", value=hex),
        Column("mem_map", value=hex), Column("state"), Column("frame"),
    ]  # fmt: skip
    yield Rows(columns, sections, text=lines)
    blocks = list(iter_memory_blocks(kernel))

    def block_lines() -> Iterator[str]:
        if blocks:
            yield "   MEM_BLOCK        NAME        PHYSICAL RANGE     NODE  STATE   START_SECTION_NO\n"
        for one in blocks:
            place = f"{one.first:10x} - {one.last:8x}"
            yield f" {one.block:016x}   {one.name:<8} {place}  {one.node}    {one.state}  {one.section}\n"

    columns = [
        Column("memory_block", value=hex), Column("name"), Column("first", value=hex), Column("last", value=hex),
        Column("node"), Column("state"), Column("section"),
    ]  # fmt: skip
    yield Rows(columns, blocks, text=block_lines)


def _rows_of_node(session: Session, pages: Pages, node: Object) -> Iterator[Rows]:
    number = int(node.node_id)
    zones = [zone_facts(zone, number, place) for place, zone in enumerate(iter_zones(session.kernel, node))]
    spanned, first = int(node.node_spanned_pages), int(node.node_start_pfn)

    def lines() -> Iterator[str]:
        yield "NODE    SIZE      PGLIST_DATA       BOOTMEM_DATA       NODE_ZONES\n"
        yield f"{number:3} {spanned:9}   {node.address_:016x}        ----        {zones[0].zone:016x}\n"
        for zone in zones[1:]:
            yield f"{'':52}{zone.zone:016x}\n"
        start = first * _PAGE
        yield "    MEM_MAP          START_PADDR    START_MAPNR\n"
        yield f"{pages.page_of(start):016x}  {start:10x} {first:13}\n\n"
        yield "ZONE  NAME         SIZE       MEM_MAP      START_PADDR  START_MAPNR\n"
        for zone in zones:
            start = zone.first_frame * _PAGE
            page = f"{pages.page_of(start):016x}" if zone.spanned else f"{0:>16}"
            yield f"{zone.number:3}   {zone.name:<8} {zone.spanned:8}  {page}  {start:10x} {zone.first_frame:12}\n"
        yield "\n"

    columns = [
        Column("node"), Column("pglist_data", value=hex), Column("spanned_pages"), Column("first_frame"),
        Column("zones", value=lambda found: [hex(zone) for zone in found]),
    ]  # fmt: skip
    yield Rows(columns, [(number, node.address_, spanned, first, [zone.zone for zone in zones])], text=lines)


def rows_of_huge_pages(session: Session) -> Iterator[Rows]:
    """kmem -h."""
    found = list(iter_huge_pages(session.kernel))

    def lines() -> Iterator[str]:
        yield "     HSTATE        SIZE    FREE   TOTAL  NAME\n"
        for one in found:
            size = _size(one.size_bytes).replace(" ", "")
            yield f"{one.hstate:016x}  {size:>5} {one.free:7} {one.total:7}  {one.name}\n"

    columns = [Column("hstate", value=hex), Column("size_bytes"), Column("free"), Column("total"), Column("name")]
    yield Rows(columns, found, text=lines)
