"""Random programs that mostly load: what registers and stack hold is tracked, so that most of what is made is allowed.

A part of the programs gets a mistake: one instruction is changed, or a rule is broken on purpose.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from linscope.abi import bpf as b
from linscope.abi.bpf_helpers import HELPER_NAMES
from linscope.bpf.instructions import Instruction
from linscope.bpf.instructions import Instruction as I
from linscope.bpf.program import Map, Program

HELPER = {name: number for number, name in enumerate(HELPER_NAMES)}
ARRAY, HASH, RING, PERCPU = range(4)
VALUE_SIZE = {ARRAY: 48, HASH: 16, PERCPU: 24}
TYPES = (
    b.BPF_PROG_TYPE_SOCKET_FILTER, b.BPF_PROG_TYPE_RAW_TRACEPOINT, b.BPF_PROG_TYPE_TRACEPOINT,
    b.BPF_PROG_TYPE_KPROBE, b.BPF_PROG_TYPE_XDP, b.BPF_PROG_TYPE_SCHED_CLS,
)  # fmt: skip
_OPERATIONS = (b.BPF_ADD, b.BPF_SUB, b.BPF_MUL, b.BPF_OR, b.BPF_AND, b.BPF_XOR, b.BPF_DIV, b.BPF_MOD)
_SHIFTS = (b.BPF_LSH, b.BPF_RSH, b.BPF_ARSH)
_CONDITIONS = (
    b.BPF_JEQ, b.BPF_JNE, b.BPF_JGT, b.BPF_JGE, b.BPF_JLT, b.BPF_JLE, b.BPF_JSGT, b.BPF_JSGE, b.BPF_JSLT, b.BPF_JSLE,
    b.BPF_JSET,
)  # fmt: skip
_SIZES = {1: b.BPF_B, 2: b.BPF_H, 4: b.BPF_W, 8: b.BPF_DW}
_CONSTANTS = (0, 1, 2, 3, 7, 8, 15, 16, 31, 48, 63, 64, 100, 255, 256, 4095, 65535, -1, -2, -8, 0x7FFFFFFF, -0x80000000)


def make_maps() -> list[Map]:
    """The maps that the programs use, in the order of ARRAY, HASH, RING, PERCPU."""
    return [
        Map("array", b.BPF_MAP_TYPE_ARRAY, 4, VALUE_SIZE[ARRAY], 4),
        Map("hash", b.BPF_MAP_TYPE_HASH, 8, VALUE_SIZE[HASH], 16),
        Map("ring", b.BPF_MAP_TYPE_RINGBUF, 0, 0, 4096),
        Map("percpu", b.BPF_MAP_TYPE_PERCPU_ARRAY, 4, VALUE_SIZE[PERCPU], 4),
    ]


class Known:
    """What the generator thinks that registers and stack hold."""

    def __init__(self) -> None:
        self.registers: dict[int, tuple[str, int]] = {}  # number -> (kind, detail)
        self.stack: set[int] = set()  # bytes that were written, as negative offsets
        self.spills: dict[int, tuple[str, int]] = {}

    def copy(self) -> Known:
        new = Known()
        new.registers = dict(self.registers)
        new.stack = set(self.stack)
        new.spills = dict(self.spills)
        return new

    def meet(self, other: Known) -> None:
        """What holds on both ways."""
        self.registers = {n: k for n, k in self.registers.items() if other.registers.get(n) == k}
        self.stack &= other.stack
        self.spills = {n: k for n, k in self.spills.items() if other.spills.get(n) == k}

    def of(self, kind: str) -> list[int]:
        return [number for number, (one, _) in self.registers.items() if one == kind]


class Generator:
    """One program."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.type = self.random.choice(TYPES)
        self.known = Known()
        self.functions: list[list[Instruction]] = []
        self.calls: list[tuple[list[Instruction], int, int]] = []
        self.budget = self.random.choice((8, 20, 40, 80))
        self.depth = 0
        self.loops = 0
        self.in_function = False

    # -- pieces

    def number(self) -> int:
        """A register with a number; makes one when there is none."""
        numbers = self.known.of("num")
        return self.random.choice(numbers) if numbers else -1

    def target(self) -> int:
        """A register to write."""
        return self.random.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9))

    def set(self, number: int, kind: str, detail: int = 0) -> None:
        self.known.registers[number] = (kind, detail)

    def constant(self, number: int) -> list[Instruction]:
        value = self.random.choice(_CONSTANTS)
        self.set(number, "num")
        pick = self.random.random()
        if pick < 0.15:
            high = self.random.choice((0, 1, -1, 0x7FFFFFFF))
            return [I(b.BPF_LD | b.BPF_IMM | b.BPF_DW, number, 0, 0, value), I(0, 0, 0, 0, high)]
        wide = b.BPF_ALU64 if pick < 0.7 else b.BPF_ALU
        return [I(wide | b.BPF_MOV | b.BPF_K, number, 0, 0, value)]

    def arithmetic(self) -> list[Instruction]:
        number = self.number()
        if number < 0:
            return self.constant(self.target())
        wide = self.random.choice((b.BPF_ALU64, b.BPF_ALU64, b.BPF_ALU))
        pick = self.random.random()
        if pick < 0.2:
            bits = 64 if wide == b.BPF_ALU64 else 32
            return [I(wide | self.random.choice(_SHIFTS), number, 0, 0, self.random.randrange(bits))]
        if pick < 0.28:
            return [I(wide | b.BPF_NEG, number, 0, 0, 0)]
        if pick < 0.33:
            width = self.random.choice((16, 32, 64))
            return [I(b.BPF_ALU | b.BPF_END | self.random.choice((0, 8)), number, 0, 0, width)]
        if pick < 0.40:
            other = self.target()
            self.set(other, "num")
            sign = self.random.choice((0, 0, 8, 16))
            return [I(wide | b.BPF_MOV | b.BPF_X, other, number, sign, 0)]
        operation = self.random.choice(_OPERATIONS)
        other = self.number()
        if self.random.random() < 0.5:
            value = self.random.choice(_CONSTANTS)
            if operation in (b.BPF_DIV, b.BPF_MOD):
                value = value or 3
            return [I(wide | operation, number, 0, 0, value)]
        return [I(wide | operation | b.BPF_X, number, other, 0, 0)]

    def move_pointer(self) -> list[Instruction]:
        pointers = [n for n, (kind, _) in self.known.registers.items() if kind in ("ctx", "value", "fp")]
        if not pointers:
            return self.constant(self.target())
        source, to = self.random.choice(pointers), self.target()
        self.known.registers[to] = self.known.registers[source]
        return [I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, to, source, 0, 0)]

    def store(self) -> list[Instruction]:
        size = self.random.choice((1, 2, 4, 8, 8, 8))
        off = -size * self.random.randrange(1, 64 // size + 1)
        self.known.spills = {at: k for at, k in self.known.spills.items() if at + 8 <= off or off + size <= at}
        self.known.stack |= set(range(off, off + size))
        if self.random.random() < 0.3:
            return [I(b.BPF_ST | b.BPF_MEM | _SIZES[size], 10, 0, off, self.random.choice(_CONSTANTS))]
        numbers = list(self.known.registers)
        if not numbers:
            return [I(b.BPF_ST | b.BPF_MEM | _SIZES[size], 10, 0, off, 7)]
        number = self.random.choice(numbers)
        kind = self.known.registers[number]
        if kind[0] != "num":
            if size != 8:
                return self.store()
            self.known.spills[off] = kind
        else:
            self.known.spills.setdefault(off, kind) if size == 8 else None
        return [I(b.BPF_STX | b.BPF_MEM | _SIZES[size], 10, number, off, 0)]

    def load(self) -> list[Instruction]:
        to = self.target()
        if self.known.spills and self.random.random() < 0.5:
            off = self.random.choice(list(self.known.spills))
            self.known.registers[to] = self.known.spills[off]
            return [I(b.BPF_LDX | b.BPF_MEM | b.BPF_DW, to, 10, off, 0)]
        size = self.random.choice((1, 2, 4, 8))
        off = -size * self.random.randrange(1, 64 // size + 1)
        span = set(range(off, off + size))
        pointers = [
            at for at, (kind, _) in self.known.spills.items() if kind != "num" and at < off + size and off < at + 8
        ]
        if pointers or (not span <= self.known.stack and self.random.random() < 0.7):
            return self.store()
        self.set(to, "num")
        mode = b.BPF_MEMSX if size < 8 and self.random.random() < 0.2 else b.BPF_MEM
        return [I(b.BPF_LDX | mode | _SIZES[size], to, 10, off, 0)]

    def read_context(self) -> list[Instruction]:
        contexts = self.known.of("ctx")
        if not contexts:
            return self.constant(self.target())
        source, to = self.random.choice(contexts), self.target()
        self.set(to, "num")
        size, off = self.random.choice(
            {
                b.BPF_PROG_TYPE_SOCKET_FILTER: ((4, 0), (4, 4), (4, 16), (4, 48), (1, 0), (2, 16), (8, 48)),
                b.BPF_PROG_TYPE_SCHED_CLS: ((4, 0), (4, 8), (4, 32), (4, 48), (8, 152)),
                b.BPF_PROG_TYPE_RAW_TRACEPOINT: ((8, 0), (8, 8), (8, 16), (4, 8)),
                b.BPF_PROG_TYPE_TRACEPOINT: ((8, 8), (4, 16), (4, 24), (2, 8), (1, 32)),
                b.BPF_PROG_TYPE_KPROBE: ((8, 0), (8, 112), (8, 104), (4, 96)),
                b.BPF_PROG_TYPE_XDP: ((4, 12), (4, 16)),
            }[self.type]
        )
        return [I(b.BPF_LDX | b.BPF_MEM | _SIZES[size], to, source, off, 0)]

    def clobber(self) -> None:
        for number in range(6):
            self.known.registers.pop(number, None)

    def fill_stack(self, off: int, size: int) -> list[Instruction]:
        made = []
        for at in range(off, off + size, 8):
            made.append(I(b.BPF_ST | b.BPF_MEM | b.BPF_DW, 10, 0, at, self.random.randrange(4)))
            self.known.stack |= set(range(at, at + 8))
            self.known.spills = {
                where: k for where, k in self.known.spills.items() if where + 8 <= at or at + 8 <= where
            }
        return made

    def stack_pointer(self, number: int, off: int) -> list[Instruction]:
        return [
            I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, number, 10, 0, 0),
            I(b.BPF_ALU64 | b.BPF_ADD | b.BPF_K, number, 0, 0, off),
        ]

    def load_map(self, number: int, which: int) -> list[Instruction]:
        return [I(b.BPF_LD | b.BPF_IMM | b.BPF_DW, number, b.BPF_PSEUDO_MAP_IDX, 0, which), I(0, 0, 0, 0, 0)]

    def call(self, name: str) -> list[Instruction]:
        self.clobber()
        return [I(b.BPF_JMP | b.BPF_CALL, 0, 0, 0, HELPER[name])]

    def lookup(self) -> list[Instruction]:
        which = self.random.choice((ARRAY, HASH, ARRAY, PERCPU))
        off = -8 * self.random.randrange(1, 9)
        code = self.fill_stack(off, 8) + self.load_map(1, which) + self.stack_pointer(2, off)
        code += self.call("map_lookup_elem")
        keep = self.random.choice((0, 0, 6, 7, 8, 9))
        if keep:
            code.append(I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, keep, 0, 0, 0))
        if self.random.random() < 0.03:
            self.set(keep, "value", VALUE_SIZE[which])  # forgot to check
            return code
        before = self.known.copy()
        for number in {0, keep}:
            self.set(number, "value", VALUE_SIZE[which])
        body = self.block(self.random.randrange(1, 5))
        self.known.meet(before)
        test = self.random.choice((0, keep))
        code.append(I(b.BPF_JMP | b.BPF_JEQ | b.BPF_K, test, 0, len(body), 0))
        return code + body

    def use_value(self) -> list[Instruction]:
        pointers = self.known.of("value")
        if not pointers:
            return self.lookup() if self.depth < 4 else self.arithmetic()
        pointer = self.random.choice(pointers)
        total = self.known.registers[pointer][1]
        size = self.random.choice((1, 2, 4, 8))
        off = self.random.randrange(0, total - size + 1)
        if self.random.random() < 0.03:
            off += self.random.choice((-1, total, 1, size))
        pick = self.random.random()
        if pick < 0.35:
            to = self.target()
            self.set(to, "num")
            return [I(b.BPF_LDX | b.BPF_MEM | _SIZES[size], to, pointer, off, 0)]
        number = self.number()
        if pick < 0.55 and number >= 0:
            return [I(b.BPF_STX | b.BPF_MEM | _SIZES[size], pointer, number, off, 0)]
        if pick < 0.65 and number >= 0:
            size = self.random.choice((4, 8))
            off = size * self.random.randrange(0, total // size)
            operation = self.random.choice((b.BPF_ADD, b.BPF_OR, b.BPF_ADD | b.BPF_FETCH, b.BPF_XCHG))
            return [I(b.BPF_STX | b.BPF_ATOMIC | _SIZES[size], pointer, number, off, operation)]
        if number < 0 or number == pointer:
            return [I(b.BPF_ST | b.BPF_MEM | _SIZES[size], pointer, 0, off, 1)]
        return self.indexed(pointer, number, total)

    def indexed(self, pointer: int, number: int, total: int) -> list[Instruction]:
        """An access at a variable, bounded offset."""
        to = self.random.choice([one for one in range(10) if one not in (pointer, number)])
        code = [I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, to, pointer, 0, 0)]
        size = self.random.choice((1, 2, 4, 8))
        most = total - size
        bound: list[Instruction] = []
        pick = self.random.random()
        if pick < 0.5:
            mask = (1 << (most.bit_length() - 1)) - 1 if most else 0
            if self.random.random() < 0.06:
                mask = 2 * mask + 1
            bound = [I(b.BPF_ALU64 | b.BPF_AND | b.BPF_K, number, 0, 0, mask)]
            rest = [I(b.BPF_ALU64 | b.BPF_ADD | b.BPF_X, to, number, 0, 0)]
            rest.append(I(b.BPF_LDX | b.BPF_MEM | _SIZES[size], to, to, 0, 0))
            self.set(to, "num")
            return code + bound + rest
        rest = [I(b.BPF_ALU64 | b.BPF_ADD | b.BPF_X, to, number, 0, 0)]
        rest.append(I(b.BPF_ST | b.BPF_MEM | _SIZES[size], to, 0, 0, 1))
        limit = most + (1 if self.random.random() < 0.05 else 0)
        kind = b.BPF_JMP
        if self.random.random() < 0.15:
            kind = b.BPF_JMP32
        code.append(
            I(
                kind | self.random.choice((b.BPF_JGT, b.BPF_JSGT) if pick > 0.95 else (b.BPF_JGT,)),
                number,
                0,
                len(rest),
                limit,
            )
        )
        self.known.registers.pop(to, None)
        return code + rest

    def helper(self) -> list[Instruction]:
        tracing = self.type in (b.BPF_PROG_TYPE_RAW_TRACEPOINT, b.BPF_PROG_TYPE_TRACEPOINT, b.BPF_PROG_TYPE_KPROBE)
        choices: list[Callable[[], list[Instruction]]] = [self.simple_helper, self.update, self.delete, self.output]
        if tracing:
            choices += [self.comm, self.probe_read]
        if self.depth < 4:
            choices += [self.reserve]
        return self.random.choice(choices)()

    def simple_helper(self) -> list[Instruction]:
        name = self.random.choice(("ktime_get_ns", "get_prandom_u32", "get_smp_processor_id", "get_current_pid_tgid"))
        code = self.call(name)
        self.set(0, "num")
        if self.random.random() < 0.6:
            keep = self.random.choice((6, 7, 8, 9))
            code.append(I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, keep, 0, 0, 0))
            self.set(keep, "num")
        return code

    def update(self) -> list[Instruction]:
        which = self.random.choice((ARRAY, HASH))
        size = VALUE_SIZE[which]
        code = self.fill_stack(-8, 8)
        code += self.fill_stack(-8 - size, size if self.random.random() < 0.95 else size - 8)
        code += self.load_map(1, which) + self.stack_pointer(2, -8) + self.stack_pointer(3, -8 - size)
        code += [I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_K, 4, 0, 0, self.random.choice((0, 1, 2)))]
        code += self.call("map_update_elem")
        self.set(0, "num")
        return code

    def delete(self) -> list[Instruction]:
        code = self.fill_stack(-16, 8) + self.load_map(1, HASH) + self.stack_pointer(2, -16)
        code += self.call("map_delete_elem")
        self.set(0, "num")
        return code

    def output(self) -> list[Instruction]:
        size = self.random.choice((1, 4, 8, 16, 24))
        off = -((size + 7) & ~7)
        code = self.fill_stack(off, -off) + self.load_map(1, RING) + self.stack_pointer(2, off)
        code += [I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_K, 3, 0, 0, size), I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_K, 4, 0, 0, 0)]
        code += self.call("ringbuf_output")
        self.set(0, "num")
        return code

    def reserve(self) -> list[Instruction]:
        size = self.random.choice((8, 16, 40))
        code = self.load_map(1, RING)
        code += [I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_K, 2, 0, 0, size), I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_K, 3, 0, 0, 0)]
        code += self.call("ringbuf_reserve")
        keep = self.random.choice((6, 7, 8, 9))
        code.append(I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, keep, 0, 0, 0))
        self.known.registers.pop(keep, None)
        body = [I(b.BPF_ST | b.BPF_MEM | b.BPF_W, keep, 0, self.random.choice((0, 4, size - 4)), 7)]
        number = self.number()
        if number >= 0 and number != keep:
            body.append(I(b.BPF_STX | b.BPF_MEM | b.BPF_W, keep, number, 0, 0))
        body += [I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, 1, keep, 0, 0), I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_K, 2, 0, 0, 0)]
        body += self.call(self.random.choice(("ringbuf_submit", "ringbuf_discard")))
        self.known.registers.pop(keep, None)
        if self.random.random() < 0.04:
            body = body[:1]
        return code + [I(b.BPF_JMP | b.BPF_JEQ | b.BPF_K, keep, 0, len(body), 0)] + body

    def comm(self) -> list[Instruction]:
        code = self.stack_pointer(1, -32) + [I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_K, 2, 0, 0, 16)]
        code += self.call("get_current_comm")
        self.known.stack |= set(range(-32, -16))
        self.known.spills = {at: k for at, k in self.known.spills.items() if at + 8 <= -32 or at >= -16}
        self.set(0, "num")
        return code

    def probe_read(self) -> list[Instruction]:
        size = self.random.choice((1, 2, 4, 8, 16))
        off = -8 * self.random.randrange(2, 8)
        number = self.number()
        code = [] if number < 0 else [I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, 3, number, 0, 0)]
        if not code:
            code = self.constant(3)
        code += self.stack_pointer(1, off)
        code += [I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_K, 2, 0, 0, size)]
        code += self.call("probe_read_kernel")
        self.known.stack |= set(range(off, off + size))
        self.known.spills = {at: k for at, k in self.known.spills.items() if at + 8 <= off or at >= off + size}
        self.set(0, "num")
        return code

    def packet(self) -> list[Instruction]:
        contexts = self.known.of("ctx")
        if self.type not in (b.BPF_PROG_TYPE_XDP, b.BPF_PROG_TYPE_SCHED_CLS) or not contexts:
            return self.read_context()
        base = 0 if self.type == b.BPF_PROG_TYPE_XDP else 76
        context = self.random.choice(contexts)
        data, end, moved = self.random.sample([one for one in range(10) if one != context], 3)
        size = self.random.choice((1, 2, 4, 8, 14))
        code = [
            I(b.BPF_LDX | b.BPF_MEM | b.BPF_W, data, context, base, 0),
            I(b.BPF_LDX | b.BPF_MEM | b.BPF_W, end, context, base + 4, 0),
            I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, moved, data, 0, 0),
            I(b.BPF_ALU64 | b.BPF_ADD | b.BPF_K, moved, 0, 0, size),
        ]
        width = self.random.choice([one for one in (1, 2, 4, 8) if one <= size])
        off = self.random.randrange(0, size - width + 1)
        if self.random.random() < 0.05:
            off += width
        body = [I(b.BPF_LDX | b.BPF_MEM | _SIZES[width], moved, data, off, 0)]
        operation, first, second = self.random.choice(
            ((b.BPF_JGT, moved, end), (b.BPF_JLT, end, moved), (b.BPF_JGE, moved, end))
        )
        code.append(I(b.BPF_JMP | operation | b.BPF_X, first, second, len(body), 0))
        for number in (data, end, moved):
            self.known.registers.pop(number, None)
        return code + body

    def branch(self) -> list[Instruction]:
        number = self.number()
        if number < 0:
            return self.constant(self.target())
        kind = self.random.choice((b.BPF_JMP, b.BPF_JMP, b.BPF_JMP32))
        operation = self.random.choice(_CONDITIONS)
        other = self.number()
        before = self.known.copy()
        body = self.block(self.random.randrange(1, 6))
        after = self.known
        self.known = before.copy()
        alternative = self.block(self.random.randrange(1, 4)) if self.random.random() < 0.5 else []
        self.known.meet(after)
        if alternative:
            body = [*body, I(b.BPF_JMP | b.BPF_JA, 0, 0, len(alternative), 0)]
        if self.random.random() < 0.3:
            jump = I(kind | operation | b.BPF_X, number, other, len(body), 0)
        else:
            jump = I(kind | operation | b.BPF_K, number, 0, len(body), self.random.choice(_CONSTANTS))
        return [jump, *body, *alternative]

    def loop(self) -> list[Instruction]:
        if self.loops >= 2:
            return self.arithmetic()
        self.loops += 1
        counter = self.random.choice((6, 7, 8, 9))
        rounds = self.random.choice((1, 2, 3, 8, 20))
        self.set(counter, "counter")
        before = self.known.copy()
        body = self.block(self.random.randrange(1, 4))
        self.loops -= 1
        if self.known.registers.get(counter) != ("counter", 0):
            body = []
            self.known = before
        # the body must find what it needs in the second round, too
        lost = [n for n, kind in before.registers.items() if self.known.registers.get(n) != kind]
        if lost:
            body = [I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_K, 0, 0, 0, 0)] if 0 not in before.registers else []
            self.known = before
        self.set(counter, "num")
        code = [I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_K, counter, 0, 0, 0), *body]
        code.append(I(b.BPF_ALU64 | b.BPF_ADD | b.BPF_K, counter, 0, 0, 1))
        code.append(I(b.BPF_JMP | b.BPF_JLT | b.BPF_K, counter, 0, -(len(body) + 2), rounds))
        return code

    def function_call(self) -> list[Instruction]:
        if self.in_function or len(self.functions) >= 3:
            return self.arithmetic()
        code: list[Instruction] = []
        for number in (1, 2):
            source = self.number()
            if source >= 0:
                code.append(I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, number, source, 0, 0))
                self.set(number, "num")
            else:
                code += self.constant(number)
        if not self.functions or self.random.random() < 0.5:
            outer, depth, loops = self.known, self.depth, self.loops
            self.known, self.depth, self.in_function = Known(), 1, True
            self.known.registers = {1: ("num", 0), 2: ("num", 0)}
            body = self.block(self.random.randrange(2, 10))
            body += self.constant(0) if self.known.registers.get(0, ("", 0))[0] != "num" else []
            body.append(I(b.BPF_JMP | b.BPF_EXIT, 0, 0, 0, 0))
            self.known, self.depth, self.loops, self.in_function = outer, depth, loops, False
            self.functions.append(body)
        self.clobber()
        self.set(0, "num")
        # imm is filled when all is laid out
        code.append(
            I(b.BPF_JMP | b.BPF_CALL, 0, b.BPF_PSEUDO_CALL, 0, -1000 - self.random.randrange(len(self.functions)))
        )
        return code

    def statement(self) -> list[Instruction]:
        choices: list[tuple[int, Callable[[], list[Instruction]]]] = [
            (20, self.arithmetic), (5, lambda: self.constant(self.target())), (4, self.move_pointer),
            (9, self.store), (9, self.load), (6, self.read_context), (8, self.helper), (10, self.use_value),
            (4, self.packet),
        ]  # fmt: skip
        if self.depth < 4:
            choices += [(14, self.branch), (4, self.lookup), (4, self.loop), (3, self.function_call)]
        weights = [weight for weight, _ in choices]
        made = self.random.choices([one for _, one in choices], weights)[0]
        return made()

    def block(self, count: int) -> list[Instruction]:
        self.depth += 1
        code: list[Instruction] = []
        for _ in range(count):
            if self.budget <= 0:
                break
            self.budget -= 1
            before = dict(self.known.registers)
            made = self.statement()
            counters = [n for n, kind in before.items() if kind[0] == "counter"]
            if any(self.known.registers.get(n, ("", 0))[0] != "counter" for n in counters):
                self.known.registers = before  # never write a loop's counter
                continue
            code += made
        self.depth -= 1
        return code or [I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_K, 0, 0, 0, 0)] * 0 or self.constant(0)

    # -- all of it

    def make(self) -> Program:
        """The program."""
        self.set(1, "ctx")
        keep = self.random.choice((6, 7, 8, 9))
        code = [I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, keep, 1, 0, 0)]
        self.set(keep, "ctx")
        code += self.block(self.budget)
        if self.known.registers.get(0, ("", 0))[0] != "num":
            code += self.constant(0)
        code.append(I(b.BPF_JMP | b.BPF_EXIT, 0, 0, 0, 0))
        starts = []
        for body in self.functions:
            starts.append(len(code))
            code += body
        used = {-1000 - one.imm for one in code if _is_own_call(one)}
        for index in range(len(self.functions)):
            if index not in used:  # code that nobody calls is refused
                code.insert(0, I(b.BPF_JMP | b.BPF_CALL, 0, b.BPF_PSEUDO_CALL, 0, -1000 - index))
                code.insert(0, I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_K, 2, 0, 0, 0))
        shift = len(code) - sum(map(len, self.functions)) - (starts[0] if starts else 0)
        for slot, one in enumerate(code):
            if _is_own_call(one):
                code[slot] = one._replace(imm=starts[-1000 - one.imm] + shift - slot - 1)
        if self.random.random() < 0.2:
            self.spoil(code)
        return Program(code, type=self.type, maps=make_maps(), name="generated")

    def spoil(self, code: list[Instruction]) -> None:
        """Change one instruction."""
        slot = self.random.randrange(len(code))
        one = code[slot]
        if not one.code:
            return
        pick = self.random.random()
        if pick < 0.25:
            one = one._replace(dst=self.random.randrange(11))
        elif pick < 0.45:
            one = one._replace(src=self.random.randrange(11))
        elif pick < 0.65:
            one = one._replace(off=one.off + self.random.choice((-8, -4, -1, 1, 2, 4, 8, 64)))
        elif pick < 0.85:
            one = one._replace(imm=self.random.choice((*_CONSTANTS, one.imm + 1, one.imm - 1)))
        elif pick < 0.95:
            one = one._replace(code=one.code ^ self.random.choice((0x08, 0x10, 0x20, 0x40, 0x80, 0x03, 0x02)))
        else:
            one = I(b.BPF_ALU64 | b.BPF_MOV | b.BPF_K, self.random.randrange(10), 0, 0, 0)
        code[slot] = one


def _is_own_call(one: Instruction) -> bool:
    return one.code == b.BPF_JMP | b.BPF_CALL and one.src == b.BPF_PSEUDO_CALL and one.imm <= -1000


def generate(seed: int) -> Program:
    """A program; the same for the same seed."""
    return Generator(seed).make()
