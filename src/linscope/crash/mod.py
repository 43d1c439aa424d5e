"""mod: the modules."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.session import Session
from linscope.picture.rows import Column, Rows


class Mod:
    """Modules that are loaded."""

    usage = ""
    help = "Shows the modules: address of struct module, name, where the code begins, size."
    examples = ("mod",)

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """None: the kernel's own symbols of modules are always there."""

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One table."""
        modules = session.kernel.modules
        width = max((len(one.name) for one in modules), default=4)

        def lines() -> Iterator[str]:
            yield f"{'MODULE':^16}  {'NAME':<{width}}  {'TEXT_BASE':^16}  {'SIZE':>8}\n"
            for one in modules:
                yield f"{one.object.address_:16x}  {one.name:<{width}}  {one.base:16x}  {one.size:8}\n"

        columns = [Column("module", value=hex), Column("name"), Column("text_base", value=hex), Column("size_bytes")]
        yield Rows(columns, [(one.object.address_, one.name, one.base, one.size) for one in modules], text=lines)


MOD = Mod()
