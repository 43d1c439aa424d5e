"""User stacks of samples that carry registers and a dump of the stack (perf record --call-graph dwarf).

They can be unwound only when all mappings are known, and those stand anywhere in the file: so the records are read a
second time.  Nothing but the resulting stacks is kept.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from linscope.abi import perf_event as pe
from linscope.binfmt.perf_records import Scanner
from linscope.columns.profile import Space
from linscope.errors import InputError, UnsupportedError
from linscope.formats.perf_data.attrs import EventAttr
from linscope.formats.perf_data.stream import Chunk, ToolRecord
from linscope.symbols.objects import SearchPath, Symbolizer
from linscope.symbols.unwind import ENDINGS, make_unwinder

# arch/x86/include/uapi/asm/perf_regs.h: sp and ip; the highest general register
_X86_NEEDED = 1 << 7 | 1 << 8
_X86_LAST = 23


def has_stack_dumps(attrs: Iterable[EventAttr]) -> bool:
    """True if samples of some event carry user registers and a stack dump."""
    both = pe.PERF_SAMPLE_REGS_USER | pe.PERF_SAMPLE_STACK_USER
    return any(attr.sample_type & both == both and attr.sample_stack_user for attr in attrs)


def why_not(attrs: Iterable[EventAttr], architecture: str, where: str) -> InputError | None:
    """Why the dumps cannot be unwound, None if they can.

    architecture: the recording's (uname -m), "" when it does not tell: then the registers' mask has to fit x86-64.
    """
    masks = [attr.sample_regs_user for attr in attrs if attr.sample_type & pe.PERF_SAMPLE_REGS_USER]
    fits = all(mask & _X86_NEEDED == _X86_NEEDED and mask >> (_X86_LAST + 1) == 0 for mask in masks)
    if architecture == "x86_64" or (not architecture and fits):
        return None
    return UnsupportedError(
        f"user stacks of this machine's architecture ({architecture or 'not told'}) are not unwound",
        where=where,
        why="stack dumps are walked for x86_64 only; the kernel's part of each stack is complete",
        next_step="record with --call-graph fp there",
    )


class Spool:
    """A stream that cannot be rewound, read through here and kept, so that it can be read again."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._kept: Any = tempfile.TemporaryFile(buffering=0)

    def seekable(self) -> bool:
        """False: this is the stream itself."""
        return False

    def readinto(self, view: memoryview) -> int:
        """As of a raw stream: bytes read, 0 at the end."""
        got: int = self._source.readinto(view) or 0  # type: ignore[attr-defined]
        self._keep(view[:got])
        return got

    def read(self, size: int = -1) -> bytes:
        """As of a raw stream."""
        data = self._source.read(size) or b""
        self._keep(data)
        return data

    def _keep(self, data: bytes | memoryview) -> None:
        if self._kept is None:
            return
        view = memoryview(data)
        try:
            while view:
                view = view[self._kept.write(view) :]
        except OSError:  # no room for it
            self.forget()

    def forget(self) -> None:
        """Keep no more: it will not be read again."""
        if self._kept is not None:
            with contextlib.suppress(OSError):
                self._kept.close()
            self._kept = None

    def again(self) -> BinaryIO | None:
        """What was read, from its beginning; None when it could not be kept."""
        if self._kept is not None:
            self._kept.seek(0)
        return self._kept  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close both."""
        self.forget()
        self._source.close()


def unwind_user_stacks(
    items: Callable[[Scanner], Iterable[Chunk | ToolRecord]],
    scanner: Scanner,
    spaces: Sequence[Space],
    space_of_sample: NDArray[np.uint32],
    search: SearchPath | None,
) -> tuple[NDArray[np.uint32], dict[str, int]]:
    """Read all records again, with a scanner of their own, and unwind.

    items: the records, as this scanner scans them; space_of_sample: row of spaces, of each sample in the file's order.
    Returns the stack of each sample in the scanner's tree, and how many walks ended how (ENDINGS).
    """
    unwinder = make_unwinder(spaces, lambda: Symbolizer(search=search), swap=scanner.swap)
    scanner.set_unwinder(unwinder, space_of_sample)
    parts = [item.scanned.samples["stack"] for item in items(scanner) if isinstance(item, Chunk)]
    stack = np.concatenate(parts) if parts else np.empty(0, np.uint32)
    samples, completed = scanner.take_completed()
    stack[samples.astype(np.int64)] = completed
    scanner.set_unwinder(None, np.empty(0, np.uint32))
    return stack, dict(zip(ENDINGS, unwinder.endings(), strict=True))
