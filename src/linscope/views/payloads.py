"""The fields of trace events as text: written by each event's own print fmt, block by block."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from linscope.analysis.kernel_addresses import kernel_names
from linscope.binfmt.binary_printf import binary_printer
from linscope.binfmt.kernel_stack import stack_printer
from linscope.binfmt.print_code import PrintContext, RowPrinter, no_symbol, row_printer
from linscope.binfmt.print_columns import ColumnPrinter, Texts, joined
from linscope.columns.profile import EventTable, Profile
from linscope.symbols.objects import Symbolizer


class Payloads:
    """Text and values of the events of a recording that have a typed table."""

    def __init__(self, profile: Profile, symbolizer: Symbolizer) -> None:
        """Compiles the formats of all tables; ``notes`` tells which could not be."""
        self._symbol = kernel_names(profile, symbolizer)
        self._profile = profile
        self._tables: dict[int, EventTable] = {}
        self._printers: dict[int, tuple[RowPrinter, ColumnPrinter]] = {}
        self.notes: list[str] = []
        self.update()

    def update(self) -> None:
        """Take the tables that the profile has now; a format is compiled once."""
        self._tables.clear()
        for number, event in enumerate(self._profile.events):
            table = self._profile.tables.get(event.name)
            if table is None or table.form is None or not len(table):
                continue
            self._tables[number] = table
            if number not in self._printers:
                self._printers[number] = self._compile(table)

    def _compile(self, table: EventTable) -> tuple[RowPrinter, ColumnPrinter]:
        context: PrintContext = table.printing or PrintContext()
        if context.symbol is no_symbol:
            context = replace(context, symbol=self._symbol)
        own = binary_printer(table.form, context) or stack_printer(table.form, context)
        printer = own or row_printer(table.form, context)
        if printer.problem is not None:
            self.notes.append(f"{table.name}: {printer.problem}; its fields are shown as name=value")
        return printer, ColumnPrinter(printer, context, by_format=own is None)

    def texts(self, samples: NDArray[np.int64]) -> dict[int, str]:
        """The texts of those of the samples, given by number, that have fields."""
        found: dict[int, str] = {}
        events = self._profile.samples.event[samples]
        for number, table in self._tables.items():
            printer = self._printers[number][0]
            mine = samples[events == number]
            if not len(mine):
                continue
            at = np.searchsorted(table.rows, mine)
            at[at == len(table.rows)] = 0
            there = table.rows[at] == mine
            found.update(zip(mine[there].tolist(), printer.rows(table.columns, at[there]), strict=True))
        return found

    def joined_texts(self, samples: NDArray[np.int64]) -> tuple[NDArray[np.uint32], Texts]:
        """Which of some texts each of the samples has, and these; a sample without fields has an empty one."""
        events = self._profile.samples.event[samples]
        parts = [joined([""])]
        which = np.zeros(len(samples), np.uint32)
        count = 1
        for number, table in self._tables.items():
            mine = np.flatnonzero(events == number)
            if not len(mine):
                continue
            at = np.searchsorted(table.rows, samples[mine])
            at[at == len(table.rows)] = 0
            there = table.rows[at] == samples[mine]
            mine, at = mine[there], at[there]
            which[mine] = np.arange(count, count + len(mine), dtype=np.uint32)
            parts.append(self._printers[number][1].write(table.columns, at))
            count += len(mine)
        shifts = np.cumsum([0, *(len(part.text) for part in parts[:-1])]).astype(np.uint64)
        ends = np.concatenate([part.ends + shift for part, shift in zip(parts, shifts, strict=True)])
        return which, Texts(b"".join(part.text for part in parts), ends)
