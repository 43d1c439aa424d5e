"""Instructions as text and back: conformance programs, random slots, llvm-objdump beside ours, wrong lines."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from linscope.bpf.asm import assemble
from linscope.bpf.dis import STYLES, format_instruction, iter_text
from linscope.bpf.instructions import Instruction, decode, encode
from linscope.errors import SourceError, UsageError

CONFORMANCE = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "bpf"
EXACT = ("kernel", "classic")  # llvm's form writes two kinds of call alike
CODES = range(256)
IMMEDIATES = (0, 1, 16, 32, 64, 0xE1, 0xF1, 0x100, 0x110, 0x40, 0x41, -1, -(1 << 31), 0x7FFFFFFF, 123456)


def texts_of(instructions: list[Instruction], style: str) -> list[str]:
    return [text for _, text in iter_text(instructions, style)]


def asm_parts() -> list[Path]:
    found = sorted(path for path in CONFORMANCE.glob("*/*.data") if "\n-- asm" in path.read_text())
    assert len(found) > 150
    return found


def source_of(path: Path) -> str:
    part = re.split(r"^-- asm\n", path.read_text(), maxsplit=1, flags=re.MULTILINE)[1]
    return re.split(r"^-- (?=mem|raw|result|error|no register)", part, maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.skipif(not CONFORMANCE.exists(), reason="needs ../shared/conformance/bpf")
def test_conformance_programs_assemble_and_come_back_from_every_form() -> None:
    for path in asm_parts():
        if path.parent.name == "negative":
            continue
        made = assemble(source_of(path), where=path.name)
        for style in EXACT:
            assert assemble("\n".join(texts_of(made, style))) == made, (path.name, style)


@pytest.mark.skipif(not CONFORMANCE.exists(), reason="needs ../shared/conformance/bpf")
@pytest.mark.parametrize(
    ("name", "line", "column", "words"),
    [
        ("invalid_imm32_dec_range", 2, 12, "does not fit"),
        ("invalid_label", 1, 4, "no label 'NOT_A_LABEL'"),
        ("invalid_lock2", 1, 5, "Invalid number of operands for lock"),
        ("invalid_mnemonic", 2, 1, "did you mean ldxw"),
        ("invalid_offset", 1, 11, r"expected '\['"),
        ("invalid_operand_count", 1, 9, "is missing"),
        ("invalid_register", 1, 9, "Invalid register"),
    ],
)
def test_conformance_errors_have_their_place(name: str, line: int, column: int, words: str) -> None:
    with pytest.raises(SourceError, match=words) as caught:
        assemble(source_of(CONFORMANCE / "negative" / f"{name}.data"))
    first = caught.value.diagnostics[0]
    assert (first.line, first.column) == (line, column)


def test_any_slots_come_back() -> None:
    """Every opcode, with what it does not use set in half of the cases: then the text is the bytes."""
    chance = random.Random(9)

    def some(value: int) -> int:
        return value if chance.random() < 0.5 else 0

    shown_as_bytes = 0
    for code in CODES:
        for _ in range(40):
            one = Instruction(
                code,
                some(chance.randrange(12)),
                some(chance.randrange(12)),
                some(chance.choice((1, 8, 16, 32, -5, 300))),
                some(chance.choice(IMMEDIATES)),
            )
            slots = [one, Instruction(0, 0, 0, 0, chance.choice((0, 5, -1)))]
            for style in EXACT:
                texts = texts_of(slots, style)
                assert encode(assemble("\n".join(texts))) == encode(slots), texts
                shown_as_bytes += texts[0].startswith(".8byte")
    assert 0 < shown_as_bytes < 256 * 80


@pytest.mark.parametrize(
    ("code", "kernel", "llvm", "classic"),
    [
        ("b700000005000000", "r0 = 5", "r0 = 5", "mov %r0, 5"),
        ("7911080000000000", "r1 = *(u64 *)(r1 +8)", "r1 = *(u64 *)(r1 + 8)", "ldxdw %r1, [%r1+8]"),
        ("639af8ff00000000", "*(u32 *)(r10 -8) = r9", "*(u32 *)(r10 - 8) = r9", "stxw [%r10-8], %r9"),
        ("c5010300ffffffff", "if r1 s< 0xffffffff goto pc+3", "if r1 s< -1 goto +3", "jslt %r1, -1, +3"),
        ("8500000005000000", "call bpf_ktime_get_ns#5", "call 5", "call 5"),
        ("bc21080000000000", "w1 = (s8)w2", "w1 = (s8)w2", "movsx832 %r1, %r2"),
        ("3f21010000000000", "r1 s/= r2", "r1 s/= r2", "sdiv %r1, %r2"),
        ("d701000010000000", "r1 = bswap16 r1", "r1 = bswap16 r1", "swap16 %r1"),
        ("8921080000000000", "r1 = *(s16 *)(r2 +8)", "r1 = *(s16 *)(r2 + 8)", "ldxsh %r1, [%r2+8]"),
        ("0600000002000000", "gotol pc+2", "gotol +2", "ja32 +2"),
        ("e500040000000000", "may_goto pc+4", "may_goto +4", "may_goto +4"),
        ("db21000001000000", "r2 = atomic64_fetch_add((u64 *)(r1 +0), r2)", "", "lock fetch add [%r1+0], %r2"),
        ("db210000f1000000", "r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)", "r0 = cmpxchg_64(r1 + 0, r0, r2)", ""),
        ("db12000000010000", "r2 = load_acquire((u64 *)(r1 +0))", "", "ldacqdw %r2, [%r1+0]"),
        ("db21000010010000", "store_release((u64 *)(r1 +0), r2)", "", "strel"),
        ("280000000c000000", "r0 = *(u16 *)skb[12]", "r0 = *(u16 *)skb[12]", "ldabsh 12"),
        ("bf21010001000000", "r1 = addr_space_cast(r2, 0, 1)", "", "addr_space_cast %r1, %r2, 1"),
    ],
)
def test_forms(code: str, kernel: str, llvm: str, classic: str) -> None:
    """As kernel/bpf/disasm.c of v6.17, llvm and the conformance suite write them."""
    slots = decode(bytes.fromhex(code))
    assert format_instruction(slots, 0) == kernel
    if llvm:
        assert format_instruction(slots, 0, "llvm") == llvm
    assert format_instruction(slots, 0, "classic").startswith(classic)


def test_logs_can_be_assembled() -> None:
    """What verifier, bpftool and llvm-objdump put around instructions is passed over."""
    text = """
    ; int x = 5;
       0: (b7) r1 = 5                        ; R1_w=5
       1: (18) r2 = 0x1122334455
       3: (55) if r1 != 0x0 goto pc+1
       4: (85) call bpf_get_prandom_u32#7
           5:\t95 00 00 00 00 00 00 00\texit
    """
    assert texts_of(assemble(text), "kernel") == [
        "r1 = 5", "r2 = 0x1122334455", "if r1 != 0x0 goto pc+1", "call bpf_get_prandom_u32#7", "exit",
    ]  # fmt: skip


def test_labels_and_maps() -> None:
    made = assemble(
        """
        r1 = map[idx:2]
        r2 = map[idx:1][0]+16
        if r1 == 0 goto out      # forward
        back: call local twice
        goto back
        out: exit
        twice:
          r0 = r1
          r0 += r0
          exit
        """
    )
    assert [one.off for one in made if one.code == 0x15] == [2]
    assert [one.imm for one in made if one.code == 0x85] == [2]
    assert made[0].src == 5 and made[2].src == 6 and made[3].imm == 16


def test_all_that_is_wrong_is_told() -> None:
    text = "r0 = 1\nr1 + 3\nmov %r12, 1\nw1 = r2\ngoto nowhere\ncall bpf_ktime_get_nss\nexit exit\n"
    with pytest.raises(SourceError) as caught:
        assemble(text, where="x.s")
    assert [(one.line, one.column) for one in caught.value.diagnostics] == [
        (2, 3), (3, 5), (4, 6), (5, 6), (6, 6), (7, 6),
    ]  # fmt: skip
    shown = str(caught.value)
    assert "x.s:3:5: no register %r12\n  mov %r12, 1\n      ^\n" in shown
    assert "did you mean bpf_ktime_get_ns" in shown


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(UsageError, match="kernel, llvm, classic"):
        format_instruction(decode(bytes(8)), 0, "intel")
    assert STYLES == ("kernel", "llvm", "classic")


def test_random_text_is_an_error_with_a_place() -> None:
    chance = random.Random(4)
    seeds = texts_of(decode(bytes.fromhex("b700000005000000c5010300ffffffff639af8ff00000000")), "kernel")
    seeds += ["lock fetch add [%r10-8], %r1", "r1 = map[idx:2][0]+8", "call local x", "r2 = 5 ll", "x: exit"]
    letters = "r0w1%+-*/()[]=<>&|^ ,:#;.xXfFgoto callu8s\t\x00é"
    for _ in range(4000):
        line = list(chance.choice(seeds))
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(line) + 1)
            line[at : at + chance.randrange(2)] = chance.choice(letters)
        text = "".join(line)
        try:
            made = assemble(text)
        except SourceError as error:
            one = error.diagnostics[0]
            assert one.line >= 1 and 1 <= one.column <= len(text) + 1
        else:
            encode(made)


C_PROGRAM = """
typedef unsigned long long u64; typedef unsigned u32; typedef signed char s8;
u64 g;
int __attribute__((noinline)) sub(int a) { return a * 3 - g; }
__attribute__((section("xdp"))) u64 prog(u32 *ctx) {
  u64 a = ctx[0]; unsigned char b = ((unsigned char *)ctx)[5];
  __sync_fetch_and_add(&g, a); u64 o = __sync_fetch_and_xor(&g, b);
  u32 w = ctx[2]; w = w * 7 / (b + 1); if ((int)w < -5) a ^= o;
  u64 x = __sync_lock_test_and_set(&g, a); x += __sync_val_compare_and_swap(&g, a, 5ULL);
#ifdef HALVES
  __sync_fetch_and_add((u32 *)&g, w); w += __sync_fetch_and_or((u32 *)&g, w);
  w += __sync_lock_test_and_set((u32 *)&g, w); w += __sync_val_compare_and_swap((u32 *)&g, w, 5);
#endif
  if (a > 0x123456789ULL) x++;
  ((void (*)(int))6)(3);
  *(unsigned short *)&g = 7; if (a & 8) x--;
  return x + sub(w) + __builtin_bswap32(w) + __builtin_bswap64(x) + -(s8)w + (a >> 3) + x % 15;
}
"""


@pytest.mark.peer
@pytest.mark.parametrize("cpu", ["v1", "v2", "v3"])
def test_the_same_text_as_llvm_objdump(tmp_path: Path, cpu: str) -> None:
    if not shutil.which("clang") or not shutil.which("llvm-objdump"):
        pytest.skip("needs clang: apt-get install clang llvm")
    (tmp_path / "a.c").write_text(C_PROGRAM)
    command = ["clang", "-O2", "-target", "bpf", f"-mcpu={cpu}", "-c", "a.c", "-o", "a.o"]
    command += ["-DHALVES"] if cpu == "v3" else []
    subprocess.run(command, cwd=tmp_path, check=True)
    for section in (".text", "xdp"):
        raw, theirs = llvm_objdump(tmp_path / "a.o", section)
        # an llvm-objdump that is not told of half registers does not know 32-bit atomics with a result
        _, with_halves = llvm_objdump(tmp_path / "a.o", section, "--mattr=+alu32")
        known = [other if text == "<unknown>" else text for text, other in zip(theirs, with_halves, strict=True)]
        ours = texts_of(decode(bytes.fromhex(raw)), "llvm")
        assert [text.replace(" ", "") for text in ours] == [text.replace(" ", "") for text in known]


def llvm_objdump(path: Path, section: str, *options: str) -> tuple[str, list[str]]:
    """Code as hexadecimal digits, and the text of each instruction without the labels behind jumps."""
    words = ["llvm-objdump", "-d", *options, "-j", section, str(path)]
    listing = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    rows = re.findall(r"^\s*\d+:\s+((?:[0-9a-f]{2} )+[0-9a-f]{2})\t(.*)$", listing, re.MULTILINE)
    assert len(rows) > 5
    return "".join(raw for raw, _ in rows), [re.sub(r"\s+<[\w+]+>$", "", text) for _, text in rows]
