"""p: the value of an expression."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.session import Session
from linscope.crash.struct import data_of, shower
from linscope.picture.rows import Column, Rows
from linscope.target.evaluate import evaluate


class P:
    """An expression of C over the kernel's variables."""

    usage = "[-x | -d] EXPRESSION"
    help = """\
Shows the value of an expression: variables, members, casts, operators, SYMBOL:CPU for per-CPU variables.
The types of per-CPU variables and of about 70 others are known; others need a cast: p *(struct file *)0xffff...

  -x, -d   numbers to the base 16 or 10"""
    examples = ("p init_task.comm", "p runqueues:0.nr_running", "p sizeof(struct page)", "p -x jiffies_64")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """All words: what begins with a minus can be an option or the expression."""
        parser.add_argument("words", nargs=argparse.REMAINDER)

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One answer."""
        words = list(arguments.words)
        base = 10
        while words and words[0] in ("-x", "-d"):
            base = 16 if words.pop(0) == "-x" else 10
        text = " ".join(words)
        one = evaluate(session.kernel, text)
        shown = shower(session, base).show(one)
        if one.type_.target() is not None:
            shown = f"({one.type_.name}) {shown}"
        row = (text, one.type_.name, None if one.address_ is None else hex(one.address_), one)
        columns = [Column("expression"), Column("type"), Column("address"), Column("value", value=data_of)]
        yield Rows(columns, [row], text=lambda: iter((f"{text} = {shown}\n",)))


PRINT = P()
