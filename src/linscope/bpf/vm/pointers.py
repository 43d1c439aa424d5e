"""What registers point to at each place of a program, as far as one pass forwards can tell; the JIT asks it."""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.vm.state import FRAME_BYTES

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence

    from linscope.bpf.instructions import Instruction

    Pointer = tuple[str, int, int] | None
    Merges = dict[int, list[Pointer]]  # slot that is jumped to from before -> what all those paths agree on

# What a register points to: (kind, offset, map).  None: not known, or not a pointer.
FRAME, RECORD, MAP, VALUE, NOT_NULL = "frame", "record", "map", "value", "not null"
SOMEWHERE = 1 << 40  # an offset that is not known
OWN_FRAME = (FRAME, 0, 0)


class Pointers:
    """The state of the pass; VALUE may still be NULL, NOT_NULL is a value that was tested."""

    def __init__(self, instructions: Sequence[Instruction]) -> None:
        self.instructions = instructions
        self.pointers: list[Pointer] = []
        self.lowest = 0  # of what a function uses of its frame: an offset, at most 0
        self.reaches_up = False  # some function may read a frame that is not its own

    def escape(self) -> None:
        """An address in the frame goes where the pass cannot follow: all of the frame may be read."""
        self.lowest = -FRAME_BYTES
        self.reaches_up = True

    def after_alu(self, code: int, dst: int, src: int, off: int, imm: int) -> None:
        """What the registers point to after an arithmetic instruction."""
        op = code & 0xF0
        pointers = self.pointers
        if code & b.BPF_X:
            if op == b.BPF_MOV and code & 7 == b.BPF_ALU64 and not off:
                pointers[dst] = pointers[src]
                return
            other = pointers[src]
            if other is not None:
                if other[0] == FRAME:
                    self.escape()
                if op == b.BPF_ADD and pointers[dst] is None and code & 7 == b.BPF_ALU64:
                    pointers[dst] = (other[0], SOMEWHERE, 0) if other[0] in (FRAME, RECORD) else None
                    return
        else:
            if op == b.BPF_MOV:
                pointers[dst] = None
                return
        pointer = pointers[dst]
        if pointer is None:
            return
        kind, offset, number = pointer
        if code & 7 == b.BPF_ALU64 and op in (b.BPF_ADD, b.BPF_SUB) and kind != MAP:
            if not code & b.BPF_X and offset != SOMEWHERE:
                offset += imm if op == b.BPF_ADD else -imm
                if abs(offset) < 1 << 29:
                    if kind == FRAME and offset < -FRAME_BYTES:
                        self.escape()
                    pointers[dst] = (kind, offset, number)
                    return
            if kind == FRAME:
                self.escape()
            pointers[dst] = (kind, SOMEWHERE, 0) if kind in (FRAME, RECORD) else None
            return
        if kind == FRAME:
            self.escape()
        pointers[dst] = None

    def forget(self) -> None:
        """A place that is jumped to from behind: nothing is known."""
        for pointer in self.pointers[:10]:
            if pointer is not None and pointer[0] == FRAME:
                self.escape()
        self.pointers = [*[None] * 10, OWN_FRAME]

    def note(self, merges: Merges, target: int, pointers: list[Pointer]) -> None:
        """A path with these pointers goes to a slot further on."""
        if target not in merges:
            for pointer in pointers[:10]:
                if pointer is not None and pointer[0] == FRAME:
                    self.escape()  # backwards: there the pass forgets
            return
        known = merges[target]
        merges[target] = self._common(known, pointers) if known else list(pointers)

    def merge(self, known: list[Pointer], alive: bool) -> None:
        """Paths meet; alive: the instruction before goes on here too."""
        if known:  # else only code that is never reached jumps here
            self.pointers = self._common(known, self.pointers) if alive else list(known)

    def _common(self, ours: list[Pointer], theirs: list[Pointer]) -> list[Pointer]:
        if ours == theirs:
            return list(ours)
        result: list[Pointer] = []
        for a, c in zip(ours, theirs, strict=True):
            if a == c:
                result.append(a)
                continue
            if (a is not None and a[0] == FRAME) or (c is not None and c[0] == FRAME):
                self.escape()
            if a is not None and c is not None and {a[0], c[0]} == {VALUE, NOT_NULL} and a[1:] == c[1:]:
                result.append((VALUE, a[1], a[2]))
            elif a is not None and c is not None and a[0] == c[0] and a[0] in (FRAME, RECORD):
                result.append((a[0], SOMEWHERE, 0))
            else:
                result.append(None)
        return result

    def after_branch(self, code: int, dst: int, imm: int, target: int, merges: Merges) -> None:
        """Comparing a looked-up value with NULL tells on one of the two paths that it is none."""
        pointer = self.pointers[dst]
        if pointer is None or pointer[0] != VALUE or pointer[1] or imm or code not in (0x15, 0x55):
            self.note(merges, target, self.pointers)
            return
        there = list(self.pointers)
        found: Pointer = (NOT_NULL, 0, pointer[2])
        if code == 0x55:  # BPF_JMP | BPF_JNE
            there[dst] = found
        self.note(merges, target, there)
        if code == 0x15:
            self.pointers[dst] = found

    def constant(self, src: int, imm: int, slot: int) -> Pointer:
        """What a wide load of this kind points to."""
        if src == b.BPF_PSEUDO_MAP_IDX:
            return (MAP, 0, imm)
        if src == b.BPF_PSEUDO_MAP_IDX_VALUE:
            return (NOT_NULL, self.instructions[slot + 1].imm, imm)
        return None

    def is_frame(self, register: int) -> bool:
        """Whether a register holds an address in the own frame."""
        pointer = self.pointers[register]
        return pointer is not None and pointer[0] == FRAME

    def escape_frames(self, registers: range) -> None:
        """Addresses of the frame in these registers go where the pass cannot follow."""
        for register in registers:
            if self.is_frame(register):
                self.escape()
