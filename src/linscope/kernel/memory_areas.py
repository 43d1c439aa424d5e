"""What a process has in its address space: areas, their flags, and where the pages of one are.

Source: include/linux/mm_types.h, mm.h (VM_*); fs/proc/task_mmu.c for the names of areas.
"""

from __future__ import annotations

from linscope.errors import FormatError, LinscopeError, MemoryFault
from linscope.kernel.told import told
from linscope.target.walks import MOST, iter_maple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.kernel.path import Paths
    from linscope.memory.paging import AddressSpace
    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

_VMA = "struct vm_area_struct"
_PAGE = 4096
_MOST_BYTES = 1 << 32  # of an area whose every page is told
# bits of vm_flags on x86-64 with the names of include/linux/mm.h; those that move from kernel to kernel are left out
VM_FLAGS = (
    "READ", "WRITE", "EXEC", "SHARED", "MAYREAD", "MAYWRITE", "MAYEXEC", "MAYSHARE", "GROWSDOWN", "UFFD_MISSING",
    "PFNMAP", "MAYBE_GUARD", "UFFD_WP", "LOCKED", "IO", "SEQ_READ", "RAND_READ", "DONTCOPY", "DONTEXPAND",
    "LOCKONFAULT", "ACCOUNT", "NORESERVE", "HUGETLB", "SYNC", "ARCH_1", "WIPEONFORK", "DONTDUMP", "SOFTDIRTY",
    "MIXEDMAP", "HUGEPAGE", "NOHUGEPAGE", "MERGEABLE",
)  # fmt: skip


class Area(NamedTuple):
    """One area of an address space."""

    vma: int  # address of the vm_area_struct
    start: int
    end: int  # behind the last byte
    flags: int
    file: int  # address of the struct file; 0: anonymous
    offset: int  # in the file, bytes
    path: str  # of the file, "" without one
    name: str  # the same, or what /proc/PID/maps has: "[heap]", "[stack]", "[vdso]"


class AreaPage(NamedTuple):
    """Where one page of an area is: in memory, in a swap area, in its file, or nowhere."""

    address: int
    physical: int | None  # None: not in memory
    swap: tuple[int, int] | None  # (number of the swap area, page in it)
    file_offset: int | None  # bytes, of what has a file


def iter_vmas(kernel: Kernel, mm: Object) -> Iterator[Object]:
    """The areas (vm_area_struct) of an address space by address.

    Raises FormatError, MemoryFault; what came before was given.  Source: a list until v6.0, a maple tree since v6.1
    (763ecb035029).
    """
    if kernel.types.has_member("struct mm_struct", "mm_mt"):
        tree = mm.mm_mt.address_
        assert tree is not None
        for _, _, address in iter_maple(kernel, tree):
            if not address & 3:
                yield kernel.object(_VMA, address)
        return
    seen: set[int] = set()
    vma = mm.mmap
    while int(vma):
        address = int(vma)
        if address in seen or len(seen) >= MOST:
            raise FormatError(f"the list of areas of {mm.address_ or int(mm):#x} goes in a circle at {address:#x}")
        seen.add(address)
        yield vma.deref_()
        vma = vma.vm_next


def iter_areas(kernel: Kernel, mm: Object, paths: Paths) -> Iterator[Area]:
    """The same with names; what cannot be read is told in kernel.problems, and the rest is given."""
    for vma in told(kernel, f"memory areas of {mm.address_ or int(mm):#x}", iter_vmas(kernel, mm)):
        try:
            yield area_of(kernel, mm, vma, paths)
        except LinscopeError as error:
            kernel.problems.append(f"memory area at {vma.address_:#x}: {error}")


def area_of(kernel: Kernel, mm: Object, vma: Object, paths: Paths) -> Area:
    """An area with its name.  Raises FormatError, MemoryFault."""
    file = vma.vm_file
    start, end = int(vma.vm_start), int(vma.vm_end)
    path = paths.of_file(file.deref_()) if int(file) else ""
    offset = int(vma.vm_pgoff) * _PAGE if path else 0
    name = path or _name(kernel, mm, vma, start, end)
    return Area(vma.address_ or 0, start, end, int(vma.vm_flags), int(file), offset, path, name)


def _name(kernel: Kernel, mm: Object, vma: Object, start: int, end: int) -> str:
    """What /proc/PID/maps calls an area without a file; "" for no name."""
    operations, private = int(vma.vm_ops), int(vma.vm_private_data)
    if operations and private and operations == kernel.find_symbol("special_mapping_vmops"):
        return kernel.object("struct vm_special_mapping", private).member_("name").string_(64)
    if start <= int(mm.brk) and end >= int(mm.start_brk):
        return "[heap]"
    if start <= int(mm.start_stack) <= end:
        return "[stack]"
    if kernel.types.has_member(_VMA, "anon_name") and int(vma.anon_name):
        return f"[anon:{vma.anon_name.member_('name').string_(256)}]"
    return ""


def find_area(kernel: Kernel, mm: Object, address: int, paths: Paths) -> Area | None:
    """The area that an address is in; None: in none.  Raises FormatError, MemoryFault."""
    for vma in iter_vmas(kernel, mm):
        if int(vma.vm_start) <= address < int(vma.vm_end):
            return area_of(kernel, mm, vma, paths)
    return None


def iter_pages(space: AddressSpace, area: Area) -> Iterator[AreaPage]:
    """Where each page of an area is; of one that is larger than 4 GB only what is in memory.  space: the process's.

    Raises MemoryFault for endless page tables.
    """
    if area.end - area.start <= _MOST_BYTES:
        for address in range(area.start, area.end, _PAGE):
            yield page_at(space, area, address)
        return
    for one in space.ranges(area.start, area.end):
        for address in range(max(one.start, area.start), min(one.end, area.end), _PAGE):
            yield page_at(space, area, address)


def page_at(space: AddressSpace, area: Area | None, address: int) -> AreaPage:
    """Where the page of one address is.  area: what it is in, None for nothing."""
    from linscope.memory.paging import PRESENT, PROT_NONE, swap_entry

    in_file = None if area is None or not area.file else (address & -_PAGE) - area.start + area.offset
    try:
        return AreaPage(address, space.translate(address), None, in_file)
    except MemoryFault:
        pass
    try:
        last = space.walk(address)[-1]
    except MemoryFault:
        return AreaPage(address, None, None, in_file)
    swap = None
    if last.level == "PTE" and last.value and not last.value & (PRESENT | PROT_NONE):
        swap = swap_entry(last.value)
    return AreaPage(address, None, swap, in_file)


def vm_flag_names(flags: int) -> list[str]:
    """Names of the set bits of vm_flags, without VM_; bits without one are left out."""
    return [name for bit, name in enumerate(VM_FLAGS) if flags >> bit & 1]
