"""Functions of scripts, in the kernel: what they print was written down before they ran."""

from __future__ import annotations

import pytest
from test_scripts import run

pytestmark = pytest.mark.kernel
SIGN = "fn sign($x: int64): int8 { if ($x < 0) { return -1; } if ($x == 0) { return 0; } return 1; } "
ROOT = "fn root($n: int64): int64 { for $i : 0..100 { if ($i * $i >= $n) { return $i; } } return -1; } "
CASES = [
    ("fn add($a: int64, $b: int64): int64 { return $a + $b; } begin { print(add(1, add(2, 3))); }", "6"),
    (SIGN + "begin { print((sign(-9), sign(0), sign(9))); }", "(-1, 0, 1)"),
    (ROOT + "begin { print(root(30)); print(root(100000)); print(root(0)); }", "6\n-1\n0"),
    (ROOT + "begin { for $k : 0..4 { printf(\"%d \", root($k * 10)); } printf(\"end\\n\"); }", "0 4 5 6 end"),
    (ROOT + SIGN + "fn both($n: int64): int64 { return root($n) * sign($n - 20); } begin { print(both(16)); "
     "print(both(49)); }", "-4\n7"),
    (
        "fn f($n: int64): int64 { $i = 0; while (1) { $j = 0; while ($j < 5) { if ($i * $j > $n) { "
        "return $i * 100 + $j; } $j++; } $i++; } return 0; } begin { print(f(7)); print(f(100)); }",
        "204\n2604",
    ),
    ("fn f($n: int64): int64 { $s = 0; unroll(5) { $s++; if ($s == $n) { return 1000 + $s; } } return $s; } "
     "begin { print(f(3)); print(f(9)); }", "1003\n5"),
    ("fn f($n: int64): int64 { for ($kv : @m) { if ($kv.1 == $n) { return $kv.0; } } return -1; } "
     "begin { @m[7] = 70; @m[8] = 80; print(f(80)); print(f(90)); clear(@m); }", "8\n-1"),
    ('fn say($s: string): void { printf("%s.", $s); if ($s == "stop") { return; } printf("more\\n"); } '
     'begin { say("go"); say("stop"); printf("end\\n"); }', "go.more\nstop.end"),
    ('fn word($n: int64): string { if ($n > 1) { return "many things"; } else { return "one"; } } '
     "begin { print(word(1)); print(word(2)); @w[word(2)] = 1; }", "one\nmany things\n@w[many things]: 1"),
    ("fn f(): int64 { @calls = count(); return 5; } begin { $x = f() + f(); print($x); print(f() > 1 ? f() : 0); }",
     "10\n5\n@calls: 4"),
    ("fn f($x: int64): int64 { $y = $x * 2; $x = 0; return $y; } begin { $x = 5; $y = 1; print(f($x)); "
     "print(($x, $y)); }", "10\n(5, 1)"),
    ("fn f($x: int64): int64 { if ($x) { 5 } else { 6 } } begin { print(f(1)); print(f(0)); }", "5\n6"),
    ("fn f($x: int64): int64 { $x * 2 } fn g() { print(f(4)) } begin { g(); }", "8"),
    ('fn f(): void { exit(); print("never"); } begin { f(); print("nor this"); } end { print("end"); }', "end"),
    ('fn f(): void { for $i : 0..5 { if ($i == 2) { exit(); } print($i); } } begin { f(); print("never"); }', "0\n1"),
    ("macro twice(x) { x * 2 } fn f($a: int64): int64 { return twice($a) + 1; } macro g(x) { f(x) } "
     "begin { print(g(10)); }", "21"),
    ("fn f($a: int64): bool { return $a > 3; } begin /f(3)/ { print(3); } begin /f(4)/ { print(4); }", "4"),
    ("fn f($t: (int64, string[16])): int64 { return $t.0; } begin { print(f((5, \"abc\"))); }", "5"),
    ("fn own($t: struct task_struct *): int32 { return $t->pid; } begin { print(own(curtask) == tid); }", "true"),
    ("fn f($p: int8 *): int64 { return (int64)$p; } begin { print(f((int8 *)16)); print(f(0)); }", "16\n0"),
    ("fn f($a: uint8): uint64 { return $a; } begin { print(f(255) << 8); print(sizeof(f(1))); }", "65280\n8"),
    ("fn f($i: int64): int64 { $n = 0; while ($n < $i) { $n++; if ($n > 3) { continue; } if ($n == 3) { return $n; } } "
     "return $n; } begin { $k = 0; while (f($k) < 3) { $k++; } print($k); }", "3"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "output"), CASES, ids=[script[:60] for script, _ in CASES])
def test_function(script: str, output: str) -> None:
    assert run(script) == (output, "")


def test_a_function_sees_the_arguments_of_the_probe_that_calls_it() -> None:
    """One function for two system calls, whose arguments lie at other places."""
    script = (
        "fn name(): string { return str(args.filename); } tracepoint:syscalls:sys_enter_openat, "
        "tracepoint:syscalls:sys_enter_newstat, tracepoint:syscalls:sys_enter_access "
        '/pid == cpid/ { if (name() == "/etc/hostname") { @[probe] = count(); } }'
    )
    output, errors = run(script, "-c", "/bin/cat /etc/hostname")
    assert ("@[tracepoint:syscalls:sys_enter_openat]: 1" in output, errors) == (True, "")
