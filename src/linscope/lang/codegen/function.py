"""One function while its code is written: where its values are kept.

Registers: r6 the context, r7 the program's scratch memory, r0 to r5 at hand, r8 a value that outlives calls; in a
callback r9 is the main function's frame, in the main function one more value.  A callback has its own stack for what is
short-lived.  What is large, or finds no room on the stack, lies in scratch: an entry of a map, one for each CPU.

The kernel allows 512 bytes of stack to all functions that are called by one another, each rounded up to 32.
"""

from __future__ import annotations

from linscope.lang.codegen.assembler import R7, R8, R9, R10, Assembler, Label, TooLarge
from linscope.lang.types import round_up

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterable

    from linscope.lang import ir
    from linscope.lang.codegen.generator import Generator

STACK, FRAME, SCRATCH, CONSTANT, ZERO, VALUE, POINTER = (
    "stack", "frame", "scratch", "constant", "zero", "value", "pointer",
)  # fmt: skip
_WHOLE_STACK = 448  # bytes of all functions but two that search strings, which take 32 for nothing
_CALLBACK_STACK = (0, 128, 96, 64)  # of each callback, by how deep they are nested
_KEPT_FREE = 64  # bytes of each function's stack for pointers, which must not lie elsewhere
MOST_DEPTH = 5  # loops inside of each other: eight functions, with the main one and those that search strings
_SMALL = 128  # bytes: what lies below r7 in scratch, where loads and stores reach it
_LARGEST = 1 << 28  # bytes of a value; pointers move by less than twice that (bpf_verifier.h, BPF_MAX_VAR_OFF)
_NEAR = 31 << 10  # from an address: what loads and stores reach (16 bits), and a piece that is copied word by word
# what the main function keeps at the top of its frame, for callbacks: bytes below its end
SAVED_CONTEXT, SAVED_SCRATCH, RETURNING, RESULT = -8, -16, -24, -32
_RESERVED = 32


class Place:
    """Where bytes lie: kind tells the base, offset counts from it.

    STACK: this function's r10; FRAME: the main function's; SCRATCH: r7; CONSTANT: the program's constants; ZERO: as
    many zeros as offset says; VALUE: that of the array whose place among the maps is offset; POINTER: what a temporary
    holds.
    """

    __slots__ = ("kind", "offset", "temporary")

    def __init__(self, kind: str, offset: int, temporary: Temporary | None = None) -> None:
        """temporary: with the pointer."""
        self.kind = kind
        self.offset = offset
        self.temporary = temporary

    def further(self, offset: int) -> Place:
        """The place some bytes on."""
        return Place(self.kind, self.offset + offset, self.temporary)

    @property
    def align(self) -> int:
        """Largest power of two up to 8 that the address is known to be a multiple of."""
        if self.kind not in (STACK, FRAME):
            return 8  # where processors take any address (x86-64, arm64) the verifier does, but of the stack
        low = self.offset & -self.offset
        return min(low, 8) if low else 8


class Temporary:
    """A value of 64 bits that is kept while others are made: in r8 or r9, on the stack or in scratch."""

    __slots__ = ("place", "register")

    def __init__(self, register: int, place: Place | None) -> None:
        self.register = register  # -1: at the place
        self.place = place


class Function:
    """The main function of a program, or a callback in it."""

    def __init__(
        self, generator: Generator, name: str, outer: Function | None = None, *, depth: int = 0, kind: str = "",
        typed: bool = False,
    ) -> None:  # fmt: skip
        """outer: the function that passes this one as a callback; depth: of a main function's loops; kind: of probe.

        typed: it is a raw tracepoint whose arguments the verifier knows.
        """
        self.generator = generator
        self.code = Assembler(name)
        self.outer = outer
        self.is_main = outer is None
        self.main: Function = self if outer is None else outer.main
        self.used = _RESERVED if outer is None else 0  # bytes of the stack
        self.free_registers = [R9, R8] if outer is None else [R8]
        self.inlined: list[Label] = []  # ends of the script's functions that stand here, innermost last
        if outer is None:
            self.kind = kind
            options = generator.options  # of a tracepoint's event, what gives 0 takes it from all others who record it
            self.passes_on = options.captures or (kind == "tracepoint" and not options.replay)
            self.is_iterator = kind == "iter"
            self.is_typed = typed or kind in ("iter", "fentry", "fexit")  # the verifier knows what arguments are
            self.callback_room = _CALLBACK_STACK[min(depth, len(_CALLBACK_STACK) - 1)]
            self.room = _WHOLE_STACK - depth * self.callback_room
            self.callbacks = 0
            self.scratch_used = [0, 0]  # of small things, below r7, and of large ones, above it
            self.scratch_size = [0, 0]
            self.scratch_needed = False
            # a task may take the CPU from another in the midst of these: each has scratch memory of its own
            self.shares_cpu = kind in ("uprobe", "uretprobe", "usdt")
            self.end = Label()  # where scratch memory is given back
            self.variables: dict[ir.Variable, Place] = {}
        else:
            self.room = self.main.callback_room

    # -- memory

    def memory(self, size: int, *, scratch: bool = False) -> Place:
        """Room for some bytes, aligned to 8, until the next ``release`` of a mark before."""
        size = round_up(max(size, 1), 8)
        limit = self.generator.on_stack_limit
        if not scratch and size <= max(limit, 8) and self.used + size <= self.room - _KEPT_FREE:
            self.used += size
            return Place(STACK, -self.used)
        if size > _LARGEST:
            raise TooLarge(f"a value of {size} bytes; the kernel allows no more than {_LARGEST} here", self.code.span)
        main = self.main
        side = int(size > _SMALL)
        before = main.scratch_used[side]
        after = main.scratch_used[side] = before + size
        main.scratch_size[side] = max(main.scratch_size[side], after)
        main.scratch_needed = True
        return Place(SCRATCH, before if side else -after)

    def mark(self) -> tuple[int, int, int]:
        """What is in use now."""
        small, large = self.main.scratch_used
        return self.used, small, large

    def release(self, mark: tuple[int, int, int]) -> None:
        """Give up what was asked for since."""
        self.used, *self.main.scratch_used = mark

    def declare(self, variables: Iterable[ir.Variable], changing: set[ir.Variable]) -> None:
        """Give variables their places, in the frame or in scratch; before any other memory is asked for.

        changing: those that loops assign.  They lie in scratch, of whose content the verifier assumes nothing: what it
        knew of them on the stack it would follow through all rounds of a loop.
        """
        limit = max(self.generator.on_stack_limit, 8)
        for variable in variables:
            size = round_up(max(variable.type.size, 8), 8)
            if size <= limit and self.used + size <= self.room // 2 and variable not in changing:
                self.used += size
                self.variables[variable] = Place(FRAME, -self.used)
            else:
                self.variables[variable] = self.memory(size, scratch=True)

    def variable(self, variable: ir.Variable) -> Place:
        """Where a variable lies."""
        return self.main.variables[variable]

    def base(self, place: Place) -> int:
        """The register that a place's offset counts from; not for CONSTANT and POINTER."""
        if place.kind == STACK:
            return R10
        if place.kind == FRAME:
            return R10 if self.is_main else R9
        return R7

    def address(self, place: Place, register: int) -> None:
        """register = the address of a place"""
        code = self.code
        if place.kind == CONSTANT:
            code.map_value(register, self.generator.constants_map(), place.offset)
            return
        if place.kind == ZERO:
            code.map_value(register, self.generator.zeros(place.offset), 0)
            return
        if place.kind == VALUE:
            code.map_value(register, place.offset, 0)
            return
        if place.kind == POINTER:
            assert place.temporary is not None
            self.restore(place.temporary, register)
        else:
            code.move(register, self.base(place))
        if place.offset:
            code.alu_constant("+", register, place.offset)

    def with_base(self, place: Place, register: int) -> tuple[int, int]:
        """(base register, offset) to load from or store to a place; ``register`` may be used for it."""
        if place.kind == POINTER:
            assert place.temporary is not None
            if place.temporary.register >= 0 and place.offset <= _NEAR:
                return place.temporary.register, place.offset
            if place.offset <= _NEAR:
                self.restore(place.temporary, register)
                return register, place.offset
        if place.kind in (CONSTANT, ZERO, VALUE) or place.offset > _NEAR:
            self.address(place, register)
            return register, 0
        return self.base(place), place.offset

    def exit(self) -> None:
        """End the program, with r0."""
        if self.main.shares_cpu:
            self.code.jump(self.main.end)
        else:
            self.code.exit()

    def callback(self, word: str) -> Function:
        """A function that a helper calls back."""
        self.main.callbacks += 1
        return Function(self.generator, f"{word}_{self.main.callbacks}", self)

    def frame(self, register: int) -> None:
        """register = the main function's frame"""
        self.code.move(register, R10 if self.is_main else R9)

    # -- temporaries

    def keep(self, register: int, *, known: bool = False) -> Temporary:
        """Keep a register's value beyond what comes now; ``give_up`` when it is not needed any more.

        known: the verifier must not forget what it knows of it (a pointer, a number with bounds).
        Raises TooLarge: there are too many.
        """
        if self.free_registers:
            free = self.free_registers.pop()
            self.code.move(free, register)
            return Temporary(free, None)
        if known or self.used + 8 <= self.room - _KEPT_FREE:
            if self.used + 8 > self.room:
                what = "expressions or loops are nested too deep for the kernel's stack"
                raise TooLarge(what, self.code.span)
            self.used += 8
            place = Place(STACK, -self.used)
        else:
            place = self.memory(8, scratch=True)
        self.code.store(self.base(place), place.offset, register, 8)
        return Temporary(-1, place)

    def restore(self, temporary: Temporary, register: int) -> None:
        """register = what was kept"""
        if temporary.register >= 0:
            self.code.move(register, temporary.register)
        else:
            assert temporary.place is not None
            self.code.load(register, self.base(temporary.place), temporary.place.offset, 8)

    def change(self, temporary: Temporary, register: int) -> None:
        """Keep another value in its place."""
        if temporary.register >= 0:
            self.code.move(temporary.register, register)
        else:
            assert temporary.place is not None
            self.code.store(self.base(temporary.place), temporary.place.offset, register, 8)

    def give_up(self, temporary: Temporary) -> None:
        """The value is not needed any more.  Its memory is given back by ``release``."""
        if temporary.register >= 0:
            self.free_registers.append(temporary.register)
