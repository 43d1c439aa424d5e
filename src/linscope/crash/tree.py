"""tree: what is in a red-black tree, an xarray or a maple tree."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.list import rows_of_addresses
from linscope.crash.session import Session
from linscope.crash.struct import offset_of
from linscope.picture.rows import Column, Rows
from linscope.target.walks import iter_maple, iter_rbtree, iter_xarray

_TYPES = {"rbtree": "rbtree", "rb": "rbtree", "xarray": "xarray", "xa": "xarray", "radix": "xarray",
          "ra": "xarray", "maple": "maple", "ma": "maple"}  # fmt: skip


class Tree:
    """Entries of a tree, in order."""

    usage = "[-t rbtree|radix|xarray|maple] [-r OFFSET] [[-o] OFFSET] [-s STRUCT[.MEMBER,...] [-x|-d]] [-p] ROOT"
    help = """\
Shows the entries of a tree: by default a red-black tree (struct rb_root), whose nodes lie at OFFSET in the structs.

  -t T       the kind of tree: rbtree, xarray, radix (an xarray since v4.20), maple
  -r OFFSET  ROOT is a struct, in which the root lies there: bytes, or STRUCT.MEMBER
  -o OFFSET  where the rb_node lies in the structs of a red-black tree
  -s S[.M]   shows each entry as that struct, or the members
  -p         with the index (xarray), or the range of indexes (maple)"""
    examples = (
        "tree -t xarray ffff8e958108bd40", "tree -t maple -r mm_struct.mm_mt ffff8e9581123000",
        "tree -o vmap_area.rb_node -s vmap_area.va_start vmap_area_root",
    )  # fmt: skip

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's tree."""
        parser.add_argument("-t", dest="type", choices=sorted(_TYPES), default="rbtree")
        parser.add_argument("-r", dest="root")
        parser.add_argument("-o", dest="offset")
        parser.add_argument("-s", dest="structs", action="append", default=[])
        parser.add_argument("-x", dest="base", action="store_const", const=16, default=10)
        parser.add_argument("-d", dest="base", action="store_const", const=10)
        parser.add_argument("-p", dest="places", action="store_true")
        parser.add_argument("words", nargs="+")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """The entries."""
        words = list(arguments.words)
        offset = arguments.offset or (words.pop(0) if len(words) > 1 else "0")
        root = session.address(words[0]) + (offset_of(session, arguments.root) if arguments.root else 0)
        kernel, kind = session.kernel, _TYPES[arguments.type]
        if kind == "rbtree":
            found = iter_rbtree(kernel, root, offset_of(session, offset))
            yield from rows_of_addresses(session, found, arguments.structs, arguments.base)
            return
        entries: Iterator[tuple[int, int, int]]
        if kind == "xarray":
            head = kernel.u64(root + kernel.types.offset("struct xarray", "xa_head"))
            entries = ((index, index, entry) for index, entry in iter_xarray(kernel, head))
        else:
            entries = iter_maple(kernel, root)
        if arguments.places and not arguments.structs:
            yield _rows_of_places(entries)
            return
        yield from rows_of_addresses(session, (one[2] for one in entries), arguments.structs, arguments.base)


def _rows_of_places(entries: Iterator[tuple[int, int, int]]) -> Rows:
    def lines() -> Iterator[str]:
        for first, last, entry in entries:
            yield f"{entry:x}\n  index: {first:#x}{f'-{last:#x}' if last != first else ''}\n"

    columns = [Column("first"), Column("last"), Column("entry", value=hex)]
    return Rows(columns, entries, text=lines)


TREE = Tree()
