"""Functions of the script: what is typed, what is refused and where, what calls become."""

from __future__ import annotations

from itertools import pairwise

import pytest

from linscope.errors import SourceError
from linscope.lang import ir
from linscope.lang.bpftrace.compiler import compile
from linscope.lang.codegen import generate
from linscope.lang.ir_text import format_unit


def refusals(text: str) -> list[tuple[int, str]]:
    """(column, what) of all that is wrong in a script of one line."""
    with pytest.raises(SourceError) as caught:
        generate(compile(text))
    return [(one.column or 0, one.what) for one in caught.value.diagnostics]


F = "fn f($a: int64): int64 { return $a; } "


@pytest.mark.parametrize(
    ("script", "column", "what"),
    [
        ("fn f($a: int64): int64 { return f($a - 1); } begin { f(1); }", 33, "fn f calls itself: f > f"),
        ("fn f($a: int64): int64 { return f($a - 1); } begin { }", 33, "fn f calls itself: f > f"),
        (
            "fn f($a: int64): int64 { return g($a); } fn g($a: int64): int64 { return f($a); } begin { f(1); }",
            74, "fn f calls itself: f > g > f",
        ),
        (F + "begin { f(); }", 47, "f() takes 1 argument (0 provided)"),
        (F + "begin { f(1, 2); }", 47, "f() takes 1 argument (2 provided)"),
        (F + 'begin { f("x"); }', 49, "f() takes a value of type 'int64' as $a ('string[2]' provided)"),
        (F + "begin { f(print(1)); }", 49, "a call without a value cannot be an argument"),
        (F + "begin { $x = f; }", 52, "Unknown identifier: 'f'"),
        (F + F + "begin { }", 39, "Redefinition of function: f"),
        ("macro f(x) { x } " + F + "begin { }", 18, "f is a macro and a function"),
        ("fn f($a: int8, $a: int8): void { } begin { }", 1, "fn f: two parameters are called $a"),
        ("fn f($a: int8): void { } begin { f(200); }", 36, "f() takes a value of type 'int8' as $a ('200' provided)"),
        ("fn f($a: int32): void { } begin { f(nsecs); }", 37,
         "f() takes a value of type 'int32' as $a ('uint64' provided)"),
        ("fn f($p: int32 *): void { } begin { f(comm); }", 39,
         "f() takes a value of type 'int32 *' as $p ('string[16]' provided)"),
        ("fn f(): int8 { return 200; } begin { f(); }", 23, "Function f is of type int8, cannot return 200"),
        ("fn f(): void { return 1; } begin { f(); }", 23, "Function f is of type void, cannot return int8"),
        ("fn f() { return 1; } begin { f(); }", 17, "Function f is of type void, cannot return int8"),
        ("fn f(): int8 { return; } begin { f(); }", 16, "Function f is of type int8, cannot return void"),
        ('fn f(): string { return comm; } fn g(): int64 { return f(); } begin { g(); }', 56,
         "Function g is of type int64, cannot return string[16]"),
        ("fn f(): int8 { if (pid) { return 1; } } begin { f(); }", 1, "Not all code paths returned a value"),
        ("fn f(): int8 { while (1) { return 1; } } begin { }", 1, "Not all code paths returned a value"),
        ("fn f(): int64 { return $x; } begin { $x = 1; f(); }", 24, "Undefined or undeclared variable: $x"),
        ("fn f(): void { $y = 1; } begin { f(); print($y); }", 45, "Undefined or undeclared variable: $y"),
        ("fn f(): void { if (pid) { $y = 1; } print($y); } begin { f(); }", 43,
         "Undefined or undeclared variable: $y"),
        ("fn f(): void { break; } begin { for $i : 0..3 { f(); } }", 16,
         "'break' statement can only be used inside a loop"),
        ("fn f($a: nope): void { } begin { }", 10, 'Cannot resolve unknown type "nope"'),
        ("fn f($a: int8): void { let $a = 1; } begin { f(1); }", 24,
         "Variable $a was already declared. Variable shadowing is not allowed."),
        ("fn f(): int64 { return args.filename; } begin { f(); }", 24, "The args builtin can only be used with "
         "'tracepoint', 'fentry', 'fexit', 'rawtracepoint' and 'uprobe' probes"),
        ("fn f(): void { } begin { $x = f(); }", 31, "Value of type 'void' cannot be assigned"),
        ("fn f($a): void { } begin { f(1); }", 8, "expected ':', found ')'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_where_it_is(script: str, column: int, what: str) -> None:
    assert refusals(script) == [(column, what)]


def test_all_calls_that_are_wrong_are_told_at_once() -> None:
    script = F + 'begin { f(); f("a"); ff(1); print(f(1)); }'
    assert [column for column, _ in refusals(script)] == [47, 54, 60]


def test_a_function_that_only_some_probes_could_call_is_not_looked_at() -> None:
    compile("fn f(): int64 { return args.nope + arg7; } begin { }")


def test_the_name_of_a_builtin_is_the_function_s_with_a_warning() -> None:
    unit = compile("fn strlen($s: string): int64 { return 7; } begin { print(strlen(comm)); }")
    assert "not the builtin" in str(unit.warnings[0])
    assert "emit 0({ $s: string[16] = helper get_current_comm(here, 16); 7 })" in format_unit(unit)


def test_one_return_needs_no_variable() -> None:
    unit = compile("fn half($a: int64): int64 { return $a / 2; } begin { @ = half(9); }")
    assert format_unit(unit).split("\n")[-2] == "  @ = { $a: int64 = 9; ($a / 2) }"


def test_a_string_is_as_long_as_what_is_returned() -> None:
    unit = compile('fn f($a: int64): string { if ($a) { return "ab"; } return "abcdef"; } begin { @ = f(1); }')
    assert "@: string[7]" in format_unit(unit)


def test_tracepoints_whose_fields_a_function_uses_have_programs_of_their_own() -> None:
    unit = compile(
        "fn who(): int64 { return args.next_pid; } tracepoint:sched:sched_switch, tracepoint:sched:sched_wakeup { "
        "@ = count(); } tracepoint:sched:sched_switch { @w = who(); }"
    )
    assert [len(program.probes) for program in unit.programs] == [2, 1]


def test_calls_do_not_grow_without_end() -> None:
    names = "abcdefghijkl"
    functions = "".join(
        f"fn {one}($x: int64): int64 {{ return {after}($x) + {after}($x); }} " for one, after in pairwise(names)
    )
    script = functions + "fn l($x: int64): int64 { return $x; } begin { print(a(1)); }"
    with pytest.raises(SourceError, match="more than 2000 times"):
        compile(script)


def test_return_leaves_all_loops_and_unrolled_ones() -> None:
    unit = compile("fn f(): int64 { unroll(2) { if (pid) { return 1; } } return 2; } begin { print(f()); }")
    (program,) = unit.programs
    emit = program.body[0]
    assert isinstance(emit, ir.Emit) and isinstance(emit.values[0], ir.Do)
    generate(unit)
