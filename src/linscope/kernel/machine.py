"""The machine that a kernel runs on: memory ranges, processors, and where the kernel put its own parts.

Source: arch/x86/include/asm/e820/types.h, cpu_entry_area.h, processor.h; Documentation/arch/x86/x86_64/mm.rst.
"""

from __future__ import annotations

from linscope.errors import LinscopeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
else:
    from linscope.binfmt.records import NamedTuple

KERNEL_MAP = 0xFFFFFFFF80000000  # __START_KERNEL_map
_IMAGE_SIZE = 512 << 20  # KERNEL_IMAGE_SIZE of kernels that cannot be moved
_E820 = {
    1: "E820_RAM", 2: "E820_RESERVED", 3: "E820_ACPI", 4: "E820_NVS", 5: "E820_UNUSABLE", 7: "E820_PMEM",
    12: "E820_PRAM", 128: "E820_RESERVED_KERN", 0xEFFFFFFF: "E820_SOFT_RESERVED",
}  # fmt: skip
_MOST_RANGES = 3200
_MOST_NODES = 1024


class Stack(NamedTuple):
    """A stack of a CPU for one purpose."""

    purpose: str  # "IRQ", "DOUBLEFAULT", "NMI", "DEBUG", "MCE"
    cpu: int
    start: int
    size: int


def iter_e820(kernel: Kernel) -> Iterator[tuple[int, int, str]]:
    """(first, behind the last, kind) of the ranges of physical memory that the firmware told.

    Raises MemoryFault, UnknownNameError.
    """
    table = kernel.object("struct e820_table", kernel.u64(kernel.symbol("e820_table")))
    for place in range(min(int(table.nr_entries), _MOST_RANGES)):
        entry = table.entries[place]
        start, kind = int(entry.addr), int(entry.member_("type"))
        yield start, start + int(entry.size), _E820.get(kind, f"type {kind}")


def memory_bytes(kernel: Kernel) -> int:
    """Memory that the kernel manages or keeps, all nodes.  Raises MemoryFault, UnknownNameError."""
    pages = 0
    if kernel.find_symbol("node_data") is not None:
        start = kernel.symbol("node_data")
        for node in nodes(kernel):
            address = kernel.u64(start + 8 * node)
            if address:
                pages += int(kernel.object("struct pglist_data", address).node_present_pages)
    elif kernel.find_symbol("contig_page_data") is not None:
        pages = int(kernel.variable("contig_page_data").node_present_pages)
    return 4096 * (pages or int(kernel.variable("_totalram_pages").counter))


def nodes(kernel: Kernel) -> list[int]:
    """Numbers of the nodes that are online.  Source: include/linux/nodemask.h, N_ONLINE.

    Raises MemoryFault, UnknownNameError.
    """
    size = kernel.types.get("nodemask_t").size
    mask = int.from_bytes(kernel.memory.read(kernel.symbol("node_states") + size, size), "little")
    return [node for node in range(min(8 * size, _MOST_NODES)) if mask >> node & 1]


def modules_base(kernel: Kernel) -> int:
    """Where modules can be from on: behind the kernel's image.  Source: MODULES_VADDR, asm/pgtable_64_types.h."""
    return KERNEL_MAP + (kernel.info.number("KERNEL_IMAGE_SIZE") or _IMAGE_SIZE)


def khz(kernel: Kernel) -> int:
    """Of the processors; 0 when nothing tells.  Raises MemoryFault."""
    found = kernel.find_symbol("cpu_khz") or kernel.find_symbol("tsc_khz")
    return 0 if found is None else kernel.u32(found)


def iter_stacks(kernel: Kernel) -> Iterator[Stack]:
    """Stacks for interrupts and exceptions, by purpose and CPU; what cannot be read is told in kernel.problems."""
    cpus = kernel.cpus()
    size = 4 * 4096  # IRQ_STACK_SIZE
    for cpu in cpus:
        try:
            top = _interrupt_stack(kernel, cpu)
        except LinscopeError as error:
            kernel.problems.append(f"interrupt stack of CPU {cpu}: {error}")
            continue
        if top:
            yield Stack("IRQ", cpu, (top - size + 8) & ~4095, size)
    places = kernel.types.find("struct cea_exception_stacks")
    symbol = kernel.find_symbol("cea_exception_stacks")
    if places is None or symbol is None:
        return
    for purpose, member in (
        ("DOUBLEFAULT", "DF_stack"),
        ("NMI", "NMI_stack"),
        ("DEBUG", "DB_stack"),
        ("MCE", "MCE_stack"),
    ):
        for cpu in cpus:
            base = kernel.u64(kernel.per_cpu_address(symbol, cpu))
            one = kernel.object(places, base).member_(member)
            if one.type_.size and one.address_:
                yield Stack(purpose, cpu, one.address_, one.type_.size)


def _interrupt_stack(kernel: Kernel, cpu: int) -> int:
    """Its highest word.  In pcpu_hot from v6.2 (d7b6d709a76a) to v6.14.  Raises MemoryFault, UnknownNameError."""
    if kernel.find_symbol("pcpu_hot") is not None:
        return int(kernel.per_cpu("pcpu_hot", cpu).hardirq_stack_ptr)
    return kernel.u64(kernel.per_cpu_address(kernel.symbol("hardirq_stack_ptr"), cpu))


def iter_dmi(kernel: Kernel) -> Iterator[tuple[str, str]]:
    """(name, text) of what the firmware says of the machine.

    Source: include/linux/mod_devicetable.h, enum dmi_field.  Raises MemoryFault, UnknownNameError.
    """
    kind = kernel.types.find("enum dmi_field")
    content = None if kind is None else kind.content()
    start = kernel.symbol("dmi_ident")
    for name, value in getattr(content, "values", ()):
        if name.startswith("DMI_") and name not in ("DMI_NONE", "DMI_STRING_MAX", "DMI_OEM_STRING"):
            address = kernel.u64(start + 8 * value)
            if address:
                yield name, kernel.string(address)


def taints(kernel: Kernel) -> list[str]:
    """The letters of what taints the kernel, each with what it means.

    Source: Documentation/admin-guide/tainted-kernels.rst.  Raises MemoryFault, UnknownNameError.
    """
    mask = kernel.u64(kernel.symbol("tainted_mask"))
    return [f"{letter}: {meaning}" for bit, (letter, meaning) in enumerate(_TAINTS) if mask >> bit & 1]


_TAINTS = (
    ("P", "a proprietary module"), ("F", "a module was forced in"), ("S", "CPUs out of their specification"),
    ("R", "a module was forced out"), ("M", "a machine check"), ("B", "a bad page"), ("U", "user space asked for it"),
    ("D", "the kernel died (oops)"), ("A", "an ACPI table was overridden"), ("W", "a warning was issued"),
    ("C", "a staging driver"), ("I", "a workaround for firmware"), ("O", "a module from outside the tree"),
    ("E", "an unsigned module"), ("L", "a soft lockup"), ("K", "the kernel is live patched"),
    ("X", "the distribution's own"), ("T", "structures are laid out at random"), ("N", "an in-kernel test ran"),
)  # fmt: skip
