"""A kernel's memory with words that are wrong: the same ones each time for a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from linscope.crash import COMMANDS
from linscope.errors import LinscopeError
from linscope.target.kernel import Kernel

PAGE = 4096
LINES = (
    "sys", "sys -t", "sys -i", "ps", "ps -t 1", "ps -m", "ps -p 1", "ps -c 1", "ps -r 1", "foreach bt", "bt -a -s",
    "bt -f 1", "bt -e 1", "bt -v", "log", "log -T", "mod", "runq", "runq -g", "timer", "timer -r", "irq", "irq -s",
    "irq -a", "irq -b", "sig 1", "waitq kauditd_wait", "mach",
    "mach -m", "findings", "list -H modules module.list", "task 1",
    "tree -t xarray irq_desc_tree", "dis vfs_read 10", "rd jiffies_64 20", "sym vfs_read", "struct task_struct 1",
    "p init_task", "files 1", "foreach files", "mount", "vm 1", "foreach vm", "vtop ffff8e95811fb000", "ptov 1000000",
    "swap", "kmem -i", "kmem -s", "kmem -S kmalloc-64", "kmem -f", "kmem -v", "kmem -V", "kmem -n", "kmem -z",
    "kmem ffff8e95811fb000", "ipcs", "net", "net -a", "net -s 1", "dev", "dev -i", "dev -d", "set 1",
    "search -k 57ac6e9d",
)  # fmt: skip


class DamagedMemory:
    """Memory whose pages have wrong words, chosen when they are first read."""

    def __init__(self, memory: Any, rng: random.Random, *, share: float, part: range) -> None:
        """share: of the pages that are damaged, in a part of the addresses."""
        self._memory, self._rng, self._share, self._part = memory, rng, share, part
        self._wrong: dict[int, list[tuple[int, bytes]]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)

    def read(self, address: int, size: int) -> bytes:
        """As the memory has it, with wrong words."""
        data = self._memory.read(address, size)
        changed = None
        for page in range(address // PAGE, (address + max(size, 1) - 1) // PAGE + 1):
            if page not in self._wrong:
                self._wrong[page] = self._choose(page)
            for offset, word in self._wrong[page]:
                at = page * PAGE + offset - address
                if 0 <= at <= size - 8:
                    changed = bytearray(data) if changed is None else changed
                    changed[at : at + 8] = word
        return data if changed is None else bytes(changed)

    def _choose(self, page: int) -> list[tuple[int, bytes]]:
        rng = self._rng
        if page * PAGE not in self._part or rng.random() >= self._share:
            return []
        return [(8 * rng.randrange(PAGE // 8), self._word()) for _ in range(rng.choice((1, 4, 40)))]

    def _word(self) -> bytes:
        rng = self._rng
        match rng.randrange(6):
            case 0:
                return b"\xff" * 8
            case 1:
                return bytes(8)
            case 2:
                return rng.randbytes(8)
            case 3:  # into the slab, the kernel, or one bit
                return (0xFFFF8E9581000000 + 8 * rng.randrange(1 << 24)).to_bytes(8, "little")
            case 4:
                return (0xFFFFFFFF9B000000 + rng.randrange(1 << 24)).to_bytes(8, "little")
        return (1 << rng.randrange(64)).to_bytes(8, "little")


def damaged(kernel: Kernel, seed: int) -> Kernel:
    """The same kernel in damaged memory.  Raises LinscopeError when it cannot be opened so."""
    rng = random.Random(seed)
    share = rng.choice((0.01, 0.05, 0.3, 1.0))
    objects = range(0xFFFF800000000000, 0xFFFFFFFF80000000)  # the direct map, stacks and struct pages
    data = range(kernel.symbol("_sdata"), kernel.symbol("_end"))
    every = range(1 << 64)  # the tables of symbols and types as well: mostly refused
    part = rng.choice((objects, objects, data, data, every))
    memory: Any = DamagedMemory(kernel.memory, rng, share=share, part=part)
    return Kernel(memory, kernel.info, physical=kernel.physical, where=kernel.where)


def lines(seed: int, count: int) -> Iterator[str]:
    """Some of the commands that there are."""
    known = [line for line in LINES if line.partition(" ")[0] in COMMANDS]
    yield from random.Random(seed).sample(known, count)


def answer(session: Any, line: str, form: str) -> int:
    """Characters of an answer; -1: it was refused.  What is no LinscopeError comes through."""
    import io

    from linscope.render.rows import write_rows

    out = io.StringIO()
    try:
        for rows in session.run(line):
            write_rows(rows, form, out)
    except LinscopeError:
        return -1
    return len(out.getvalue())
