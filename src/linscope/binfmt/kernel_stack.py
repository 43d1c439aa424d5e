"""ftrace's event kernel_stack as text: one line a frame, all that the record holds.

The format declares eight frames, and names these alone; the kernel writes as many as there are.
Source: kernel/trace/trace.c, __ftrace_trace_stack; kernel/trace/trace_entries.h.
"""

from __future__ import annotations

from linscope.binfmt.event_format import EventFormat
from linscope.binfmt.print_code import PrintContext, RowPrinter
from linscope.binfmt.print_text import AddressTexts

_REMEMBERED = 10_000  # stacks whose text is kept


def is_kernel_stack(form: EventFormat) -> bool:
    """True for the format of that event."""
    return form.system == "ftrace" and form.name == "kernel_stack" and any(f.name == "caller" for f in form.fields)


def stack_printer(form: EventFormat, context: PrintContext) -> RowPrinter | None:
    """The printer of a table whose column ``caller`` holds tuples of addresses; None for any other event."""
    if not is_kernel_stack(form):
        return None
    names = AddressTexts(context.symbol, offsets=False)
    known: dict[tuple[int, ...], str] = {}

    def text(caller: tuple[int, ...]) -> str:
        found = known.get(caller)
        if found is None:
            if len(known) >= _REMEMBERED:
                known.clear()
            found = known[caller] = "".join(f"\t=> {names[address]}\n" for address in caller)
        return found

    return RowPrinter(("caller",), text, form)
