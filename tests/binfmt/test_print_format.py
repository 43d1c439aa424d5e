"""Print formats: C's meaning of expressions, printf's of places, and no input that raises anything but FormatError."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linscope.binfmt.event_format import EventFormat, Field, parse_format, parse_printk_formats
from linscope.binfmt.print_code import PrintContext, compile_print_format, row_printer
from linscope.errors import FormatError, LinscopeError

FIELDS = (
    Field("i", "int", 0, 4, True, 0, ""),
    Field("u", "unsigned int", 4, 4, False, 0, ""),
    Field("l", "long", 8, 8, True, 0, ""),
    Field("q", "u64", 16, 8, False, 0, ""),
    Field("b", "u8", 24, 1, False, 0, ""),
    Field("comm", "char", 25, 16, True, 16, ""),
    Field("mac", "u8", 41, 6, False, 6, ""),
    Field("args", "unsigned long", 48, 16, False, 2, ""),
    Field("name", "char[]", 64, 4, False, 0, "data_loc"),
    Field("data", "u16[]", 68, 4, False, 0, "data_loc"),
    Field("ip6", "u8", 72, 16, False, 16, ""),
    Field("p", "const char *", 88, 8, False, 0, ""),
)
VALUES: dict[str, Any] = {
    "i": -5,
    "u": 0xFFFFFFFB,
    "l": -7,
    "q": 1 << 63,
    "b": 200,
    "comm": "bash",
    "mac": [1, 2, 3, 0xAB, 0xCD, 0xEF],
    "args": [7, 8],
    "name": "eth0",
    "data": b"\x01\x00\x02\x00\xff\xff",
    "ip6": [0x20, 1, 0xD, 0xB8, *[0] * 11, 1],
    "p": 0x1000,
}
CONTEXT = PrintContext(
    strings={0x1000: "a constant"},
    symbol=lambda address: ("schedule", address - 0x100) if 0x100 <= address < 0x200 else None,
)


def form(print_format: str) -> EventFormat:
    return EventFormat("test", "event", 1, (), FIELDS, print_format)


def written(print_format: str, **values: Any) -> str:
    printer = compile_print_format(form(print_format), CONTEXT)
    return printer.text(*((VALUES | values)[name] for name in printer.columns))


@pytest.mark.parametrize(
    ("print_format", "expected"),
    [
        ('"%d %i", REC->i, REC->i', "-5 -5"),
        ('"%u %x", REC->i, REC->i', "4294967291 fffffffb"),
        ('"%d", REC->u', "-5"),
        ('"%lx %lu %ld", REC->l, REC->l, REC->l', "fffffffffffffff9 18446744073709551609 -7"),
        ('"%hhu %hd %hhx", REC->i, REC->l, 0x1ff', "251 -7 ff"),
        ('"%lld", REC->q', "-9223372036854775808"),
        ('"%#x %#x %#o %08x %#010x", REC->b, 0, 8, REC->b, REC->b', "0xc8 0 010 000000c8 0x000000c8"),
        ('"%5d|%-5d|%05d|%+d|% d|%.3d", 42, 42, 42, 42, 42, 7', "   42|42   |00042|+42| 42|007"),
        ('"%*d|%-*d|", 5, 42, 5, 42', "   42|42   |"),
        ('"%s|%8s|%-8s|%.2s", REC->comm, REC->comm, REC->comm, REC->comm', "bash|    bash|bash    |ba"),
        ('"%.*s|%*s|", 3, __get_str(name), 6, __get_str(name)', "eth|  eth0|"),
        ('"%s %s", REC->p, (char *)REC->q', "a constant 8000000000000000"),
        ('"%c%c 100%%", 65, 0', "A 100%"),
        ('"a" "b\\t%s" "\\n", "x"', "ab\tx\n"),
        ('"%d", REC->u > 0 ? 1 : 2', "1"),
        ('"%d", (int)REC->u < 0', "1"),
        ('"%d", REC->i < 0', "1"),
        ('"%d", REC->i < REC->u', "0"),  # both become unsigned, and equal
        ('"%d", REC->i == REC->u', "1"),
        ('"%d", REC->l == -7', "1"),
        ('"%d", REC->l < REC->u', "1"),  # long holds every unsigned int
        ('"%d", REC->q != -1UL', "1"),
        ('"%u", -1 >> 28', "4294967295"),
        ('"%u", -1U >> 28', "15"),
        ('"%d %d", -7 / 2, -7 % 2', "-3 -1"),
        ('"%d", 7 / (REC->b - 200)', "0"),
        ('"%d", 2 + 3 * 4 - 10 / 5', "12"),
        ('"%d", 1 | 2 ^ 3 & 5 == 5', "3"),
        ('"%d", !REC->i || 0 && 1', "0"),
        ('"%u", ~0', "4294967295"),
        ('"%llu", (u64)~0U', "4294967295"),
        ('"%d", (s8)200', "-56"),
        ('"%d %d", (int) (signed char) REC->b, (unsigned short)REC->i', "-56 65531"),
        ('"%lu", ((unsigned long)(REC->q) >> 60) + sizeof(u32) + sizeof(REC->comm)', "28"),
        ('"%lx,%lx %lx", REC->args[0], REC->args[1], REC->args[2]', "7,8 0"),
        ('"%c", __get_str(name)[0]', "e"),
        ('"%d", ((u8 *)__get_dynamic_array(data))[2]', "2"),
        ('"%d", *((u16 *)__get_dynamic_array(data))', "1"),
        ('"%d", __get_dynamic_array_len(data)', "6"),
        ('"%s", __print_hex(__get_dynamic_array(data), 4)', "01 00 02 00"),
        ('"%s", __print_hex_str(REC->mac, sizeof(REC->mac))', "010203abcdef"),
        ('"%s", __print_array(__get_dynamic_array(data), 3, 2)', "1 2 65535"),
        ('"%s", __print_symbolic(REC->b, {1, "ONE"}, {200, "MANY"})', "MANY"),
        ('"%s", __print_symbolic(REC->b, {1, "ONE"}, {2, "TWO"})', "0xc8"),
        ('"%s", __print_symbolic(REC->i, {-5, "EIO"})', "EIO"),
        ('"%s", __print_symbolic(REC->b, {  })', "0xc8"),
        ('"%s", __print_flags(REC->b, "|", {0x80, "A"}, {0x40, "B"}, {(1 << 4), "C"})', "A|B|0x8"),
        ('"%s", __print_flags(0, "|", {1, "A"})', ""),
        ('"%s%s", REC->b & 8 ? __print_flags(REC->b & 8, "", {8, "E"}) : "none", REC->i ? "+" : ""', "E+"),
        ('"%p %p %pK", REC->q, 0, (void *)REC->u', "0x8000000000000000 (nil) 0xfffffffb"),
        ('"%ps %pS %ps", (void *)0x110, (void *)0x110, (void *)0x10', "schedule schedule+0x10 0x10"),
        ('"%pM %pm", REC->mac, REC->mac', "01:02:03:ab:cd:ef 010203abcdef"),
        ('"%pI4 %pi4", REC->mac, REC->mac', "1.2.3.171 001.002.003.171"),
        ('"%pI6c", REC->ip6', "2001:db8::1"),
        ('"%pI6", REC->ip6', "2001:0db8:0000:0000:0000:0000:0000:0001"),
        ('"%pU", REC->ip6', "20010db8-0000-0000-0000-000000000001"),
        ('"%pUl", REC->ip6', "b80d0120-0000-0000-0000-000000000001"),
        ('"%*ph|%*phN", 2, REC->mac, 3, REC->mac', "01 02|010203"),
        ('"%*pbl", 64, REC->args', "0-2,67"),
        ('"%s", __builtin_expect(!!(REC->b), 0) ? "yes" : "no"', "yes"),
        ('"%u", (((u64)(REC)->b << 1) | 1)', "401"),
        ('"no values"', "no values"),
        ('"%d %d", __print_ns_to_secs(5000000007), __print_ns_without_secs(5000000007)', "5 7"),
    ],
)
def test_a_format_means_what_c_makes_of_it(print_format: str, expected: str) -> None:
    assert written(print_format) == expected


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "REC->i",
        '"%d"',
        '"%d", REC->nothing',
        '"%d", unknown_call(REC->i)',
        '"%s", ({ int x = 1; x; })',
        '"%d", REC->comm',
        '"%pV", REC->p',
        '"%d", (((((' + "(" * 500,
        '"%d", ' + "-" * 5000 + "1",
        '"%d", 1' + "+1" * 5000,
        '"%d", 1 ? 2',
        '"%d", 09',
        '"%s", __print_flags(REC->i, "|", {REC->u, "A"})',
        '"unfinished',
    ],
)
def test_what_is_not_understood_is_told_and_shown_as_pairs(bad: str) -> None:
    printer = row_printer(form(bad), CONTEXT)
    assert isinstance(printer.problem, FormatError)
    text = printer.text(*(VALUES[name] for name in printer.columns))
    assert text.startswith("i=-5 u=4294967291 l=-7 ") and "comm=bash" in text and "data=01000200ffff" in text


@given(
    st.lists(
        st.sampled_from(
            '"%d" "%s" "%p" "%*d" "%pI4" , REC-> i comm data ( ) [ ] { } + - * / % & && | << >> < ? : ~ ! 1 0x7f -1UL '
            "(int) (u8*) sizeof __get_str(name) __print_flags( __print_symbolic( __get_dynamic_array(data)".split(" ")
        ),
        max_size=30,
    )
)
def test_any_tokens_give_text_or_a_format_error(words: list[str]) -> None:
    printer = row_printer(form('"%d %s", ' + " ".join(words)), CONTEXT)
    assert isinstance(printer.text(*(VALUES[name] for name in printer.columns)), str)


def test_rows_come_from_columns() -> None:
    printer = compile_print_format(form('"%s:%d:%pM", REC->comm, REC->i, REC->mac'), CONTEXT)
    columns = {
        "comm": np.array([b"one", b"two\0rest", b""], "S16"),
        "i": np.array([1, -2, 3], np.int32),
        "mac": np.arange(18, dtype=np.uint8).reshape(3, 6),
    }
    assert printer.rows(columns, np.array([2, 1])) == [":3:0c:0d:0e:0f:10:11", "two:-2:06:07:08:09:0a:0b"]


def test_constant_strings_are_read() -> None:
    text = '0xffffffff82345678 : "a \\"b\\"\\n"\nrubbish\n0x10 : "%d"\n'
    assert parse_printk_formats(text) == {0xFFFFFFFF82345678: 'a "b"\n', 0x10: "%d"}


# Formats of Linux that hold statements of C or functions of the kernel.
NOT_READ = {
    "dma_map_sg",
    "dma_map_sg_err",
    "dma_unmap_sg",
    "mc_event",
    "aer_event",
    "kvm_mmu_get_page",
    "kvm_mmu_prepare_zap_page",
    "kvm_mmu_sync_page",
    "kvm_mmu_unsync_page",
}


def tracefs() -> str:
    from linscope.sys.tracefs import find_tracefs

    try:
        return find_tracefs()
    except LinscopeError as error:
        pytest.skip(str(error))


@pytest.mark.kernel
def test_every_event_of_this_kernel_is_understood() -> None:
    failed = {}
    paths = list(Path(tracefs()).glob("events/*/*/format"))
    assert len(paths) > 100
    for path in paths:
        parsed = parse_format(path.read_text(), path.parts[-3])
        assert parsed is not None, path
        problem = row_printer(parsed, PrintContext()).problem
        if problem is not None:
            failed[parsed.name] = str(problem)
    assert not set(failed) - NOT_READ, failed


@pytest.mark.kernel
@pytest.mark.peer
def test_events_read_as_perf_script_prints_them(tmp_path: Path) -> None:
    import linscope

    perf = shutil.which("perf")
    if perf is None or os.geteuid():
        pytest.skip("needs root and perf: apt-get install linux-perf")
    events = ["sched:*", "raw_syscalls:*", "kmem:kmalloc", "kmem:mm_page_alloc", "irq:*", "syscalls:sys_enter_openat"]
    data = tmp_path / "perf.data"
    record = [perf, "record", "-q", "-m", "256", "-o", str(data), *(w for e in events for w in ("-e", e))]
    subprocess.run([*record, "--", "ls", "-l", "/usr"], check=True, capture_output=True)
    theirs = subprocess.run(
        [perf, "script", "-i", str(data), "-F", "event,trace"], check=True, capture_output=True, text=True
    ).stdout
    rows = linscope.open(str(data)).script(frozenset(("event", "trace")))
    ours = [str(row[0]) for row in rows.rows]
    assert [" ".join(line.split()) for line in ours] == [" ".join(line.split()) for line in theirs.splitlines()]
