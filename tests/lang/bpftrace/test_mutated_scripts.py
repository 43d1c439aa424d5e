"""Damaged scripts, a small run of fuzz/bpftrace_scripts.py; and those in which too much is nested."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from linscope.errors import SourceError
from linscope.lang.bpftrace.compiler import compile
from linscope.lang.codegen import generate

ROOT = Path(__file__).resolve().parent.parent.parent.parent
SEEDS = (
    'begin { $x = (1, "a"); @m[$x, comm] = count(); print(@m); printf("%d %s\\n", $x.0, $x.1); }',
    "struct s { int a; char b[8]; } begin { $p = (struct s *)0; print($p->a); for $i : 0..5 { @[$i] = hist($i); } }",
    'macro m($v, e) { $v += e; $v } begin { $a = 1; if m($a, 2) > 2 { print("big"); } else { exit(); } }',
    "interval:s:1 /@n < 5/ { @n++; @t[tid] = nsecs; delete(@t[1]); } end { clear(@t); print(len(@t)); }",
    "let @d = lruhash(10); tracepoint:sched:sched_switch { @d[args.next_pid] = (args.prev_comm, kstack(3)); }",
    "config = { max_strlen = 64 } kprobe:vfs_read { @[str(arg1), ustack] = sum((uint8)arg2 << 3); }",
    'begin { let $u : uint8 = 5; while ($u < 9) { $u++; if (strncmp("a", comm, 1)) { break } } @r = (a=$u, b=-1); }',
    "fn f($a: int64, $s: string): int64 { for $i : 0..9 { if ($i == $a) { return $i; } } return f2($s); } "
    'fn f2($s: string): int64 { return strlen($s); } begin { print(f(3, comm)); @f[f(1, "x")] = f2(comm); }',
    "begin { for ($kv : @q) { print($kv.1 ? $kv.0 : 0) } @q[(uint8[4])1] = max(-5); len(@q); unroll(3) { @++ } }",
)


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    """The file fuzz/bpftrace_scripts.py."""
    spec = importlib.util.spec_from_file_location("bpftrace_scripts", ROOT / "fuzz" / "bpftrace_scripts.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(made)
    sys.path[:] = before
    return made


def test_mutated_scripts(fuzz: ModuleType) -> None:
    mutator = fuzz.Mutator(SEEDS, 7)
    compiled = 0
    for _ in range(500):
        text = mutator.script()
        wrong, unit, _ = fuzz.check(text)
        assert not wrong, f"{wrong}\n{text}"
        compiled += unit is not None
    assert 50 < compiled < 450


@pytest.mark.parametrize("text", [
    "(" * 5000 + "1" + ")" * 5000, "{" * 3000 + "1" + "}" * 3000, "-" * 5000 + "1", "(int8)" * 3000 + "1",
    "1 + " * 5000 + "1", "pid && " * 3000 + "1", "$x" + "[0]" * 3000, "$x" + ".0" * 3000, "1 ? 1 : " * 3000 + "1",
    "if 1 { 1 } else " * 3000 + "{ 1 }", "typeof(" * 3000 + "1" + ")" * 3000, "for $i : 0..2 {" * 1000 + "}" * 1000,
    "1 || 2 && (1 | 2 ^ 3 & (1 == 2 < 3 << (1 + 2 * (" * 90 + "1" + "))))" * 90, "(1," * 2000 + ")" * 2000,
    "while (pid) {" * 6 + "}" * 6, "(int8" + "*" * 3000 + ")1", "let $x : " + "(" * 3000 + "int8" + ",)" * 3000,
    "$" + "9" * 5000, "1" * 5000, "1e" + "9" * 5000, "$x." + "9" * 5000, "@x[" * 2000 + "1" + "]" * 2000,
])  # fmt: skip
def test_too_much(text: str) -> None:
    script = f"begin {{ {text}; }}"
    with pytest.raises(SourceError) as caught:
        generate(compile(script))
    assert all(one.what and one.line == 1 and 1 <= one.column <= len(script) for one in caught.value.diagnostics)


@pytest.mark.parametrize("script", [
    'begin { print(cgroupid("a\\0b")); }', "uprobe:a\0b:f { }", "uprobe:\udc80:f { }", "kprobe:\udc80* { }",
    "iter:\udc80 { }", "fentry:a\0:x { }", "rawtracepoint:\udc80 { }", 'begin { print(pton("1.2.3.4\\0")); }',
    'begin { print("\ud800"); }', "config = { max_strlen = 99999999999 } begin { }",
    "config = { max_map_keys = 0 } begin { }",
    "begin { print(\udc80) }", "let @x = hash(0); begin { @x[1] = 1; }",
    "let @x = hash(99999999999); begin { @x[1] = 1; }",
    "begin { print((uint8[4000000000])1); }", 'begin { let $x : string[4000000000] = "a"; print($x); }',
    'begin { printf("%99999999999d", 1); }', 'begin { printf("%*d", 1); }', 'begin { fail("%lld %p %s", 5, 3, comm); }',
    "struct a { void x[2]; int y[99999999]; } begin { print(*(struct a *)0); }", "begin { @ = (count_t[])5; }",
    'begin { @ = tseries(1, 1s, 5, "\\377"); }', "begin { kstack(1025); }", 'begin { $x = "abc"[ctx]; }',
    "begin { print(socket_cookie(curtask)); }", "macro m(a) { a } begin { m(1, 2); }",
    "begin { $a = (1, 2); print($a[-1]); }", "begin { $a = (1, 2); print($a." + "9" * 5000 + "); }", '"test" { }',
    "begin { let $x : void = 5; }", "begin { let $x : typeof((void)5) = 3; }", "begin { let $x : count_t; }",
])  # fmt: skip
def test_what_was_a_crash(script: str) -> None:
    with pytest.raises(SourceError) as caught:
        generate(compile(script))
    assert all(one.what and 1 <= one.column <= len(script) + 1 for one in caught.value.diagnostics)


def test_as_much_as_people_write() -> None:
    terms = " || ".join(f"pid == {number}" for number in range(200))
    branches = " else ".join(f"if (pid == {number}) {{ print({number}); }}" for number in range(60))
    nested = "if (pid) { " * 40 + "print(1);" + " }" * 40
    built = generate(compile(f"begin {{ if ({terms}) {{ {branches} }} {nested} print({'(' * 60}1{')' * 60}); }}"))
    assert len(built.programs) == 1
