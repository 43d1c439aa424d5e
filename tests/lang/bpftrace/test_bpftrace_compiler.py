"""Types of maps and variables, constants, macros; what is wrong is told where it stands."""

from __future__ import annotations

import pytest

from linscope.errors import SourceError
from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.bpftrace.compiler import compile
from linscope.lang.bpftrace.options import Options
from linscope.lang.bpftrace.type_names import type_text


def unit(text: str, **options: object) -> ir.Unit:
    return compile(text, options=Options(**options))  # type: ignore[arg-type]


def errors(text: str, **options: object) -> list[str]:
    with pytest.raises(SourceError) as caught:
        unit(text, **options)
    return str(caught.value).split("\n")


@pytest.mark.parametrize(
    ("script", "key", "value"),
    [
        ("@ = 1", None, "int8"),
        ("@ = 1; @ = 300", None, "int16"),
        ("@ = 18446744073709551615", None, "uint64"),
        ("@++", None, "int64"),
        ("@ = (uint64)0; @ += 5", None, "uint64"),
        ('@[1, "ab"] = "abc"; @[300, "abcdef"] = "a"', "(int16,string[7])", "string[4]"),
        ("@[comm] = count()", "string[16]", "count_t"),
        ("@ = sum(-1)", None, "sum_t"),
        ("@ = sum((uint64)pid)", None, "usum_t"),
        ("@ = hist(pid, 2)", None, "hist_t"),
        ("@ = (1, (int64)2, comm)", None, "(int8,int64,string[16])"),
        ('@ = (a=1, b="x")', None, "record { .a = int8, .b = string[2] }"),
        ("@ = (int32 *)5", None, "int32 *"),
        ("@ = true", None, "bool"),
        ("@[kstack] = 1", "kstack_t", "int8"),
    ],
)
def test_types_of_maps(script: str, key: str | None, value: str) -> None:
    (found,) = unit(f"begin {{ {script} }}").maps
    assert (found.key and type_text(found.key), type_text(found.value)) == (key, value)


def test_a_map_is_known_before_it_is_assigned() -> None:
    found = unit("begin { print(@later); } end { @later = 1; }").maps
    assert [one.name for one in found] == ["@later"]


def test_a_variable_widens_in_all_of_its_uses() -> None:
    made = unit('begin { $s = "ab"; while (pid) { $s = "abcdef"; } print($s); }')
    stores = [one for one in made.programs[0].body if isinstance(one, ir.Set)]
    assert isinstance(stores[0].variable.type, t.String) and stores[0].variable.type.width == 7


def test_old_scripts_use_variables_beyond_their_block() -> None:
    made = unit("begin { if (pid) { $x = 1 } else { $x = 2 } print($x); }")
    assert made.programs


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7), ("-7 / 2", -3), ("-7 % 2", -1), ("1 << 40", 1 << 40), ("~0", -1), ("7 & 3 | 8", 11),
        ("10 == 10", 1), ("1ms", 1000000), ("1e6", 1000000), ("0x10 ^ 0b1", 17), ("sizeof(uint16)", 2),
        ("1 ? 5 : 6", 5), ("strlen(\"abc\")", 3), ("$1 + 1", 42), ("$#", 1), ("offsetof(struct s, b)", 4),
        ("bswap((int32)0x12345678)", 0x78563412), ("FIVE * 2", 10), ("TWO", 2), ("default_str_length()", 1024),
    ],
)  # fmt: skip
def test_constants_are_folded(expression: str, value: int) -> None:
    text = (
        f"#define FIVE (2 + 3)\nstruct s {{ int a; int b; }}; enum e {{ ONE = 1, TWO }}; begin {{ @ = {expression}; }}"
    )
    (store,) = unit(text, parameters=["41"]).programs[0].body
    assert isinstance(store, ir.MapSet) and isinstance(store.value, ir.Number) and store.value.value == value


def test_macros_have_their_own_variables() -> None:
    text = "macro twice(x) { $y = x + x; $y } begin { $y = 1; $z = twice($y + 1); print(($y, $z)); }"
    names = {one.variable.name for one in unit(text).programs[0].body if isinstance(one, ir.Set)}
    assert names == {"$y", "$z"}


def test_all_that_is_wrong_is_told_at_once() -> None:
    found = errors('begin { $a = 1 + $nope; printf("%d\\n"); strle(comm); @x[1] = 1; @x = 2; }')
    told = [line for line in found if "ERROR" in line]
    assert told == [
        "stdin:1:18-23: ERROR: Undefined or undeclared variable: $nope",
        "stdin:1:25-39: ERROR: printf: Not enough arguments for format string (1 expected, 0 found)",
        "stdin:1:41-52: ERROR: Unknown function: 'strle'",
        "stdin:1:65-67: ERROR: @x used as a map without an explicit key (scalar map), previously used with an explicit "
        "key (non-scalar map)",
    ]
    assert "HINT: did you mean strlen or str?" in found


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("begin { @g = 2; if (has_key(@g, 2)) { } }", "call to has_key() expects a map with explicit keys"),
        ('begin { @g[1, "hi"] = 2; has_key(@g, (1, 2)); }', "trying to access with arguments: '(int8,int8)' when map "
         "expects arguments: '(int8,string[3])'"),
        ("begin { system(\"ls\"); }", "unsafe"),
        ("begin { arg0 }", "arg0 builtin can only be used"),
        ("begin { break; }", "can only be used inside a loop"),
        ("tracepoint:sched:sched_swich { }", "racepoint not found"),
        ("nope:x { }", "Invalid probe type"),
        ("config = { bad_config=raw } begin { }", "bad_config: not a known configuration option"),
        ("begin { @ = hist(1, 9); }", "hist: bits 9 must be 0..5"),
        ("begin { @ = lhist(1, 10, 0, 1); }", "lhist() min must be less than max"),
        ("struct s { int x[2]; } begin { ((struct s *)0).x[5] }", "the index 5 is out of bounds for array of size 2"),
        ('begin { $a = 1; $a = "x"; }', "Type mismatch for $a"),
        ("begin { cpid }", "cpid cannot be used without child command"),
        ("macro m(x) { m(x) } begin { m(1) }", "Recursive macro"),
        ("begin { printf(\"%y\", 1); }", "Unknown format string token"),
        ("begin { printf(\"%s\", 1); }", "%s specifier expects a value of type string (int8 supplied)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(script: str, what: str) -> None:
    assert any(what in line for line in errors(script)), errors(script)


@pytest.mark.parametrize(
    ("value", "type"),
    [
        ('str_concat(comm, "abc")', "string[19]"),
        ('str_concat("ab", "c")', "string[4]"),
        ("ppid(curtask)", "uint32"),
        ("leader_tid(curtask->real_parent)", "uint32"),
        ("pcomm(curtask)", "string[17]"),
        ("__builtin_ppid(0)", "uint32"),
    ],
)
def test_types_of_values(value: str, type: str) -> None:
    (found,) = unit(f"begin {{ @ = {value} }}").maps
    assert type_text(found.value) == type


@pytest.mark.parametrize(
    ("value", "base", "full"),
    [
        ("pid", "int", "uint32"),
        ("comm", "string", "string[16]"),
        ("curtask", "pointer", "struct task_struct *"),
        ("*curtask", "struct", "struct task_struct"),
        ("pton(\"::1\")", "array", "uint8[16]"),
        ("(1, true)", "tuple", "(int8,bool)"),
        ("(a=1,)", "record", "record { .a = int8 }"),
        ("1 == 2", "bool", "bool"),
        ("kstack", "kstack_t", "kstack_t"),
    ],
)  # fmt: skip
def test_what_is_known_of_types(value: str, base: str, full: str) -> None:
    """While the script is compiled, so that a branch that is not for a type is none."""
    head = "config = { unstable_typeinfo=enable } begin { if comptime "
    checks = f'(typeinfo({value}).base_ty == "{base}" && typeinfo({value}).full_ty == "{full}")'
    assert unit(f'{head} {checks} {{ @ = 1 }} else {{ fail("no") }} }}').maps
    assert errors(f"begin {{ print(typeinfo({value})) }}")[0].endswith("to enable: unstable_typeinfo=enable")


def test_the_number_of_a_type() -> None:
    program = "config = { unstable_typeinfo=warn } begin { if comptime (typeinfo(%s).btf_id %s 0) { } else { fail() } }"
    assert "typeinfo" in str(unit(program % ("struct task_struct", ">")).warnings)
    unit("struct own { int a; }; " + program % ("struct own", "=="))
    unit(program % ("uint64", "=="))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1", "string-like values must be either strings, arrays or pointers"),
        ("(int32 *)1", "string-like pointers must point to a char-like type"),
        ('pton("::1")', "string-like arrays must contain a char-like type"),
    ],
)
def test_what_is_no_string(value: str, message: str) -> None:
    assert message in errors(f"begin {{ assert_str({value}) }}")[0]


def test_what_is_like_a_string() -> None:
    values = ('"a"', "comm", "probe", "(int8 *)1", "((struct a *)1)->b")
    unit("struct a { char b[3]; }; begin { " + " ".join(f"assert_str({value});" for value in values) + " }")


def test_settings_of_old_versions_do_nothing() -> None:
    found = unit("config = { unstable_macro=enable; unstable_map_decl=enable } begin { }")
    assert [warning.what for warning in found.warnings] == [  # type: ignore[attr-defined]
        "unstable_macro is deprecated and has no effect", "unstable_map_decl is deprecated and has no effect",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "option"), [("tseries(1, 1s, 3)", "tseries"), ("dw_ustack()", "dw_ustack"), ("dw_ustack(3)", "dw_ustack")]
)
def test_what_is_unstable_can_be_forbidden(value: str, option: str) -> None:
    program = "config = { unstable_%s=%s } uprobe:libc:malloc { @ = %s }"
    assert errors(program % (option, "error", value))[0].endswith(f"unstable_{option}=enable")
    warned = [warning.what for warning in unit(program % (option, "enable", value)).warnings]  # type: ignore[attr-defined]
    assert warned == (["dw_ustack() follows frame pointers here, as ustack() does"] if option == "dw_ustack" else [])
