"""The state of a program at one instruction: call frames with registers and stacks, references, locks.

States are copied at each branch: a copy shares all registers and stack slots, for those are never changed in place.
What a later instruction reads of the stack, and what must be compared precisely, is noted in the states that were
kept on the way (``Frame.reads``, ``Frame.precise``), up along ``State.parent``.
Source: include/linux/bpf_verifier.h, struct bpf_verifier_state.
"""

from __future__ import annotations

from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier.registers import Register

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import TypeAlias

    from linscope.bpf.instructions import Instruction

    # registers or stack slots that are equal: (frame, bits of registers, bits of stack slots) of each frame
    Linked: TypeAlias = tuple[tuple[int, int, int], ...]
    # (what came before, instruction, the one before it, frame * 64 + stack slot of an access, -1 or what is linked)
    History: TypeAlias = tuple["History", int, int, int | Linked] | None
    # (what came before, instruction, taken?, first operand, second operand)
    Path: TypeAlias = tuple["Path", int, bool, Register, Register | None] | None

# what a byte of the stack is
INVALID, SPILL, MISC, NULL, DYNAMIC = range(5)  # DYNAMIC: part of a dynptr
_ALL = {kind: bytes((kind,)) * 8 for kind in range(5)}


class Slot:
    """Eight bytes of a stack: what each is (byte 0 has the lowest address), and the value when it was spilled there."""

    __slots__ = ("kinds", "register")

    def __init__(self, kinds: bytes, register: Register | None = None) -> None:
        """kinds: INVALID, SPILL... of each byte; register: when the lowest byte is SPILL, or of a dynptr."""
        self.kinds = kinds
        self.register = register

    @property
    def is_spill(self) -> bool:
        """Whether a register was spilled here, in whole or in part."""
        return self.kinds[0] == SPILL


EMPTY = Slot(_ALL[INVALID])
ZEROED = Slot(_ALL[NULL])
UNKNOWN = Slot(_ALL[MISC])


def spilled(register: Register) -> Slot:
    """A slot with a whole register."""
    return Slot(_ALL[SPILL], register)


class Frame:
    """A function that is running."""

    __slots__ = (
        "async_depth", "callback", "called_back", "callsite", "depth", "function", "precise", "precise_stack", "reads",
        "references", "registers", "stack", "written",
    )  # fmt: skip

    def __init__(self, function: int, callsite: int) -> None:
        """function: slot at which it begins; callsite: slot of the call, -1 for the first frame."""
        self.function = function
        self.callsite = callsite
        self.registers: list[Register] = [r.UNINITIALIZED] * 11
        self.stack: dict[int, Slot] = {}  # by number of the eight bytes, 0 right below the frame pointer
        self.depth = 0  # bytes of stack in use
        self.callback = ""  # "", or the helper that calls it
        self.called_back = 0  # how often the helper that it calls has called back so far
        self.async_depth = 0
        self.references: tuple[tuple[int, int], ...] = ()  # those held when a callback was entered
        self.reads = 0  # bits: slots read after this state, before they are written
        self.written = 0  # bits: slots written wholly since the last kept state
        self.precise = 0  # bits: registers that must be compared by value
        self.precise_stack = 0

    def copy(self) -> Frame:
        """The same, sharing registers and slots; without marks."""
        new = Frame.__new__(Frame)
        new.function = self.function
        new.callsite = self.callsite
        new.registers = self.registers.copy()
        new.stack = self.stack.copy()
        new.depth = self.depth
        new.callback = self.callback
        new.called_back = self.called_back
        new.async_depth = self.async_depth
        new.references = self.references
        new.reads = new.precise = new.precise_stack = 0
        new.written = self.written
        return new


class State:
    """All that is known at one instruction on one path."""

    __slots__ = (
        "branches", "callback_depth", "first", "frames", "history", "last", "lock", "marked", "may_goto", "notes",
        "parent", "path", "preempt", "rcu", "references", "slot", "speculative",
    )  # fmt: skip

    def __init__(self, slot: int) -> None:
        """slot: the instruction."""
        self.slot = slot
        self.frames: list[Frame] = []
        self.references: tuple[tuple[int, int], ...] = ()  # (id, slot at which it was acquired)
        self.lock: tuple[object, int] | None = None  # map and id of the spin lock that is held
        self.parent: State | None = None
        self.branches = 0  # paths from here that are not finished
        self.history: History = None  # since parent
        self.notes = 0  # how long it is
        # the last way back from here: instruction, history, registers and stack slots that were followed
        self.marked: tuple[int, History, list[int], list[int]] | None = None
        self.first = slot  # where it is since parent
        self.last = -1  # the instruction before it, of a kept state
        self.path: Path = None
        self.speculative = False
        self.callback_depth = 0  # callbacks that were entered on this path, of all helpers
        self.may_goto = 0
        self.rcu = False
        self.preempt = 0

    @property
    def frame(self) -> Frame:
        """The innermost frame."""
        return self.frames[-1]

    def copy(self) -> State:
        """The same; frames are copied, registers and slots are shared."""
        new = State.__new__(State)
        new.slot = self.slot
        new.frames = [frame.copy() for frame in self.frames]
        new.references = self.references
        new.lock = self.lock
        new.parent = self.parent
        new.branches = 0
        new.history = self.history
        new.notes = self.notes
        new.marked = self.marked
        new.first = self.first
        new.last = self.last
        new.path = self.path
        new.speculative = self.speculative
        new.callback_depth = self.callback_depth
        new.may_goto = self.may_goto
        new.rcu = self.rcu
        new.preempt = self.preempt
        return new

    def read_stack(self, number: int, mask: int) -> None:
        """Note that slots of a frame's stack are read, in all kept states that did not write them since."""
        mask &= ~self.frames[number].written
        state = self.parent
        while mask and state is not None and number < len(state.frames):
            frame = state.frames[number]
            mask &= ~frame.reads
            frame.reads |= mask
            mask &= ~frame.written
            state = state.parent


def frame_slots(state: State) -> list[int]:
    """The instruction at which each frame is: the call for all but the innermost."""
    return [frame.callsite for frame in state.frames[1:]] + [state.slot]


def operand_size(instruction: Instruction) -> int:
    """Bytes that a load, store or atomic moves."""
    return _SIZES[instruction.code & 0x18]


_SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
