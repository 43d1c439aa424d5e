"""A plain Python unwinder: the oracle of linscope._native's.  Slow, simple, written from DWARF 5 (sections 2.5 and 6.4)
and the Linux Standard Base ("Exception Frames"), with no table and no memory of rows: each lookup reads all entries."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

RSP, RBP, RA = 7, 6, 16
REGISTERS = 17
MASK = 2**64 - 1
# enum How, cfi.h
UNSPECIFIED, UNDEFINED, SAME, AT_OFFSET, IS_OFFSET, REGISTER, AT_EXPRESSION, IS_EXPRESSION = range(8)


class Damaged(Exception):
    """The bytes do not make sense."""


class Reader:
    """Little-endian values one after the other."""

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data, self.at, self.end = data, at, len(data) if end is None else min(end, len(data))

    def left(self) -> int:
        return max(0, self.end - self.at)

    def take(self, size: int) -> bytes:
        if size > self.left():
            raise Damaged
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def uleb(self) -> int:
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value & MASK

    def sleb(self) -> int:
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        if byte & 0x40 and shift < 64:
            value -= 1 << shift
        return signed(value)

    def string(self) -> bytes:
        end = self.data.find(b"\0", self.at, self.end)
        if end < 0:
            raise Damaged
        text = self.data[self.at : end]
        self.at = end + 1
        return text


def signed(value: int) -> int:
    value &= MASK
    return value - (1 << 64) if value >> 63 else value


class Rule(NamedTuple):
    how: int
    source: int
    value: int  # of expressions: where they begin
    size: int = 0


NO_RULE = Rule(UNSPECIFIED, 0, 0)


@dataclass
class Rules:
    cfa: Rule = NO_RULE
    registers: dict[int, Rule] = field(default_factory=dict)
    return_register: int = RA
    signal: bool = False

    def copy(self) -> Rules:
        return Rules(self.cfa, dict(self.registers), self.return_register, self.signal)


@dataclass
class Cie:
    code_align: int
    data_align: int
    return_register: int
    encoding: int
    augmented: bool
    signal: bool
    program: tuple[int, int]


class Section:
    """An .eh_frame section at an address."""

    def __init__(self, data: bytes, address: int) -> None:
        self.data, self.address = data, address

    def entries(self) -> Any:
        """(offset, place of the id, id, end) of every entry that has a body."""
        offset = 0
        while offset + 4 <= len(self.data):
            reader = Reader(self.data, offset)
            length = reader.number(4)
            if length == 0xFFFFFFFF or length > reader.left():
                return
            id_at, end = reader.at, reader.at + length
            if length >= 4:
                yield offset, id_at, reader.number(4), end
            offset = end

    def pointer(self, reader: Reader, encoding: int) -> int:
        here = self.address + reader.at
        form = encoding & 0xF
        sizes = {0: 8, 2: 2, 3: 4, 4: 8, 10: 2, 11: 4, 12: 8}
        if form == 1:
            value = reader.uleb()
        elif form == 9:
            value = reader.sleb()
        elif form in sizes:
            value = reader.number(sizes[form], form >= 8)
        else:
            raise Damaged
        base = encoding & 0x70
        if base not in (0, 0x10):
            raise Damaged
        return (value + (here if base else 0)) & MASK

    def cie(self, offset: int) -> Cie:
        found = next((item for item in self.entries() if item[0] == offset and item[2] == 0), None)
        if found is None:
            raise Damaged
        _, id_at, _, end = found
        reader = Reader(self.data, id_at + 4, end)
        version, augmentation = reader.number(1), reader.string()
        code_align, data_align = reader.uleb(), reader.sleb()
        return_register = reader.number(1) if version == 1 else reader.uleb()
        encoding, signal = 0, False
        if augmentation[:1] == b"z":
            size = reader.uleb()
            inside = Reader(self.data, reader.at, reader.at + size)
            reader.take(size)
            for letter in augmentation[1:].decode():
                if letter == "R":
                    encoding = inside.number(1)
                elif letter == "L":
                    inside.number(1)
                elif letter == "P":
                    self.pointer(inside, inside.number(1) & 0xF)
                elif letter == "S":
                    signal = True
        return Cie(
            code_align, data_align, return_register, encoding, augmentation[:1] == b"z", signal, (reader.at, end)
        )

    def rules_at(self, address: int) -> Rules | None:
        """The rules for an address, None when there are none."""
        for _, id_at, identity, end in self.entries():
            if identity == 0:
                continue
            try:
                cie = self.cie(id_at - identity)
                reader = Reader(self.data, id_at + 4, end)
                start = self.pointer(reader, cie.encoding)
                size = self.pointer(reader, cie.encoding & 0xF)
                if not start <= address < start + size:
                    continue
                if cie.augmented:
                    reader.take(reader.uleb())
                rules = Rules(return_register=cie.return_register, signal=cie.signal)
                self.run(Reader(self.data, *cie.program), cie, start, address, None, rules)
                initial = rules.copy()
                self.run(Reader(self.data, reader.at, end), cie, start, address, initial, rules)
            except Damaged:
                return None
            return rules if rules.cfa.how else None
        return None

    def run(self, code: Reader, cie: Cie, location: int, address: int, initial: Rules | None, rules: Rules) -> None:
        """Instructions up to the address (DWARF 5, table 7.29)."""
        remembered: list[Rules] = []

        def put(register: int, how: int, value: int = 0, source: int = 0, size: int = 0) -> None:
            if register < REGISTERS:
                rules.registers[register] = Rule(how, source, value, size)

        def block() -> tuple[int, int]:
            size = code.uleb()
            begin = code.at
            code.take(size)
            return begin, size

        def again(register: int) -> None:
            if initial is not None and register < REGISTERS:
                rules.registers[register] = initial.registers.get(register, NO_RULE)

        while code.left():
            op = code.number(1)
            low = op & 0x3F
            if op >> 6 == 1 or op in (2, 3, 4):
                location += (low if op >> 6 else code.number(1 << (op - 2))) * cie.code_align
                if location > address:
                    return
            elif op >> 6 == 2:
                put(low, AT_OFFSET, code.uleb() * cie.data_align)
            elif op >> 6 == 3:
                again(low)
            elif op == 1:
                location = self.pointer(code, cie.encoding)
                if location > address:
                    return
            elif op in (5, 0x11):
                register = code.uleb()
                put(register, AT_OFFSET, (code.uleb() if op == 5 else code.sleb()) * cie.data_align)
            elif op == 6:
                again(code.uleb())
            elif op == 7:
                put(code.uleb(), UNDEFINED)
            elif op == 8:
                put(code.uleb(), SAME)
            elif op == 9:
                register = code.uleb()
                put(register, REGISTER, source=code.uleb())
            elif op == 0xA:
                remembered.append(rules.copy())
            elif op == 0xB:
                if not remembered:
                    raise Damaged
                saved = remembered.pop()
                rules.cfa, rules.registers = saved.cfa, saved.registers
            elif op in (0xC, 0x12):
                register = code.uleb()
                offset = code.uleb() if op == 0xC else code.sleb() * cie.data_align
                rules.cfa = Rule(IS_OFFSET, register, offset)
            elif op in (0xD, 0xE, 0x13) and rules.cfa.how != IS_OFFSET:
                raise Damaged
            elif op == 0xD:
                rules.cfa = Rule(IS_OFFSET, code.uleb(), rules.cfa.value)
            elif op in (0xE, 0x13):
                offset = code.uleb() if op == 0xE else code.sleb() * cie.data_align
                rules.cfa = Rule(IS_OFFSET, rules.cfa.source, offset)
            elif op == 0xF:
                begin, size = block()
                rules.cfa = Rule(IS_EXPRESSION, 0, begin, size)
            elif op in (0x10, 0x16):
                register = code.uleb()
                begin, size = block()
                put(register, AT_EXPRESSION if op == 0x10 else IS_EXPRESSION, begin, size=size)
            elif op in (0x14, 0x15):
                register = code.uleb()
                put(register, IS_OFFSET, (code.uleb() if op == 0x14 else code.sleb()) * cie.data_align)
            elif op == 0x2E:
                code.uleb()
            elif op == 0x2F:
                register = code.uleb()
                put(register, AT_OFFSET, -code.uleb() * cie.data_align)
            elif op != 0:
                raise Damaged


_BINARY: dict[int, Callable[[int, int], int]] = {
    0x1A: operator.and_,
    0x1C: operator.sub,
    0x1E: operator.mul,
    0x21: operator.or_,
    0x22: operator.add,
    0x24: lambda a, b: a << b if b < 64 else 0,
    0x25: lambda a, b: a >> b if b < 64 else 0,
    0x26: lambda a, b: signed(a) >> min(b, 63),
    0x27: operator.xor,
    0x29: operator.eq,
    0x2A: lambda a, b: signed(a) >= signed(b),
    0x2B: lambda a, b: signed(a) > signed(b),
    0x2C: lambda a, b: signed(a) <= signed(b),
    0x2D: lambda a, b: signed(a) < signed(b),
    0x2E: operator.ne,
}


def evaluate(code: bytes, registers: list[int], read: Callable[[int], int], cfa: int | None) -> int:
    """A DWARF expression's value: the operators that compilers and the C library use in CFI."""
    stack = [] if cfa is None else [cfa]
    reader = Reader(code)
    while reader.left():
        op = reader.number(1)
        if 0x30 <= op <= 0x4F:
            stack.append(op - 0x30)
        elif 0x70 <= op <= 0x80:
            stack.append(registers[op - 0x70] + reader.sleb())
        elif op == 0x06:
            stack.append(read(stack.pop() & MASK))
        elif op in (0x08, 0x0A, 0x0C, 0x0E):
            stack.append(reader.number(1 << (op - 8) // 2))
        elif op in (0x09, 0x0B, 0x0D, 0x0F):
            stack.append(reader.number(1 << (op - 9) // 2, True))
        elif op == 0x10:
            stack.append(reader.uleb())
        elif op == 0x11:
            stack.append(reader.sleb())
        elif op == 0x12:
            stack.append(stack[-1])
        elif op == 0x16:
            stack[-1], stack[-2] = stack[-2], stack[-1]
        elif op == 0x23:
            stack.append(stack.pop() + reader.uleb())
        elif op in _BINARY:
            b, a = stack.pop() & MASK, stack.pop() & MASK
            stack.append(int(_BINARY[op](a, b)))
        else:
            raise Damaged
    return stack.pop() & MASK


class Module(NamedTuple):
    """A mapped object: addresses from start to end are section addresses plus bias."""

    start: int
    end: int
    bias: int
    section: Section


def walk(modules: list[Module], registers: list[int], stack: bytes, limit: int = 1024) -> tuple[list[int], bool]:
    """Instruction pointer and return addresses as long as there is CFI; whether missing CFI ended it."""
    base, registers = registers[RSP], list(registers)
    addresses = [registers[RA]]
    exact = True

    def read(address: int) -> int:
        offset = (address & MASK) - base
        if not 0 <= offset <= len(stack) - 8:
            raise Damaged
        return int.from_bytes(stack[offset : offset + 8], "little")

    try:
        while len(addresses) < limit:
            lookup = registers[RA] - (not exact)
            module = next(m for m in modules if m.start <= lookup < m.end)
            rules = module.section.rules_at(lookup - module.bias)
            if rules is None:
                return addresses, True
            data = module.section.data
            code = data[rules.cfa.value : rules.cfa.value + rules.cfa.size]
            if rules.cfa.how == IS_EXPRESSION:
                cfa = evaluate(code, registers, read, None)
            else:
                cfa = (registers[rules.cfa.source] + rules.cfa.value) & MASK
            caller = list(registers)
            caller[RSP] = cfa
            for register, rule in rules.registers.items():
                code = data[rule.value : rule.value + rule.size]
                try:
                    if rule.how == AT_OFFSET:
                        caller[register] = read(cfa + rule.value)
                    elif rule.how == IS_OFFSET:
                        caller[register] = (cfa + rule.value) & MASK
                    elif rule.how == REGISTER:
                        caller[register] = registers[rule.source]
                    elif rule.how == AT_EXPRESSION:
                        caller[register] = read(evaluate(code, registers, read, cfa))
                    elif rule.how == IS_EXPRESSION:
                        caller[register] = evaluate(code, registers, read, cfa)
                    elif rule.how == UNDEFINED and register == rules.return_register:
                        return addresses, False
                except Damaged:
                    if register == rules.return_register:
                        return addresses, False
            caller[RA] = caller[rules.return_register]
            if caller[RA] == 0 or (not rules.signal and cfa <= registers[RSP]):
                break
            exact = rules.signal
            registers = caller
            addresses.append(registers[RA])
    except StopIteration:
        return addresses, True
    except Damaged:
        pass
    return addresses, False
