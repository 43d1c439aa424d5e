"""One function while its code is written: where its values are kept.

Registers: r6 the context, r7 the program's scratch memory, r9 the main function's frame, r0 to r5 at hand, r8 a value
that outlives calls.  A callback has the frame of the main function in r9, and its own stack for what is short-lived.
What is large, or finds no room on the stack, lies in scratch: an entry of a map, one for each CPU.
"""

from __future__ import annotations

from linscope.lang.codegen.assembler import R7, R8, R9, R10, Assembler
from linscope.lang.types import round_up

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.lang import ir
    from linscope.lang.codegen.generator import Generator

STACK, FRAME, SCRATCH, CONSTANT, POINTER = "stack", "frame", "scratch", "constant", "pointer"
MAIN_STACK = 320  # bytes; callbacks inside need theirs
CALLBACK_STACK = 96
# what the main function keeps at the top of its frame, for callbacks: bytes below its end
SAVED_CONTEXT, SAVED_SCRATCH, RETURNING, RESULT = -8, -16, -24, -32
_RESERVED = 32


class Place:
    """Where bytes lie: kind tells the base, offset counts from it.

    STACK: this function's r10; FRAME: the main function's; SCRATCH: r7; CONSTANT: the program's constants; POINTER:
    what a temporary holds.
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
        low = self.offset & -self.offset
        return min(low, 8) if low else 8


class Temporary:
    """A scalar that is kept while others are made: in r8 or on the stack."""

    __slots__ = ("place", "register")

    def __init__(self, register: int, place: Place | None) -> None:
        self.register = register  # -1: in place
        self.place = place


class Function:
    """The main function of a program, or a callback in it."""

    def __init__(self, generator: Generator, name: str, outer: Function | None = None) -> None:
        """outer: the function that passes this one as a callback."""
        self.generator = generator
        self.code = Assembler(name)
        self.outer = outer
        self.is_main = outer is None
        self.main: Function = self if outer is None else outer.main
        self.used = _RESERVED if outer is None else 0  # bytes of the stack
        self.deepest = self.used
        self.r8_free = True
        if outer is None:
            self.callbacks = 0
            self.scratch_used = 0
            self.scratch_size = 0
            self.scratch_needed = False
            self.variables: dict[ir.Variable, Place] = {}

    # -- memory

    def memory(self, size: int, *, scratch: bool = False) -> Place:
        """Room for some bytes, aligned to 8, until the next ``release`` of a mark before."""
        size = round_up(max(size, 1), 8)
        limit = self.generator.on_stack_limit
        room = MAIN_STACK if self.is_main else CALLBACK_STACK
        if not scratch and size <= max(limit, 8) and self.used + size <= room:
            self.used += size
            self.deepest = max(self.deepest, self.used)
            return Place(STACK, -self.used)
        main = self.main
        place = Place(SCRATCH, main.scratch_used)
        main.scratch_used += size
        main.scratch_size = max(main.scratch_size, main.scratch_used)
        main.scratch_needed = True
        return place

    def mark(self) -> tuple[int, int]:
        """What is in use now."""
        return self.used, self.main.scratch_used

    def release(self, mark: tuple[int, int]) -> None:
        """Give up what was asked for since."""
        self.used, self.main.scratch_used = mark

    def declare(self, variables: list[ir.Variable], changing: set[ir.Variable]) -> None:
        """Give variables their places, in the frame or in scratch; before any other memory is asked for.

        changing: those that loops assign.  They lie in scratch, of whose content the verifier assumes nothing: what it
        knew of them on the stack it would follow through all rounds of a loop.
        """
        limit = max(self.generator.on_stack_limit, 8)
        for variable in variables:
            if variable in self.variables:
                continue
            size = round_up(max(variable.type.size, 8), 8)
            if size <= limit and self.used + size <= MAIN_STACK // 2 and variable not in changing:
                self.used += size
                self.variables[variable] = Place(FRAME, -self.used)
            else:
                self.variables[variable] = self.memory(size, scratch=True)
        self.deepest = max(self.deepest, self.used)

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
        if place.kind == POINTER:
            assert place.temporary is not None
            self.restore(place.temporary, register)
        else:
            code.move(register, self.base(place))
        if place.offset:
            code.alu_constant("+", register, place.offset)

    def with_base(self, place: Place, register: int) -> tuple[int, int]:
        """(base register, offset) to load from or store to a place; ``register`` may be used for it."""
        if place.kind in (CONSTANT, POINTER):
            if place.kind == POINTER and place.temporary is not None and place.temporary.register >= 0:
                return place.temporary.register, place.offset
            self.address(Place(place.kind, place.offset if place.kind == CONSTANT else 0, place.temporary), register)
            return register, 0 if place.kind == CONSTANT else place.offset
        return self.base(place), place.offset

    def callback(self, word: str) -> Function:
        """A function that a helper calls back."""
        self.main.callbacks += 1
        return Function(self.generator, f"{word}_{self.main.callbacks}", self)

    def frame(self, register: int) -> None:
        """register = the main function's frame"""
        self.code.move(register, R10 if self.is_main else R9)

    # -- temporaries

    def keep(self, register: int) -> Temporary:
        """Keep a register's value beyond what comes now; ``give_up`` when it is not needed any more."""
        if self.r8_free:
            self.r8_free = False
            self.code.move(R8, register)
            return Temporary(R8, None)
        self.used += 8
        self.deepest = max(self.deepest, self.used)
        place = Place(STACK, -self.used)
        self.code.store(R10, place.offset, register, 8)
        return Temporary(-1, place)

    def restore(self, temporary: Temporary, register: int) -> None:
        """register = what was kept"""
        if temporary.register >= 0:
            self.code.move(register, temporary.register)
        else:
            assert temporary.place is not None
            self.code.load(register, R10, temporary.place.offset, 8)

    def change(self, temporary: Temporary, register: int) -> None:
        """Keep another value in its place."""
        if temporary.register >= 0:
            self.code.move(temporary.register, register)
        else:
            assert temporary.place is not None
            self.code.store(R10, temporary.place.offset, register, 8)

    def give_up(self, temporary: Temporary) -> None:
        """The value is not needed any more.  Its stack is given back by ``release``."""
        if temporary.register >= 0:
            self.r8_free = True
