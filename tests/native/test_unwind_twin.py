"""The native unwinder beside readelf (rows of real files), its plain Python twin, and damaged input."""

from __future__ import annotations

import random
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import cfi_twin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linscope._native import _core
from linscope.binfmt.elf import PT_LOAD, ElfFile
from linscope.symbols.unwind import CfiBytes, cfi_of, code_segments

READELF = shutil.which("readelf")
LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6"
LOADER = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
LIBSTDCXX = "/usr/lib/x86_64-linux-gnu/libstdc++.so.6"
NAMES = ["rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "ra"]
EMPTY = np.empty(0, np.uint64)
NO_SPACE = (EMPTY, EMPTY, EMPTY, np.empty(0, np.int32))


def unwinder_of(
    sections: list[CfiBytes], segments: Any = (), mappings: list[tuple[int, int, int, int]] | None = None
) -> _core.Unwinder:
    """One space (number 1) and one object (number 0)."""
    flat = np.array([word for segment in segments for word in segment], np.uint64)
    columns = list(zip(*(mappings or []), strict=True)) or [(), (), (), ()]
    space = (*(np.array(column, np.uint64) for column in columns[:3]), np.array(columns[3], np.int32))
    return _core.Unwinder(lambda number: space if number else NO_SPACE, lambda _: (flat, sections), False)


def expected_cell(text: str) -> tuple[int, int, int] | None:
    """readelf's cell as the native module says it; None for what has no rule, a value of 0 for expressions."""
    if text == "u":
        return None
    if text == "s":
        return cfi_twin.SAME, 0, 0
    if text in ("exp", "vexp"):
        return (cfi_twin.AT_EXPRESSION if text == "exp" else cfi_twin.IS_EXPRESSION), 0, 0
    if found := re.fullmatch(r"([cv])([+-]\d+)", text):
        return (cfi_twin.AT_OFFSET if found[1] == "c" else cfi_twin.IS_OFFSET), 0, int(found[2])
    return cfi_twin.REGISTER, int(text[1:]), 0


def native_cell(rule: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    if rule is None or rule[0] == cfi_twin.UNDEFINED:
        return None
    return (rule[0], 0, 0) if rule[0] in (cfi_twin.AT_EXPRESSION, cfi_twin.IS_EXPRESSION) else rule


@pytest.mark.peer
@pytest.mark.skipif(READELF is None, reason="apt-get install binutils")
@pytest.mark.parametrize("with_table", [True, False])
@pytest.mark.parametrize("path", [LIBC, LOADER, LIBSTDCXX])
def test_every_row_is_what_readelf_says(path: str, with_table: bool) -> None:
    """All rows of all FDEs; without the sorted table the native module finds FDEs by a scan of its own."""
    if not Path(path).exists():
        pytest.skip(f"no {path}; apt-get install libc6 libstdc++6")
    with ElfFile(path) as elf:
        sections = cfi_of(elf)
    if not with_table:
        sections = [(data, address, b"", 0, debug) for data, address, _, _, debug in sections]
    unwinder = unwinder_of(sections)
    command = [str(READELF), "--debug-dump=frames-interp", path]
    text = subprocess.run(command, capture_output=True, text=True).stdout  # it fails for want of a debug file
    rows, columns, end = 0, [], 0
    previous: tuple[int, Any] | None = None
    for line in [*text.splitlines(), ""]:
        if found := re.search(r" FDE .*pc=([0-9a-f]+)\.\.([0-9a-f]+)", line):
            end = int(found[2], 16)
        elif line.lstrip().startswith("LOC"):
            columns = line.split()[2:]
        elif end and (found := re.match(r"([0-9a-f]{16}) (.*)", line)) and "CIE" not in line:
            address, (cfa, *cells) = int(found[1], 16), re.sub(r" \(\w+\)", "", found[2]).split()
            if previous:  # the row above holds up to here
                assert unwinder.rules_at(0, address - 1) == previous[1]
            native = unwinder.rules_at(0, address)
            assert native is not None, line
            if cfa == "exp":
                assert native[0][0] == cfi_twin.IS_EXPRESSION
            else:
                register, _, offset = cfa.rpartition("+")
                assert native[0] == (cfi_twin.IS_OFFSET, NAMES.index(register), int(offset)), line
            for name, cell in zip(columns, cells, strict=True):
                assert native_cell(native[1].get(NAMES.index(name))) == expected_cell(cell), (name, line)
            previous, rows = (address, native), rows + 1
        elif not line.strip():
            if previous and previous[0] < end - 1:
                assert unwinder.rules_at(0, end - 1) == previous[1]
            previous, end = None, 0
    assert rows > 500


def uleb(value: int) -> bytes:
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def sleb(value: int) -> bytes:
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        if (value == 0 and not byte & 0x40) or (value == -1 and byte & 0x40):
            return bytes([*out, byte])
        out.append(byte | 0x80)


ADDRESS, CODE = 0x5000, 0x1000


def entry(body: bytes) -> bytes:
    body += bytes(-(len(body) + 4) % 8)
    return struct.pack("<I", len(body)) + body


def eh_frame(program: bytes, *, initial: bytes = b"", size: int = 0x100, signal: bool = False) -> bytes:
    """One CIE (code alignment 1, data alignment -8, return address register 16) and one FDE at CODE."""
    augmentation = b"zRS\0" if signal else b"zR\0"
    head = struct.pack("<IB", 0, 1) + augmentation + uleb(1) + sleb(-8) + b"\x10" + uleb(1) + b"\x1b"
    cie = entry(head + initial)
    at = len(cie) + 8
    fde = entry(struct.pack("<Iii", len(cie) + 4, CODE - (ADDRESS + at), size) + uleb(0) + program)
    return cie + fde + bytes(4)


registers = st.integers(0, 20)
offsets = st.integers(0, 300)
blocks = st.binary(max_size=6).map(lambda b: uleb(len(b)) + b)
operations = st.one_of(
    st.integers(1, 0x3F).map(lambda n: bytes([0x40 | n])),
    st.integers(0, 255).map(lambda n: bytes([2, n])),
    st.integers(0, 300).map(lambda n: struct.pack("<BH", 3, n)),
    st.integers(0, 300).map(lambda n: struct.pack("<BI", 4, n)),
    st.tuples(st.integers(0, 20), offsets).map(lambda t: bytes([0x80 | t[0]]) + uleb(t[1])),
    registers.map(lambda r: bytes([0xC0 | r])),
    st.tuples(st.sampled_from([5, 0x14, 0x2F]), registers, offsets).map(lambda t: bytes(t[:2]) + uleb(t[2])),
    st.tuples(st.sampled_from([0x11, 0x15]), registers, st.integers(-300, 300)).map(
        lambda t: bytes(t[:2]) + sleb(t[2])
    ),
    st.tuples(st.sampled_from([6, 7, 8]), registers).map(bytes),
    st.tuples(st.just(9), registers, st.integers(0, 16)).map(bytes),
    st.sampled_from([b"\x0a", b"\x00", b"\x2e\x10"]),
    st.tuples(st.sampled_from([0xC]), st.integers(0, 16), offsets).map(lambda t: bytes(t[:2]) + uleb(t[2])),
    st.tuples(st.just(0x12), st.integers(0, 16), st.integers(-300, 300)).map(lambda t: bytes(t[:2]) + sleb(t[2])),
    st.tuples(st.just(0xF), blocks).map(lambda t: bytes(t[:1]) + t[1]),
    st.tuples(st.sampled_from([0x10, 0x16]), registers, blocks).map(lambda t: bytes(t[:2]) + t[2]),
)


def plain(rules: cfi_twin.Rules | None) -> Any:
    """The twin's answer in the native module's form."""
    if rules is None:
        return None
    cells = {r: tuple(rule[:3]) for r, rule in rules.registers.items() if rule.how != cfi_twin.UNSPECIFIED}
    return tuple(rules.cfa[:3]), cells, rules.return_register, rules.signal


@settings(max_examples=300, deadline=None)
@given(st.lists(operations, max_size=25), st.booleans())
def test_programs_give_the_twins_rows(program: list[bytes], remembers: bool) -> None:
    code = b"".join(program)
    if remembers:
        code = b"\x0a" + code + b"\x0b\x0e\x28" if b"\x0f" not in code else code
    data = eh_frame(code, initial=b"\x0c\x07\x08\x90\x01", signal=remembers)
    unwinder, twin = unwinder_of([(data, ADDRESS, b"", 0, False)]), cfi_twin.Section(data, ADDRESS)
    for address in (CODE - 1, CODE, CODE + 1, CODE + 17, CODE + 0x80, CODE + 0xFF, CODE + 0x100):
        assert unwinder.rules_at(0, address) == plain(twin.rules_at(address)), hex(address)


def expression_value(code: bytes, values: list[int], stack: bytes) -> int | None:
    """What the native module finds for RA = value of the expression; None for nothing."""
    program = b"\x16\x10" + uleb(len(code)) + code
    data = eh_frame(program, initial=b"\x0c\x07\x08\x90\x01")
    base = 0x10000
    unwinder = unwinder_of(
        [(data, ADDRESS, b"", 0, False)], [(CODE, 0x1000, CODE)], [(base + CODE, base + 0x2000, CODE, 0)]
    )
    state = np.array([*values[:7], 0x7000, *values[8:16], base + CODE + 1], np.uint64)
    addresses, _ = unwinder.walk(1, state, (1 << 17) - 1, stack)
    words = addresses.tolist()
    assert words[:2] == [2**64 - 512, base + CODE + 1]
    return words[2] if len(words) > 2 else None


LITERALS = st.one_of(
    st.integers(0, 31).map(lambda n: bytes([0x30 + n])),
    st.integers(-(2**31), 2**31 - 1).map(lambda n: b"\x0d" + struct.pack("<i", n)),
    st.integers(0, 2**63).map(lambda n: b"\x0e" + struct.pack("<Q", n)),
    st.integers(-1000, 1000).map(lambda n: b"\x77" + sleb(n)),
)


@settings(max_examples=300, deadline=None)
@given(LITERALS, st.lists(st.tuples(LITERALS, st.sampled_from(sorted(cfi_twin._BINARY))), max_size=6), st.booleans())
def test_expressions_give_the_twins_values(first: bytes, rest: list[tuple[bytes, int]], deref: bool) -> None:
    code = first + b"".join(literal + bytes([op]) for literal, op in rest)
    code += b"\x08\xf8\x1a\x0a\x00\x70\x22\x06" if deref else b""  # & 0xf8, + 0x7000, deref
    stack = bytes(random.Random(1).randrange(256) for _ in range(256))
    values = [0] * 17
    values[7] = 0x7000

    def read(address: int) -> int:
        return int.from_bytes(stack[address - 0x7000 : address - 0x7000 + 8], "little")

    wanted = cfi_twin.evaluate(code, values, read, 0x7008)
    assert expression_value(code, values, stack) == (wanted or None)


@pytest.mark.parametrize(
    "code",
    [
        b"\x2f\xfd\xff",  # skip to itself
        b"\x30\x12\x28\xfc\xff\x2f\xf9\xff",
        b"\x12" * 100,
        b"\x30" * 100,
        b"\x06",
        b"\x30\x30\x1b",
        b"\x0f\x00\x00\x00\x00\x00\x00\x00\x80\x31\x1f\x1b",
        b"\x30\x30\x1d",
        b"\x2f\xff\x7f",
        b"\x15\xff",
        b"\x94\x09",
        b"\x92\xff\xff\x03\x00",
        b"\x0e\x01",
        b"\xff",
    ],
)
def test_expressions_that_make_no_sense_end_the_walk(code: bytes) -> None:
    expression_value(code, [0] * 17, bytes(64))


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans())
def test_damaged_bytes_do_no_harm(damage: random.Random, with_table: bool) -> None:
    """Bits flipped and ends cut in a real .eh_frame, its table, registers and stack: an answer or none, and in time."""
    sections, segments = real_bytes()
    data, address, table, table_address, _ = sections
    pieces = [bytearray(data), bytearray(table if with_table else b"")]
    for piece in pieces:
        for _ in range(damage.choice((0, 3, 300))):
            if piece:
                piece[damage.randrange(len(piece))] = damage.choice((0, 1, 0x7F, 0x80, 0xFF, damage.randrange(256)))
        if piece and damage.random() < 0.3:
            del piece[damage.randrange(len(piece)) :]
    base = 0x7F0000000000
    whole = sum(segment[1] for segment in segments)
    unwinder = unwinder_of(
        [(bytes(pieces[0]), address, bytes(pieces[1]), table_address, damage.random() < 0.1)],
        segments,
        [(base, base + whole, 0, 0), (base + whole, base + 2 * whole, 0, -1), (base + 2 * whole, 2**64 - 1, 0, -2)],
    )
    size = damage.choice((0, 7, 8, 512))
    words = [
        base + damage.randrange(whole) if damage.random() < 0.6 else 0x7FFF0000 + damage.randrange(600)
        for _ in range(64)
    ]
    stack = struct.pack("<64Q", *words)[:size]
    for _ in range(20):
        values = [damage.choice((0, 2**64 - 1, 0x7FFF0000 + damage.randrange(600))) for _ in range(16)]
        values[7] = damage.choice((0x7FFF0000, 0x7FFF0000, 0, 2**64 - 4))
        state = np.array([*values, base + damage.randrange(whole)], np.uint64)
        addresses, ending = unwinder.walk(1, state, damage.choice(((1 << 17) - 1, 0, 1 << 16, 1 << 7)), stack)
        assert len(addresses) <= 2 * 1024 and 0 <= ending < 6
        unwinder.rules_at(0, damage.randrange(2 * whole))


def real_bytes() -> tuple[CfiBytes, list[tuple[int, int, int]]]:
    """CFI and segments of the dynamic loader: small, hand-written parts, signal frames."""
    with ElfFile(LOADER) as elf:
        segments = [(s.offset, s.file_size, s.address) for s in elf.segments if s.kind == PT_LOAD]
        return cfi_of(elf)[0], segments


def test_walks_are_the_twins() -> None:
    """Made-up stacks of words that point into libc: the walks find the same callers, most of them nonsense."""
    with ElfFile(LIBC) as elf:
        (data, address, table, table_address, _), *_ = cfi_of(elf)
        segments = [(s.offset, s.file_size, s.address) for s in code_segments(elf)]
    code = segments[0]
    base = 0x7F0000000000
    unwinder = unwinder_of(
        [(data, address, table, table_address, False)], segments, [(base, base + code[1], code[0], 0)]
    )
    section = RememberingSection(data, address)
    modules = [cfi_twin.Module(base, base + code[1], base - code[2], section)]
    chance = random.Random(2)
    good = [start for start, _ in section.ranges()]
    deep = 0
    for _ in range(150):
        words = [base - code[2] + chance.choice(good) + chance.randrange(1, 20) for _ in range(200)]
        stack = struct.pack("<200Q", *words)
        values = [0x7FFF0000 + 8 * chance.randrange(200) for _ in range(16)]
        values[7] = 0x7FFF0000
        values.append(base - code[2] + chance.choice(good) + chance.randrange(20))
        found, _ = unwinder.walk(1, np.array(values, np.uint64), (1 << 17) - 1, stack)
        native = [word for word in found.tolist() if word != 2**64 - 512]
        twin, without_rules = cfi_twin.walk(modules, values, stack)
        assert native[: len(twin)] == twin
        assert len(native) == len(twin) or without_rules  # then the native one goes on by frame pointers
        deep += len(twin) > 3
    assert deep > 30


class RememberingSection(cfi_twin.Section):
    """The twin's section with its FDEs listed once, else the test takes minutes."""

    def __init__(self, data: bytes, address: int) -> None:
        super().__init__(data, address)
        self._cies: dict[int, cfi_twin.Cie] = {}
        self._listed = list(super().entries())
        self._by_start = sorted((self._start(item), item) for item in self._listed if item[2])

    def cie(self, offset: int) -> cfi_twin.Cie:
        if offset not in self._cies:
            self._cies[offset] = super().cie(offset)
        return self._cies[offset]

    def _start(self, item: Any) -> tuple[int, int]:
        _, id_at, identity, end = item
        cie = self.cie(id_at - identity)
        reader = cfi_twin.Reader(self.data, id_at + 4, end)
        start = self.pointer(reader, cie.encoding)
        return start, self.pointer(reader, cie.encoding & 0xF)

    def ranges(self) -> list[tuple[int, int]]:
        return [start for start, _ in self._by_start]

    def entries(self) -> Any:
        return iter(self._near) if hasattr(self, "_near") else super().entries()

    def rules_at(self, address: int) -> cfi_twin.Rules | None:
        self._near = [item for (start, size), item in self._by_start if start <= address < start + size]
        return super().rules_at(address)


def test_a_frame_pointer_leads_through_code_without_rules() -> None:
    data = eh_frame(b"", initial=b"\x0c\x07\x08\x90\x01")
    base, jit = 0x10000, 0x90000
    mappings = [(base + CODE, base + 0x2000, CODE, 0), (jit, jit + 0x1000, 0, -1)]
    unwinder = unwinder_of([(data, ADDRESS, b"", 0, False)], [(CODE, 0x1000, CODE)], mappings)
    everything, top = (1 << 17) - 1, 0x7000

    def walk(pc: int, frame_pointer: int, words: list[int]) -> list[int]:
        state = np.zeros(17, np.uint64)
        state[6], state[7], state[16] = frame_pointer, top, pc
        found, _ = unwinder.walk(1, state, everything, struct.pack(f"<{len(words)}Q", *words))
        return [word for word in found.tolist() if word != 2**64 - 512]

    code = base + CODE + 5
    # JIT code with a frame: saved frame pointer and return address where the frame pointer points
    assert walk(jit + 8, top + 16, [1, 2, 0, code, 0]) == [jit + 8, code]
    # the same called from code with rules
    assert walk(code, top + 24, [jit + 8, 1, 2, 0, code, 0]) == [code, jit + 8, code]
    # a trampoline of Python 3.12: one word of padding, then its return address
    assert walk(code, 0x33, [jit + 8, 7, code, 0]) == [code, jit + 8, code]
    # just called, no frame yet
    assert walk(jit, 0x33, [code, 0]) == [jit, code]
    # nowhere at all: a call through a bad pointer
    assert walk(0x666, 0x33, [code, 0]) == [0x666, code]
    # no guess is good enough
    assert walk(jit + 8, top + 16, [1, 2, 3, 4]) == [jit + 8]


def test_arguments_are_checked() -> None:
    unwinder = unwinder_of([])
    with pytest.raises(ValueError):
        unwinder.walk(1, np.zeros(3, np.uint64), 0, b"")
    with pytest.raises(IndexError):
        unwinder.walk(1 << 30, np.full(17, 5, np.uint64), 1 << 16, b"")
    failing = _core.Unwinder(lambda _: 1 // 0, lambda _: (EMPTY, []), False)  # type: ignore[arg-type,return-value]
    with pytest.raises(ZeroDivisionError):
        failing.walk(1, np.full(17, 5, np.uint64), 1 << 16, b"")
