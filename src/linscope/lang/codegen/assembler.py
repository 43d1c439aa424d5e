"""Instructions with labels: what the code generator writes into.

One ``Assembler`` holds one function: the program's main one, or a callback of a loop.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.instructions import Instruction, wide
from linscope.errors import UsageError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.lang.bpftrace.syntax import Span

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(11)
_SIZES = {1: b.BPF_B, 2: b.BPF_H, 4: b.BPF_W, 8: b.BPF_DW}
_ALU = {
    "+": b.BPF_ADD, "-": b.BPF_SUB, "*": b.BPF_MUL, "/": b.BPF_DIV, "|": b.BPF_OR, "&": b.BPF_AND, "<<": b.BPF_LSH,
    ">>": b.BPF_RSH, "%": b.BPF_MOD, "^": b.BPF_XOR, "s>>": b.BPF_ARSH,
}  # fmt: skip
_JUMPS = {
    "==": b.BPF_JEQ, "!=": b.BPF_JNE, ">": b.BPF_JGT, ">=": b.BPF_JGE, "<": b.BPF_JLT, "<=": b.BPF_JLE,
    "s>": b.BPF_JSGT, "s>=": b.BPF_JSGE, "s<": b.BPF_JSLT, "s<=": b.BPF_JSLE,
}  # fmt: skip
_JUMP = b.BPF_JMP | b.BPF_JA
OPPOSITES = {"==": "!=", "!=": "==", ">": "<=", "<=": ">", ">=": "<", "<": ">="}


class TooLarge(UsageError):
    """The kernel allows no such program."""

    def __init__(self, what: str, span: Span) -> None:
        """span: where in the script the limit was met."""
        super().__init__(what)
        self.span = span


class Label:
    """A place further on that is jumped to."""

    __slots__ = ("uses",)

    def __init__(self) -> None:
        self.uses: list[int] = []  # slots of the jumps that wait for it


class Assembler:
    """The slots of one function."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.labelled = -1  # where the last label is
        self.dead = False  # behind an exit or a jump, before the next label
        self.slots: list[Instruction] = []
        self.spans: list[tuple[int, Span]] = []  # (first slot, place in the script)
        self.callbacks: list[tuple[int, Assembler]] = []  # (slot of the load, the function whose address it loads)

    def _add(self, *instructions: Instruction) -> None:
        """Append, unless nothing can get here: the verifier wants no such code."""
        if not self.dead:
            self.slots += instructions

    def _check(self, offset: int) -> None:
        if not -1 << 15 <= offset < 1 << 15:
            raise TooLarge("the values of this program take more than 32 KB", self.span)

    @property
    def span(self) -> Span:
        """The place in the script that code is written for."""
        return self.spans[-1][1] if self.spans else (0, 0)

    def prepend(self, before: Assembler) -> None:
        """Put other instructions in front."""
        shift = len(before.slots)
        self.labelled += shift
        self.slots[:0] = before.slots
        self.spans = before.spans + [(slot + shift, span) for slot, span in self.spans]
        self.callbacks = before.callbacks + [(slot + shift, function) for slot, function in self.callbacks]

    def at(self, span: Span) -> None:
        """What follows comes from a place in the script."""
        if span != (0, 0) and (not self.spans or self.spans[-1][1] != span):
            if self.spans and self.spans[-1][0] == len(self.slots):
                self.spans.pop()
            self.spans.append((len(self.slots), span))

    def move(self, to: int, value: int) -> None:
        """to = register"""
        if to != value:
            self._add(Instruction(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, to, value, 0, 0))

    def constant(self, to: int, value: int) -> None:
        """to = number of 64 bits"""
        if -(1 << 31) <= value < 1 << 31:
            self._add(Instruction(b.BPF_ALU64 | b.BPF_MOV | b.BPF_K, to, 0, 0, value))
        else:
            self._add(*wide(to, value))

    def alu(self, sign: str, to: int, value: int) -> None:
        """to sign= register, in 64 bits"""
        self._add(Instruction(b.BPF_ALU64 | _ALU[sign] | b.BPF_X, to, value, 0, 0))

    def alu_constant(self, sign: str, to: int, value: int) -> None:
        """to sign= number of 32 bits, sign-extended"""
        self._add(Instruction(b.BPF_ALU64 | _ALU[sign] | b.BPF_K, to, 0, 0, value))

    def negate(self, to: int) -> None:
        """to = -to"""
        self._add(Instruction(b.BPF_ALU64 | b.BPF_NEG, to, 0, 0, 0))

    def zero_extend(self, to: int) -> None:
        """to = its low 32 bits"""
        self._add(Instruction(b.BPF_ALU | b.BPF_MOV | b.BPF_X, to, to, 0, 0))

    def swap(self, to: int, bits: int) -> None:
        """Turn the order of bytes of the low bits around, on a little-endian machine."""
        self._add(Instruction(b.BPF_ALU | b.BPF_END | b.BPF_TO_BE, to, 0, 0, bits))

    def load(self, to: int, base: int, offset: int, size: int) -> None:
        """to = *(u8 .. u64 *)(base + offset)"""
        self._check(offset)
        self._add(Instruction(b.BPF_LDX | b.BPF_MEM | _SIZES[size], to, base, offset, 0))

    def store(self, base: int, offset: int, value: int, size: int) -> None:
        """*(u8 .. u64 *)(base + offset) = register"""
        self._check(offset)
        self._add(Instruction(b.BPF_STX | b.BPF_MEM | _SIZES[size], base, value, offset, 0))

    def store_constant(self, base: int, offset: int, value: int, size: int) -> None:
        """*(u8 .. u64 *)(base + offset) = number of 32 bits"""
        self._check(offset)
        self._add(Instruction(b.BPF_ST | b.BPF_MEM | _SIZES[size], base, 0, offset, value))

    def atomic_add(self, base: int, offset: int, value: int, size: int, *, fetch: bool) -> None:
        """*(u32 or u64 *)(base + offset) += register; fetch: the register becomes the old value."""
        operation = b.BPF_ADD | (b.BPF_FETCH if fetch else 0)
        self._add(Instruction(b.BPF_STX | b.BPF_ATOMIC | _SIZES[size], base, value, offset, operation))

    def exchange(self, base: int, offset: int, value: int) -> None:
        """*(u64 *)(base + offset) = register, which becomes what was there"""
        self._add(Instruction(b.BPF_STX | b.BPF_ATOMIC | b.BPF_DW, base, value, offset, b.BPF_XCHG))

    def map(self, to: int, place: int) -> None:
        """to = a map, by its place among the program's maps"""
        self._add(*wide(to, place, b.BPF_PSEUDO_MAP_IDX))

    def map_value(self, to: int, place: int, offset: int) -> None:
        """to = address of a byte of a map's first value"""
        self._add(*wide(to, place | offset << 32, b.BPF_PSEUDO_MAP_IDX_VALUE))

    def btf_variable(self, to: int, btf_id: int) -> None:
        """to = address of a variable of the kernel"""
        self._add(*wide(to, btf_id, b.BPF_PSEUDO_BTF_ID))

    def callback(self, to: int, function: Assembler) -> None:
        """to = address of another function"""
        if not self.dead:
            self.callbacks.append((len(self.slots), function))
        self._add(*wide(to, 0, b.BPF_PSEUDO_FUNC))

    def call(self, helper: int) -> None:
        """r0 = helper(r1 .. r5)"""
        self._add(Instruction(b.BPF_JMP | b.BPF_CALL, 0, 0, 0, helper))

    def call_kernel(self, btf_id: int) -> None:
        """r0 = function of the kernel(r1 .. r5)"""
        self._add(Instruction(b.BPF_JMP | b.BPF_CALL, 0, b.BPF_PSEUDO_KFUNC_CALL, 0, btf_id))

    def exit(self) -> None:
        """return r0"""
        self._add(Instruction(b.BPF_JMP | b.BPF_EXIT, 0, 0, 0, 0))
        self.dead = True

    def jump(self, label: Label) -> None:
        """goto label"""
        self._use(label)
        self._add(Instruction(_JUMP, 0, 0, 0, 0))
        self.dead = True

    def branch(self, sign: str, left: int, right: int, label: Label) -> None:
        """if left sign register goto label"""
        self._use(label)
        self._add(Instruction(b.BPF_JMP | _JUMPS[sign] | b.BPF_X, left, right, 0, 0))

    def branch_constant(self, sign: str, left: int, value: int, label: Label) -> None:
        """if left sign number of 32 bits goto label"""
        self._use(label)
        self._add(Instruction(b.BPF_JMP | _JUMPS[sign] | b.BPF_K, left, 0, 0, value))

    def _use(self, label: Label) -> None:
        if not self.dead:
            label.uses.append(len(self.slots))

    def place(self, label: Label) -> None:
        """Here is the label."""
        end = len(self.slots)
        if label.uses and label.uses[-1] == end - 1 and self.slots[-1].code == _JUMP and self.labelled != end:
            label.uses.pop()  # a jump to what comes next anyway
            self.slots.pop()
            self.dead = False
        here = self.labelled = len(self.slots)
        self.dead = self.dead and not label.uses
        for use in label.uses:
            distance = here - use - 1
            if distance >= 1 << 15:
                what = f"a jump over {distance} instructions; the kernel allows {(1 << 15) - 1}"
                raise TooLarge(what, self.span)
            code, to, value, _, number = self.slots[use]
            self.slots[use] = Instruction(code, to, value, distance, number)
        label.uses.clear()
