"""The syntax of bpftrace: its own test programs, the tools of Debian's package, trees, wrong programs, random text."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from linscope.errors import SourceError
from linscope.lang.bpftrace import syntax as sx
from linscope.lang.bpftrace.parser import parse

CONFORMANCE = Path(__file__).resolve().parents[4] / "shared" / "conformance" / "bpftrace"
TOOLS = sorted(Path("/usr/sbin").glob("*.bt"))


def conformance_programs() -> Iterator[tuple[str, str]]:
    """(name, program) of all one-line programs."""
    for path in sorted(CONFORMANCE.iterdir()):
        if path.is_dir():
            continue
        name = ""
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("NAME "):
                name = f"{path.name}: {line[5:]}"
            elif line.startswith("PROG "):
                yield name, line[5:]


@pytest.mark.skipif(not CONFORMANCE.exists(), reason="needs ../shared/conformance/bpftrace")
def test_all_conformance_programs_parse() -> None:
    programs = list(conformance_programs())
    assert len(programs) > 400
    for name, text in programs:
        made = parse(text, where=name)
        assert made.probes, name


@pytest.mark.peer
def test_the_tools_of_the_package_parse() -> None:
    if len(TOOLS) < 30:
        pytest.skip("needs bpftrace: apt-get install bpftrace")
    for path in TOOLS:
        made = parse(path.read_text(), where=path.name)
        assert made.probes, path.name


def expression(text: str) -> sx.Expression:
    """The tree of one expression."""
    made = parse(f"begin {{ $x = {text}; }}").probes[0].body.statements[0]
    assert isinstance(made, sx.Assign)
    return made.value


def shown(node: object) -> str:
    """A tree as nested brackets."""
    match node:
        case sx.Integer(value=value):
            return str(value)
        case sx.String(value=value):
            return repr(value.decode())
        case sx.Identifier(name=name):
            return name
        case sx.Variable(name=name):
            return f"${name}"
        case sx.MapAccess(name=name, key=key):
            return f"@{name}" + (f"[{shown(key)}]" if key is not None else "")
        case sx.Parameter(number=number):
            return f"${number}"
        case sx.Binary(sign=sign, left=left, right=right):
            return f"({shown(left)} {sign} {shown(right)})"
        case sx.Unary(sign=sign, operand=operand):
            return f"({sign}{shown(operand)})"
        case sx.Postfix(sign=sign, operand=operand):
            return f"({shown(operand)}{sign})"
        case sx.Conditional(condition=condition, yes=yes, no=no):
            return f"({shown(condition)} ? {shown(yes) if yes is not None else ''} : {shown(no)})"
        case sx.Member(of=of, name=name, arrow=arrow):
            return f"{shown(of)}{'->' if arrow else '.'}{name}"
        case sx.Index(of=of, index=index):
            return f"{shown(of)}[{shown(index)}]"
        case sx.Call(name=name, arguments=arguments):
            return f"{name}({', '.join(map(shown, arguments))})"
        case sx.Cast(type=type_, operand=operand):
            return f"<{shown(type_)}>{shown(operand)}"
        case sx.Tuple(elements=elements, names=names):
            labels = [f"{name}=" for name in names] or [""] * len(elements)
            return "(" + ", ".join(a + shown(b) for a, b in zip(labels, elements, strict=True)) + ",)"
        case sx.NamedType(name=name, length=length):
            return name + (f"[{length}]" if length is not None else "")
        case sx.TaggedType(tag=tag, name=name):
            return f"{tag} {name}"
        case sx.PointerType(target=target):
            return f"{shown(target)}*"
        case sx.ArrayType(element=element, length=length):
            return f"{shown(element)}[{length}]"
        case sx.TypeOf(of=of):
            return f"typeof({shown(of)})"
    raise AssertionError(node)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("1 + 2 * 3 - 4", "((1 + (2 * 3)) - 4)"),
        ("1 || 2 && 3 | 4 ^ 5 & 6 == 7 < 8 << 9", "(1 || (2 && (3 | (4 ^ (5 & (6 == (7 < (8 << 9))))))))"),
        ("-$a * !@b", "((-$a) * (!@b))"),
        ("$a ? 1 : $b ? 2 : 3", "($a ? 1 : ($b ? 2 : 3))"),
        ("$a ?: 5", "($a ?  : 5)"),
        ("(uint8)-100", "<uint8>(-100)"),
        ("((struct sock *)arg0)->sk.port", "<struct sock*>arg0->sk.port"),
        ("(sock_t *)arg0", "<sock_t*>arg0"),
        ("($a) * 2", "($a * 2)"),
        ("(int32*[4]*)$p", "<int32*[4]*>$p"),
        ("(string[16])$p", "<string[16]>$p"),
        ("(typeof($a))5", "<typeof($a)>5"),
        ("(1, 'x')", ""),
        ('(1, "a",)', "(1, 'a',)"),
        ("()", "(,)"),
        ("(1,)", "(1,)"),
        ('(a=1, b="x")', "(a=1, b='x',)"),
        ("@x[1, comm]", "@x[(1, comm,)]"),
        ("$t.0.1", "$t.0.1"),
        ("args.filename", "args.filename"),
        ("args->fd[0]", "args->fd[0]"),
        ("sizeof(struct task_struct)", "sizeof(struct task_struct)"),
        ("offsetof(struct foo, bar)", "offsetof(struct foo, bar)"),
        ("str($1 + 1)", "str(($1 + 1))"),
        ("$#", "$-1"),
        ("1e6 + 1_000 + 0x1F + 010", "(((1000000 + 1000) + 31) + 8)"),
        ("10ms", "10000000"),
        (r'"a\tb\x41\101"', "'a\\tbAA'"),
        ("$x++ + --$y", "(($x++) + (--$y))"),
        ("&$a", "(&$a)"),
    ],
)
def test_expressions(text: str, tree: str) -> None:
    if not tree:
        with pytest.raises(SourceError, match="unexpected"):
            expression(text)
        return
    assert shown(expression(text)) == tree


def test_the_top_of_a_program() -> None:
    made = parse(
        """#!/usr/bin/env bpftrace
#include <linux/path.h>
#define N 10
config = { max_strlen = 128; missing_probes = "warn"; stack_mode = perf }
struct foo { int a; struct { int b; }; };
let @counts = lruhash(100);
macro add($v, @m, e) { $v += e; @m = 1; $v }
fn twice($a : int64) : int64 { return $a * 2; }
kprobe:vfs_*,
kretprobe:"vfs read" /pid == 1 && comm != "a/b"/ { @[comm] = count() }
uprobe:/bin/bash:readline / arg0 / 2 == 1 / { exit(); }
profile:hz:99 { unroll(3) { @++; } while ($x < 3) { $x++; continue; } }
BEGIN { for ($kv : @counts) { print($kv.0); } for $i : 1..N { break; } if $a { 1 } else if (2) { } else { } }
END { clear(@); _ = 5; let $y : uint8 = 1; let $z; return; }
"""
    )
    assert [one.text.split()[0] for one in made.definitions] == ["#include", "#define", "struct"]
    assert [(one.name, one.value) for one in made.settings] == [
        ("max_strlen", 128), ("missing_probes", "warn"), ("stack_mode", "perf"),
    ]  # fmt: skip
    assert (made.maps[0].name, made.maps[0].kind, made.maps[0].entries) == ("counts", "lruhash", 100)
    assert made.macros[0].parameters == ["$v", "@m", "e"]
    assert made.macros[0].body.value is not None
    assert [[one.text for one in probe.points] for probe in made.probes] == [
        ["kprobe:vfs_*", 'kretprobe:"vfs read"'], ["uprobe:/bin/bash:readline"], ["profile:hz:99"], ["BEGIN"], ["END"],
    ]  # fmt: skip
    assert shown(made.probes[0].predicate) == "((pid == 1) && (comm != 'a/b'))"
    assert shown(made.probes[1].predicate) == "((arg0 / 2) == 1)"
    assert [type(one).__name__ for one in made.probes[3].body.statements] == [
        "ForMap", "ForRange", "ExpressionStatement",
    ]  # fmt: skip
    assert [type(one).__name__ for one in made.probes[4].body.statements] == [
        "ExpressionStatement", "Assign", "Let", "Let", "Jump",
    ]  # fmt: skip


def test_all_that_is_wrong_is_told_with_its_place() -> None:
    text = 'begin {\n  $x = ;\n}\nend {\n  print("a)\n}\ninterval:1s { foo(1 }\nkprobe:f { 1 + }\n'
    with pytest.raises(SourceError) as caught:
        parse(text, where="x.bt")
    assert [(one.line, one.column) for one in caught.value.diagnostics][:3] == [(2, 8), (5, 9), (7, 21)]
    assert "x.bt:2:8-9: ERROR: expected a value, found ';'\n  $x = ;\n       ~" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("begin { $x = 1 $y = 2 }", "expected ';'"),
        ("begin { 5ns5 }", "cannot end in"),
        ("begin { 99999999999999999999 }", "does not fit"),
        ("begin { 5 = 3; }", "nothing can be assigned"),
        ("begin { for ($a : $b) { } }", "over a map or a range"),
        ("begin { /* }", "comment that does not end"),
        ("begin { let @x = 1; }", "expected a variable"),
        ("begin { " + "(" * 500 + "1" + ")" * 500 + " }", "nested more than"),
        ("begin {", "the program ends"),
        ("struct foo { int a;", "does not end"),
        (r'begin { "\q" }', "no escape"),
    ],
)
def test_wrong_programs(text: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        parse(text)


def test_mutated_programs_end_in_a_tree_or_a_diagnostic() -> None:
    chance = random.Random(6)
    seeds = [text for _, text in conformance_programs()] if CONFORMANCE.exists() else ["begin { print(1); }"]
    letters = list("{}()[]@$.,;:/*+-=<>!&|^~?\"'#\\ \n\t019ax") + ["..", "->", "struct ", "if ", "let ", "for ("]
    for _ in range(4000):
        text = chance.choice(seeds)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(text) + 1)
            text = text[:at] + chance.choice(letters) + text[at + chance.randrange(3) :]
        try:
            parse(text)
        except SourceError as error:
            one = error.diagnostics[0]
            assert 1 <= one.line <= text.count("\n") + 1 and one.column >= 1
