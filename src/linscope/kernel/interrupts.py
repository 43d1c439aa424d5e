"""Interrupts: descriptors with their handlers and counts, soft interrupts, the vectors of the processor.

Source: include/linux/irqdesc.h, interrupt.h, irq.h; arch/x86/include/asm/desc_defs.h (struct gate_struct).
"""

from __future__ import annotations

from linscope.errors import LinscopeError
from linscope.target.walks import iter_maple, iter_xarray

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

# include/linux/interrupt.h: the order of soft interrupts
SOFTIRQS = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")
_VECTORS = 256
_MOST_ACTIONS = 256


class Interrupt(NamedTuple):
    """One line."""

    number: int
    desc: Object  # struct irq_desc
    actions: list[Object]  # struct irqaction, of those that share it

    @property
    def names(self) -> list[str]:
        """Of its handlers."""
        return [action.member_("name").string_() for action in self.actions]

    @property
    def chip(self) -> str:
        """The controller and how it is told: "IO-APIC-edge".  Raises MemoryFault."""
        chip, kind = self.desc.irq_data.chip, self.desc.member_("name")
        parts = [chip.member_("name").string_() if int(chip) else "", kind.string_() if int(kind) else ""]
        return "-".join(part for part in parts if part)

    def counts(self, cpus: list[int]) -> list[int]:
        """How often it came to each of some CPUs; in struct irqstat since v6.11 (86d2a2f51fba).  Raises MemoryFault."""
        kernel, address = self.desc.space_, int(self.desc.kstat_irqs)
        return [kernel.u32(kernel.per_cpu_address(address, cpu)) for cpu in cpus]  # type: ignore[attr-defined]

    def affinity(self, cpus: int) -> list[int]:
        """Numbers of the CPUs that it may come to, of the first so many.  Raises MemoryFault."""
        mask = self.desc.irq_common_data.affinity
        address = int(mask) if mask.type_.target() is not None else mask.address_
        words = self.desc.space_.memory.read(address or 0, (cpus + 63) // 64 * 8)
        bits = int.from_bytes(words, "little")
        return [cpu for cpu in range(cpus) if bits >> cpu & 1]


def iter_interrupts(kernel: Kernel) -> Iterator[Interrupt]:
    """All that have a descriptor, by number; what cannot be read is told in kernel.problems.

    Raises FormatError, MemoryFault, UnknownNameError.  In a maple tree since v6.5 (721255b9826b).
    """
    found: Iterator[tuple[int, int]]
    if kernel.find_symbol("sparse_irqs") is not None:
        found = ((first, entry) for first, _, entry in iter_maple(kernel, kernel.symbol("sparse_irqs")))
    else:
        head = kernel.symbol("irq_desc_tree") + kernel.types.offset("struct xarray", "xa_head")
        found = iter_xarray(kernel, kernel.u64(head))
    for number, address in found:
        try:
            desc = kernel.object("struct irq_desc", address)
            yield Interrupt(number, desc, list(_actions(desc)))
        except LinscopeError as error:
            kernel.problems.append(f"interrupt {number} at {address:#x}: {error}")


def _actions(desc: Object) -> Iterator[Object]:
    action = desc.action
    for _ in range(_MOST_ACTIONS):
        if not int(action):
            return
        yield action.deref_()
        action = action.deref_().member_("next")


def iter_softirqs(kernel: Kernel) -> Iterator[tuple[int, int]]:
    """(number, address of its function; 0: none).  Raises MemoryFault, UnknownNameError."""
    kind = kernel.types.get("struct softirq_action")
    start = kernel.symbol("softirq_vec")
    for number in range(len(SOFTIRQS)):
        yield number, int(kernel.object(kind, start + number * kind.size).action)


def iter_vectors(kernel: Kernel) -> Iterator[tuple[int, int]]:
    """(vector of the processor, address of its entry; 0: not present).  Raises MemoryFault, UnknownNameError."""
    data = kernel.memory.read(kernel.symbol("idt_table"), 16 * _VECTORS)
    for number in range(_VECTORS):
        low, _, bits, middle, high = (
            int.from_bytes(data[16 * number + at : 16 * number + at + size], "little")
            for at, size in ((0, 2), (2, 2), (4, 2), (6, 2), (8, 4))
        )
        present = bits >> 15
        yield number, (high << 32 | middle << 16 | low) if present else 0
