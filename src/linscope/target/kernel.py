"""A kernel in memory: everything else asks it for symbols, types, variables and stacks.

All is found in the kernel's own memory: VMCOREINFO tells where its tables are, they tell the rest.
Source: Documentation/admin-guide/kdump/vmcoreinfo.rst.
"""

from __future__ import annotations

from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf import Btf
from linscope.errors import FormatError, LinscopeError, MemoryFault, UnknownNameError
from linscope.target.kallsyms import KernelSymbols
from linscope.target.objects import Object, Space
from linscope.target.types import Type, Types
from linscope.target.variables import GLOBALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from linscope.contracts import Memory
    from linscope.memory.physical import PhysicalMemory
    from linscope.memory.vmcoreinfo import VmcoreInfo
    from linscope.target.modules import Module
    from linscope.target.orc import Orc
    from linscope.target.unwind import Unwinder
else:
    from linscope.binfmt.records import NamedTuple

_MOST_TYPES = 1 << 28  # bytes of BTF
_FIRST_KERNEL = 1 << 63
_FAR = 1 << 24  # bytes behind the last symbol in front of it that an address can have a name


class Place(NamedTuple):
    """What an address is called."""

    symbol: str
    offset: int  # bytes from the symbol on
    module: str  # "" for the kernel's own
    address: int  # of the symbol

    @property
    def in_decimal(self) -> str:
        """ "vfs_read+151", as crash writes it, without the module."""
        return f"{self.symbol}+{self.offset}" if self.offset else self.symbol

    def __str__(self) -> str:
        offset = f"+{self.offset:#x}" if self.offset else ""
        return f"{self.symbol}{offset}" + (f" [{self.module}]" if self.module else "")


def open_kernel(path: str, *others: str) -> Kernel:
    """The kernel in a dump, a guest's RAM or /proc/kcore; "qemu:PID" and "qemu:PATH" are a guest that runs.

    others: the other parts of a split dump.

    Close it, or use ``with``.  Raises FormatError, UnsupportedError, InputError, MemoryFault.
    """
    from linscope.memory import open_memory
    from linscope.memory.kernel_image import kernel_space
    from linscope.memory.vmcoreinfo import VmcoreInfo

    file = path
    if path.startswith("qemu:"):
        from linscope.memory.guests import find_guest_ram

        file = find_guest_ram(path.removeprefix("qemu:"))
    physical = open_memory(file, *others, where=path)
    try:
        space = kernel_space(physical)
        assert physical.vmcoreinfo is not None
        return Kernel(space, VmcoreInfo(physical.vmcoreinfo), physical=physical, where=path)
    except BaseException:
        physical.close()
        raise


class Kernel(Space):
    """One kernel.  ``problems`` tells what could not be read."""

    def __init__(
        self, memory: Memory, info: VmcoreInfo, *, physical: PhysicalMemory | None = None, where: str = ""
    ) -> None:
        """memory: the kernel's virtual memory.  Raises FormatError, MemoryFault when its tables cannot be read."""
        self.info = info
        self.physical = physical
        self.where = where
        self.problems: list[str] = []
        self.symbols = KernelSymbols.read(memory, info)
        self.memory = memory
        super().__init__(memory, Types(self._read_btf()))
        self._modules: list[Module] | None = None
        self._unwinder: Unwinder | None = None
        self._text = tuple(
            (start, end)
            for first, last in (("_stext", "_etext"), ("_sinittext", "_einittext"))
            if (start := self.find_symbol(first)) and (end := self.find_symbol(last))
        )
        self._cpu_offsets: dict[int, int] = {}
        self._per_cpu: dict[str, Type] | None = None
        self._names: dict[int, Place | None] = {}

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the dump; harmless when repeated."""
        if self.physical is not None:
            self.physical.close()

    def __repr__(self) -> str:
        return f"<Kernel {self.info.release}{f' of {self.where}' if self.where else ''}>"

    def _read_btf(self) -> Btf:
        start, stop = self.symbols.find("__start_BTF"), self.symbols.find("__stop_BTF")
        if start is None or stop is None or not 0 < stop - start < _MOST_TYPES:
            raise FormatError(
                "the kernel carries no types", where=self.where, why="it is built without CONFIG_DEBUG_INFO_BTF"
            )
        return Btf(self.memory.read(start, stop - start), where=f"BTF of {self.info.release}")

    # -- symbols

    @property
    def modules(self) -> list[Module]:
        """All modules by address; their types are known from then on."""
        if self._modules is None:
            from linscope.target.modules import read_modules, read_types

            self._modules, problems = read_modules(self)
            self.problems += problems
            self.types.modules, problems = read_types(self)
            self.problems += problems
        return self._modules

    def find_symbol(self, name: str) -> int | None:
        """Address of a symbol of the kernel, else of a module; None when there is none."""
        found = self.symbols.find(name)
        if found is None and self._modules is not None:
            for module in self._modules:
                try:
                    found = next((one[0] for one in module.symbols() if one[2] == name), None)
                except LinscopeError as error:
                    self.problems.append(f"symbols of {module.name}: {error}")
                if found is not None:
                    break
        return found

    def symbol(self, name: str) -> int:
        """Address of a symbol.  Raises UnknownNameError with near names."""
        found = self.find_symbol(name)
        if found is None:
            raise UnknownNameError("symbol", name, self.symbols.near(name))
        return found

    def place_of(self, address: int) -> Place | None:
        """What an address in code or data is called; None: nothing."""
        if address not in self._names:
            self._names[address] = self._place_of(address)
        return self._names[address]

    def _place_of(self, address: int) -> Place | None:
        for module in self.modules:
            if module.has(address):
                try:
                    found = module.find_place(address)
                except (MemoryFault, FormatError) as error:
                    self.problems.append(f"symbols of {module.name}: {error}")
                    found = None
                if found is None:
                    return Place(f"{module.base:#x}", address - module.base, module.name, module.base)
                return Place(found[2], address - found[0], module.name, found[0])
        place = self.symbols.find_place(address)
        if place is None:
            return None
        start = self.symbols.address(place)
        if start < _FIRST_KERNEL:  # what per-CPU symbols have is no address
            return None
        if address - start > _FAR or (place == len(self.symbols) - 1 and address != start):
            return None
        return Place(self.symbols.name(place), address - start, "", start)

    def name_of(self, address: int) -> str:
        """What an address is called, "vfs_read+0x97", or its digits."""
        found = self.place_of(address)
        return str(found) if found is not None else f"{address:#x}"

    def is_text(self, address: int) -> bool:
        """Whether an address is of code: the kernel's, or a module's."""
        if any(start <= address < end for start, end in self._text):
            return True
        owner = next((one for one in self.modules if one.has(address)), None)
        return owner is not None and any(start <= address < end for start, end in owner.text_ranges())

    def function_range(self, address: int) -> tuple[int, int]:
        """(first, behind the last) address of the function that an address is in.  Raises UnknownNameError."""
        place = self.place_of(address)
        if place is None or not self.is_text(address):
            raise UnknownNameError("function at the address", f"{address:#x}")
        if place.module:
            module = next(one for one in self.modules if one.name == place.module)
            found = module.find_place(address)
            size = found[1] if found is not None else 0
            return place.address, place.address + max(size, address - place.address + 1)
        at = self.symbols.find_place(address)
        assert at is not None
        while at + 1 < len(self.symbols) and self.symbols.address(at + 1) == place.address:
            at += 1
        end = self.symbols.address(at + 1) if at + 1 < len(self.symbols) else address + 1
        return place.address, end

    # -- variables

    def variable(self, name: str) -> Object:
        """A global variable.  Raises UnknownNameError: no such symbol, or nobody knows its type."""
        kind = GLOBALS.get(name)
        address = self.symbol(name)
        if kind is None:
            found = self._per_cpu_types().get(name)
            if found is None:
                raise UnknownNameError("type of the variable", name, next_step=f"give one: (struct ... *){address:#x}")
            return self.object(found, address)
        if kind.endswith("[]"):
            return self.object(self.types.get(kind[:-2]), address)
        return self.object(kind, address)

    def elements(self, name: str, count: int) -> list[Object]:
        """The first elements of a global array.  Raises UnknownNameError, MemoryFault."""
        kind = self.types.get(GLOBALS[name].removesuffix("[]"))
        start = self.symbol(name)
        return [self.object(kind, start + place * kind.size) for place in range(count)]

    def _per_cpu_types(self) -> dict[str, Type]:
        if self._per_cpu is None:
            btf = self.types.kernel
            self._per_cpu = {}
            for type_id in btf.iter_ids(bt.KIND_VAR):
                found = btf.type(type_id)
                if isinstance(found, bt.Var):
                    self._per_cpu[found.name] = Type(btf, found.type)
        return self._per_cpu

    def per_cpu_address(self, address: int, cpu: int) -> int:
        """Where a per-CPU variable of a CPU lies.  Raises MemoryFault."""
        if cpu not in self._cpu_offsets:
            self._cpu_offsets[cpu] = self.u64(self.symbol("__per_cpu_offset") + 8 * cpu)
        return (address + self._cpu_offsets[cpu]) & (1 << 64) - 1

    def per_cpu(self, name: str, cpu: int) -> Object:
        """A per-CPU variable of a CPU.  Raises UnknownNameError, MemoryFault."""
        kind = self._per_cpu_types().get(name)
        if kind is None:
            if name not in GLOBALS:
                raise UnknownNameError("per-CPU variable", name, self._per_cpu_types())
            kind = self.types.get(GLOBALS[name].removesuffix("[]").strip())
        return self.object(kind, self.per_cpu_address(self.symbol(name), cpu))

    def cpus(self, which: str = "online") -> list[int]:
        """Numbers of the CPUs that are "online", "possible" or "present".  Raises UnknownNameError, MemoryFault."""
        address = self.symbol(f"__cpu_{which}_mask")
        size = self.types.get("struct cpumask").size
        mask = int.from_bytes(self.memory.read(address, size), "little")
        return [cpu for cpu in range(8 * size) if mask >> cpu & 1]

    # -- stacks

    @property
    def unwinder(self) -> Unwinder:
        """Finds the callers of a place in code."""
        if self._unwinder is None:
            from linscope.target.unwind import Unwinder

            self._unwinder = Unwinder(self.memory, self._read_orc(), self.is_text)
        return self._unwinder

    def _read_orc(self) -> Orc | None:
        from linscope.target.orc import Orc, has_orc

        first, last = self.find_symbol("__start_orc_unwind_ip"), self.find_symbol("__stop_orc_unwind_ip")
        rows = self.find_symbol("__start_orc_unwind")
        if first is None or last is None or rows is None or not has_orc(self.types):
            self.problems.append("the kernel carries no ORC: its stacks are guessed")
            return None
        orc = Orc(self.memory, self.types)
        for start, end in self._text:
            orc.add(start, end, first, rows, (last - first) // 4)
        for module in self.modules:
            try:
                arch = module.object.arch
                count = int(arch.num_orcs)
                for start, end in module.text_ranges():
                    orc.add(start, end, int(arch.orc_unwind_ip), int(arch.orc_unwind), count)
            except LinscopeError as error:
                self.problems.append(f"ORC of {module.name}: {error}")
        return orc
