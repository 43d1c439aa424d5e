"""Struct pages as crash's kmem -p shows them."""

from __future__ import annotations

from collections.abc import Iterator

from linscope.kernel.page import PageFacts
from linscope.picture.rows import Column, Rows

PAGE_COLUMNS = [
    Column("page", value=hex), Column("physical", value=hex), Column("mapping", value=hex), Column("index"),
    Column("references"), Column("flags", value=hex), Column("flag_names"),
]  # fmt: skip


HEADING = f"{'PAGE':^16} {'PHYSICAL':>8} {'MAPPING':^16} {'INDEX':>8} CNT FLAGS\n"


def page_row(one: PageFacts) -> tuple[object, ...]:
    """Values for PAGE_COLUMNS."""
    return (*one[:6], ",".join(one.flag_names))


def page_line(one: PageFacts) -> str:
    """The line of crash's kmem -p."""
    mapping = f"{one.mapping:016x}" if one.mapping else f"{0:>16}"
    return (
        f"{one.page:016x} {one.physical:8x} {mapping} {one.page_index:8x} {one.references:2} {one.flags:x}"
        f" {','.join(one.flag_names)}".rstrip() + "\n"
    )  # fmt: skip


def rows_of_pages(found: list[PageFacts]) -> Rows:
    """Struct pages, as kmem -p shows them."""

    def lines() -> Iterator[str]:
        yield HEADING
        for one in found:
            yield page_line(one)

    return Rows(PAGE_COLUMNS, [page_row(one) for one in found], text=lines)
