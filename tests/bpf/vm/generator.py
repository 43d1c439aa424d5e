"""Random programs that look like programs: they compute, touch memory and maps, branch, loop, call, and fault."""

from __future__ import annotations

from random import Random

from linscope.abi import bpf as b
from linscope.bpf.instructions import Instruction, wide
from linscope.bpf.program import Map, Program
from linscope.bpf.vm.state import HELPER_NUMBER

INTERESTING = (0, 1, -1, 2, 7, 8, 31, 32, 63, 64, 255, 256, 0x7FFF, 0xFFFF, 0x7FFFFFFF, -0x80000000, 0x12345678, -5)
WIDE = (0, 1, (1 << 64) - 1, 1 << 63, (1 << 63) - 1, 1 << 32, (1 << 32) - 1, 0x1122334455667788, 0x80000000)
ALU_OPS = (
    b.BPF_ADD, b.BPF_SUB, b.BPF_MUL, b.BPF_DIV, b.BPF_OR, b.BPF_AND, b.BPF_LSH, b.BPF_RSH, b.BPF_MOD, b.BPF_XOR,
    b.BPF_MOV, b.BPF_ARSH,
)  # fmt: skip
JUMPS = (
    b.BPF_JEQ, b.BPF_JGT, b.BPF_JGE, b.BPF_JSET, b.BPF_JNE, b.BPF_JSGT, b.BPF_JSGE, b.BPF_JLT, b.BPF_JLE, b.BPF_JSLT,
    b.BPF_JSLE,
)  # fmt: skip
SIZES = (b.BPF_B, b.BPF_H, b.BPF_W, b.BPF_DW)
ATOMICS = (
    b.BPF_ADD, b.BPF_OR, b.BPF_AND, b.BPF_XOR, b.BPF_ADD | 1, b.BPF_OR | 1, b.BPF_AND | 1, b.BPF_XOR | 1, b.BPF_XCHG,
    b.BPF_CMPXCHG, b.BPF_LOAD_ACQ, b.BPF_STORE_REL,
)  # fmt: skip
SIMPLE_HELPERS = tuple(
    HELPER_NUMBER[name]
    for name in (
        "ktime_get_ns", "get_prandom_u32", "get_smp_processor_id", "get_current_pid_tgid", "get_current_uid_gid",
        "jiffies64", "get_attach_cookie", "get_func_ip", "get_current_task",
    )
)  # fmt: skip


def maps() -> list[Map]:
    """One of each kind that programs reach by themselves."""
    return [
        Map("hash", b.BPF_MAP_TYPE_HASH, 4, 16, 8),
        Map("array", b.BPF_MAP_TYPE_ARRAY, 4, 12, 4),
        Map("lru", b.BPF_MAP_TYPE_LRU_HASH, 8, 8, 3),
        Map("percpu", b.BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 4),
        Map("lpm", b.BPF_MAP_TYPE_LPM_TRIE, 8, 8, 4),
        Map("ring", b.BPF_MAP_TYPE_RINGBUF, 0, 0, 4096),
        Map("queue", b.BPF_MAP_TYPE_QUEUE, 0, 8, 3),
    ]


class Writer:
    """Writes one program."""

    def __init__(self, random: Random, length: int) -> None:
        self.random = random
        self.length = length
        self.out: list[Instruction] = []
        self.maps = maps()
        self.functions = random.choice((0, 0, 1, 2))
        self.calls: list[tuple[int, int]] = []  # slot, function

    def register(self) -> int:
        """A register that is not the frame pointer."""
        return self.random.randrange(10)

    def imm(self) -> int:
        """Any 32-bit constant, often a corner."""
        random = self.random
        return random.choice(INTERESTING) if random.random() < 0.7 else random.randrange(-(1 << 31), 1 << 31)

    def emit(self, code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> None:
        """Append one instruction."""
        self.out.append(Instruction(code, dst, src, off, imm))

    def alu(self) -> None:
        """One arithmetic instruction of any kind."""
        random = self.random
        cls = random.choice((b.BPF_ALU, b.BPF_ALU64))
        kind = random.random()
        if kind < 0.06:
            self.emit(cls | b.BPF_NEG, self.register())
        elif kind < 0.14:
            code = b.BPF_ALU64 | b.BPF_END if random.random() < 0.4 else b.BPF_ALU | b.BPF_END | random.choice((0, 8))
            self.emit(code, self.register(), imm=random.choice((16, 32, 64)))
        else:
            op = random.choice(ALU_OPS)
            off = random.choice((0, 1)) if op in (b.BPF_DIV, b.BPF_MOD) else 0
            if random.random() < 0.5:
                if op == b.BPF_MOV:
                    off = random.choice((0, 0, 8, 16, 32) if cls == b.BPF_ALU64 else (0, 0, 8, 16))
                self.emit(cls | op | b.BPF_X, self.register(), random.randrange(11), off)
            else:
                self.emit(cls | op, self.register(), 0, off, self.imm())

    def pointer(self, size: int) -> tuple[int, int]:
        """A base register and an offset that are often fine."""
        random = self.random
        kind = random.random()
        if kind < 0.55:
            slack = 16 if random.random() < 0.03 else 0
            return 10, random.choice((-8, -16, -24, -512, -random.randrange(size, 513) + slack))
        if kind < 0.9:
            return 6, random.randrange(0, 36 if random.random() < 0.05 else 32 - size + 1)  # the record
        return self.register(), random.randrange(-64, 64)

    def memory(self) -> None:
        """A load, a store or an atomic operation."""
        random = self.random
        size = random.choice(SIZES)
        base, off = self.pointer(b.SIZE_BYTES[size])
        kind = random.random()
        if kind < 0.35:
            mode = b.BPF_MEMSX if size != b.BPF_DW and random.random() < 0.3 else b.BPF_MEM
            self.emit(b.BPF_LDX | mode | size, self.register(), base, off)
        elif kind < 0.55:
            self.emit(b.BPF_ST | b.BPF_MEM | size, base, 0, off, self.imm())
        elif kind < 0.8:
            self.emit(b.BPF_STX | b.BPF_MEM | size, base, random.randrange(11), off)
        else:
            op = random.choice(ATOMICS)
            if op not in (b.BPF_LOAD_ACQ, b.BPF_STORE_REL):
                size = random.choice((b.BPF_W, b.BPF_DW))
            dst, src = (self.register(), base) if op == b.BPF_LOAD_ACQ else (base, self.register())
            self.emit(b.BPF_STX | b.BPF_ATOMIC | size, dst, src, off, op)

    def address_of_frame(self, register: int, off: int) -> None:
        """register = r10 + off."""
        self.emit(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, register, 10)
        self.emit(b.BPF_ALU64 | b.BPF_ADD, register, imm=off)

    def map_use(self) -> None:
        """A key in the frame, then a map helper, then perhaps the value."""
        random = self.random
        number = random.randrange(5)
        map_ = self.maps[number]
        key = -32
        self.emit(b.BPF_ST | b.BPF_MEM | b.BPF_W, 10, 0, key, random.randrange(40 if map_.name == "lpm" else 5))
        if map_.key_size == 8:
            self.emit(b.BPF_ST | b.BPF_MEM | b.BPF_W, 10, 0, key + 4, random.choice((0, 1, 257, 0x01020304)))
        self.out += wide(1, number, b.BPF_PSEUDO_MAP_IDX)
        self.address_of_frame(2, key)
        what = random.random()
        if what < 0.45:
            self.address_of_frame(3, -64)
            self.emit(b.BPF_ALU64 | b.BPF_MOV, 4, imm=random.choice((0, 0, 0, 1, 2, 3)))
            self.emit(b.BPF_JMP | b.BPF_CALL, imm=HELPER_NUMBER["map_update_elem"])
        elif what < 0.55:
            self.emit(b.BPF_JMP | b.BPF_CALL, imm=HELPER_NUMBER["map_delete_elem"])
        else:
            self.emit(b.BPF_JMP | b.BPF_CALL, imm=HELPER_NUMBER["map_lookup_elem"])
            copy = random.choice((0, 0, 7))
            if copy:
                self.emit(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, copy, 0)
            checks = random.random() < 0.9
            steps: list[tuple[int, int, int, int, int]] = []
            for _ in range(random.randrange(1, 3)):
                size = random.choice(SIZES)
                off = random.randrange(0, map_.value_size if random.random() < 0.1 else map_.value_size - 7)
                steps.append(
                    random.choice((
                        (b.BPF_LDX | b.BPF_MEM | size, random.choice((3, 8)), copy, off, 0),
                        (b.BPF_STX | b.BPF_MEM | size, copy, 9, off, 0),
                        (b.BPF_STX | b.BPF_ATOMIC | b.BPF_W, copy, 9, off, random.choice((0, 1))),
                    ))
                )  # fmt: skip
            if random.random() < 0.3:
                steps.insert(0, (b.BPF_ALU64 | b.BPF_ADD, copy, 0, 0, random.choice((4, 1, -4))))
            if checks:
                self.emit(b.BPF_JMP | b.BPF_JEQ, copy, off=len(steps))
            for step in steps:
                self.emit(*step)

    def ring_use(self) -> None:
        """Reserve, write, submit or discard; or push and pop a queue."""
        random = self.random
        if random.random() < 0.4:
            self.out += wide(1, 6, b.BPF_PSEUDO_MAP_IDX)
            self.address_of_frame(2, -16)
            name = random.choice(("map_push_elem", "map_pop_elem", "map_peek_elem"))
            if name == "map_push_elem":
                self.emit(b.BPF_ALU64 | b.BPF_MOV, 3, imm=random.choice((0, 2)))
            self.emit(b.BPF_JMP | b.BPF_CALL, imm=HELPER_NUMBER[name])
            return
        self.out += wide(1, 5, b.BPF_PSEUDO_MAP_IDX)
        self.emit(b.BPF_ALU64 | b.BPF_MOV, 2, imm=24)
        self.emit(b.BPF_ALU64 | b.BPF_MOV, 3, imm=0)
        self.emit(b.BPF_JMP | b.BPF_CALL, imm=HELPER_NUMBER["ringbuf_reserve"])
        self.emit(b.BPF_JMP | b.BPF_JEQ, 0, off=4)
        self.emit(b.BPF_STX | b.BPF_MEM | b.BPF_DW, 0, 9, random.choice((0, 8, 16, 17)))
        self.emit(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, 1, 0)
        self.emit(b.BPF_ALU64 | b.BPF_MOV, 2, imm=0)
        name = random.choice(("ringbuf_submit", "ringbuf_discard"))
        self.emit(b.BPF_JMP | b.BPF_CALL, imm=HELPER_NUMBER[name])

    def call(self) -> None:
        """A helper without arguments, a function of the program, or a function called back."""
        random = self.random
        what = random.random()
        if self.functions and what < 0.4:
            self.calls.append((len(self.out), random.randrange(self.functions)))
            self.emit(b.BPF_JMP | b.BPF_CALL, src=b.BPF_PSEUDO_CALL)
        elif self.functions and what < 0.6:
            looping = random.random() < 0.7
            if looping:
                self.emit(b.BPF_ALU64 | b.BPF_MOV, 1, imm=random.randrange(4))
            else:
                self.out += wide(1, random.randrange(5), b.BPF_PSEUDO_MAP_IDX)
            self.calls.append((len(self.out), random.randrange(self.functions)))
            self.out += wide(2, 0, b.BPF_PSEUDO_FUNC)
            self.address_of_frame(3, -40)
            self.emit(b.BPF_ALU64 | b.BPF_MOV, 4, imm=0)
            self.emit(b.BPF_JMP | b.BPF_CALL, imm=HELPER_NUMBER["loop" if looping else "for_each_map_elem"])
        else:
            self.emit(b.BPF_JMP | b.BPF_CALL, imm=random.choice(SIMPLE_HELPERS))

    def body(self, length: int, level: int) -> None:
        """Some instructions; jumps are put in afterwards."""
        random = self.random
        start = len(self.out)
        while len(self.out) - start < length:
            kind = random.random()
            if kind < 0.5:
                self.alu()
            elif kind < 0.75:
                self.memory()
            elif kind < 0.8:
                self.out += wide(self.register(), random.choice(WIDE))
            elif kind < 0.86:
                self.map_use()
            elif kind < 0.88:
                self.ring_use()
            elif kind < 0.91 and not level:
                self.call()
            elif kind < 0.93:
                self.emit(random.choice((b.BPF_LD | b.BPF_ABS, b.BPF_LD | b.BPF_IND)) | random.choice(SIZES[:3]),
                          imm=random.randrange(-1, 34))  # fmt: skip
            elif kind < 0.94 and random.random() < 0.1:
                self.emit(b.BPF_JMP | b.BPF_CALL | b.BPF_X, self.register())
            else:
                cls = random.choice((b.BPF_JMP, b.BPF_JMP32))
                op = random.choice(JUMPS)
                if random.random() < 0.5:
                    self.emit(cls | op | b.BPF_X, self.register(), random.randrange(11), 0)
                else:
                    self.emit(cls | op, self.register(), 0, 0, self.imm())
        self.emit(b.BPF_JMP | b.BPF_EXIT)
        end = len(self.out)
        halves = {slot + 1 for slot in range(start, end) if self.out[slot].code == 0x18}
        for slot in range(start, end):
            one = self.out[slot]
            jumps = one.code & 7 in (b.BPF_JMP, b.BPF_JMP32) and one.code & 0xF0 not in (b.BPF_CALL, b.BPF_EXIT)
            if jumps and not one.off and slot not in halves:
                backward = random.random() < 0.12
                first, last = (max(start, slot - 12), slot) if backward else (slot + 1, min(end, slot + 12))
                targets = [target for target in range(first, last) if target not in halves]
                if targets:
                    self.out[slot] = one._replace(off=random.choice(targets) - slot - 1)
        if random.random() < 0.1:
            self.out[-1:] = [Instruction(b.BPF_JMP32 | b.BPF_JA, 0, 0, 0, 0), self.out[-1]]

    def program(self) -> Program:
        """The whole: the record's address is kept in r6, some registers hold numbers."""
        random = self.random
        self.emit(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, 6, 1)
        for register in random.sample(range(10), 4):
            if register != 6:
                self.emit(b.BPF_ALU64 | b.BPF_MOV, register, imm=self.imm())
        self.body(self.length, 0)
        starts = []
        for n in range(self.functions):
            starts.append(len(self.out))
            self.emit(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, 6, 1 + n % 3)
            self.body(self.length // 3 + 1, 1)
        for slot, function in self.calls:
            self.out[slot] = self.out[slot]._replace(imm=starts[function] - slot - 1)
        return Program(self.out, maps=self.maps, name="random")


def random_program(random: Random, length: int = 0) -> Program:
    """A program of about so many instructions, 2 to 60 when 0."""
    return Writer(random, length or random.randrange(2, 60)).program()
