"""Where the kernel is in physical memory, and its virtual memory from there.

The kernel's image is mapped in one piece: physical = virtual - 0xffffffff80000000 + phys_base, where phys_base is
signed.  So the page tables can be found before there are any.
Source: Documentation/arch/x86/x86_64/mm.rst; NUMBER(phys_base) in Documentation/admin-guide/kdump/vmcoreinfo.rst.
"""

from __future__ import annotations

from collections.abc import Callable

from linscope.errors import FormatError, MemoryFault
from linscope.memory.paging import AddressSpace
from linscope.memory.physical import PhysicalMemory
from linscope.memory.vmcoreinfo import VmcoreInfo, iter_vmcoreinfo

START_KERNEL_MAP = 0xFFFF_FFFF_8000_0000  # __START_KERNEL_map, arch/x86/include/asm/page_64_types.h
_ROOTS = ("swapper_pg_dir", "init_top_pgt", "init_level4_pgt")
_CR3_TABLE = ~0x1FFF  # without PCID; bit 12 tells the user's half with page table isolation (arch/x86/mm/pti.c)


def image_physical(address: int, phys_base: int) -> int:
    """The physical address of a virtual one in the kernel's image.  Raises MemoryFault when it is none.

    phys_base: signed, or as an unsigned 64-bit number.
    """
    physical = address - START_KERNEL_MAP + phys_base & (1 << 64) - 1
    if not START_KERNEL_MAP <= address < 1 << 64 or physical >> 52:
        raise MemoryFault(address, "virtual", MemoryFault.UNMAPPED, why="not in the kernel's image")
    return physical


def kernel_space(memory: PhysicalMemory, vmcoreinfo: bytes | None = None) -> AddressSpace:
    """The virtual memory of the kernel in a memory.

    vmcoreinfo: the note's text; None: the memory's own, else it is looked for, and kept in memory.vmcoreinfo.
    Raises FormatError when no page tables of a kernel can be found.
    """
    text = vmcoreinfo or memory.vmcoreinfo
    reasons: list[str] = []
    if text is not None:
        space = _space(memory, VmcoreInfo(text), reasons)
        if space is not None:
            return space
    else:
        for text in iter_vmcoreinfo(memory):
            space = _space(memory, VmcoreInfo(text), reasons)
            if space is not None:
                memory.vmcoreinfo = text
                return space
        if not reasons:
            reasons.append("there is no VMCOREINFO in it")
    why = "; ".join(dict.fromkeys(reasons[:3]))
    raise FormatError("cannot find the kernel's page tables", where=memory.where, why=why)


def _find_class(memory: PhysicalMemory) -> Callable[..., AddressSpace]:
    if memory.is_live:
        from linscope.memory.kcore import KcoreMemory, KcoreSpace

        if isinstance(memory, KcoreMemory):
            return KcoreSpace
    return AddressSpace


def _space(memory: PhysicalMemory, info: VmcoreInfo, reasons: list[str]) -> AddressSpace | None:
    """The kernel's space if VMCOREINFO tells the truth: its tables map themselves to where they are."""
    levels = 5 if info.number("pgtable_l5_enabled") else 4
    mask = info.number("sme_mask") or 0
    make = _find_class(memory)
    symbol = next((address for name in _ROOTS if (address := info.symbol(name)) is not None), None)
    if symbol is None:
        reasons.append("VMCOREINFO does not tell swapper_pg_dir")
        return None
    candidates = []
    phys_base = info.number("phys_base")
    if phys_base is not None:
        try:
            candidates.append(image_physical(symbol, phys_base))
        except MemoryFault as fault:
            reasons.append(str(fault))
    candidates += [cr3 & _CR3_TABLE for cpu in memory.cpus if (cr3 := cpu.cr3)]
    for root in dict.fromkeys(candidates):
        try:  # a process's tables (cr3) lead to the kernel's, too
            there = make(memory, root, levels=levels, encryption_mask=mask).translate(symbol)
            space = make(memory, there, levels=levels, encryption_mask=mask)
            if space.translate(symbol) == there:
                return space
            reasons.append(f"the tables at {there:#x} do not map themselves")
        except MemoryFault as fault:
            reasons.append(str(fault))
    return None
