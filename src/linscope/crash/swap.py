"""swap: swap areas."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.session import Session
from linscope.kernel.swap import iter_swap_areas
from linscope.picture.rows import Column, Rows


class Swap:
    """Where pages go when memory is short."""

    usage = ""
    help = "Shows the swap areas: how large they are, how much of them is used, their priority."
    examples = ("swap",)

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """None."""

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One table."""
        found = list(iter_swap_areas(session.kernel, session.paths))

        def lines() -> Iterator[str]:
            yield "SWAP_INFO_STRUCT    TYPE       SIZE       USED     PCT  PRI  FILENAME\n"
            for one in found:
                percent = one.used_kb * 100 // one.size_kb if one.size_kb else 0
                yield (
                    f"{one.info:016x}  {one.kind:<9}{f'{one.size_kb}k':>9}{f'{one.used_kb}k':>11}"
                    f"{f'{percent}%':>8} {one.priority:4}  {one.path}\n"
                )

        columns = [
            Column("area"), Column("swap_info_struct", value=hex), Column("type"), Column("size_kb"),
            Column("used_kb"), Column("priority"), Column("path"),
        ]  # fmt: skip
        yield Rows(columns, found, text=lines)


SWAP = Swap()
