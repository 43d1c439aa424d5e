"""Structs that a script defines in C lie as gcc has them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from linscope.lang import types as t
from linscope.lang.definitions import Definitions

HEAD = """#include <stdint.h>
#include <stddef.h>
#include <stdbool.h>
#include <sys/types.h>
"""
# as gcc takes them; each struct has the name s
DEFINITIONS = {
    "plain": "struct s { char a; int b; short c; long d; char e; };",
    "words": "struct s { unsigned long long a; long long int b; unsigned c; signed char d; unsigned short int e; "
    "long unsigned int f; short unsigned g; unsigned char h; long i; unsigned long int j; };",
    "stdint": "struct s { uint8_t a; int16_t b; uint32_t c; int64_t d; size_t e; ssize_t f; bool g; pid_t h; "
    "uintptr_t i; uid_t j; };",
    "pointers": "struct s { int *a; char **b; void *c; struct other *d; int (*e)(int, char *); "
    "void (*f[3])(void); const char *const g; struct s *next; };",
    "arrays": "struct s { int a[3]; char b[7]; short c[2][3]; char d[4][5]; long e; };",
    "flexible": "struct s { int n; long rest[]; };",
    "zero": "struct s { char n; int rest[0]; };",
    "nested": "struct in { char a; long b; }; struct s { char x; struct in y; struct { char m; int n; } z; "
    "struct in w[2]; };",
    "anonymous": "struct s { char a; struct { int b; char c; }; union { long d; char e[3]; }; short f; };",
    "union": "union s { char a; int b; long c[2]; char d[17]; };",
    "floats": "struct s { char a; float b; double c; char d; long double e; char f; };",
    "bits": "struct s { unsigned a:3, b:5; int c:7; unsigned d:17; long e; unsigned char f:2, g:6; short h; };",
    "bits across": "struct s { char a; unsigned b:20; unsigned c:20; unsigned long d:40; unsigned long e:30; "
    "int f:1; };",
    "bits small": "struct s { unsigned short a:3; unsigned short b:14; unsigned char c:4; unsigned char d:5; int e; };",
    "bits behind char": "struct s { char a; int b:8; int c:16; char d; long e:9; long f:50; };",
    "bits zero": "struct s { unsigned a:3; unsigned :0; unsigned b:5; unsigned :7; unsigned c:2; char d; };",
    "bits of enum": "enum e { X, Y, Z = 7 }; struct s { enum e a:3; enum e b; bool c:1; bool d:1; char e; };",
    "packed": "struct s { char a; int b; long c; short d; } __attribute__((packed));",
    "packed in front": "struct __attribute__((packed)) s { char a; int b; short d; };",
    "packed bits": "struct s { char a; unsigned b:20; unsigned c:20; long d; } __attribute__((packed));",
    "packed inside": "struct p { char a; int b; } __attribute__((packed)); struct s { char x; struct p y; long z; };",
    "aligned": "struct s { char a; int b __attribute__((aligned(16))); char c; };",
    "aligned whole": "struct s { char a; int b; } __attribute__((aligned(32)));",
    "aligned inside": "struct p { char a; } __attribute__((aligned(16))); struct s { char x; struct p y; char z; };",
    "int128": "struct s { char a; __int128 b; char c; };",
    "enums": "enum big { A = 1L << 40 }; enum neg { N = -1 }; enum small { S }; "
    "struct s { char x; enum big a; char y; enum neg b; enum small c; };",
    "typedefs": "typedef unsigned int u_t; typedef struct { char a; u_t b; } p_t; typedef p_t q_t[3]; "
    "typedef int (*call_t)(void); struct s { char x; q_t a; call_t b; u_t c[2]; };",
    "constants": "enum { COUNT = 4, TWICE = COUNT * 2 }; struct s { int a[COUNT]; char b[TWICE + 1]; "
    "char c[sizeof(long) * 2]; char d[(1 << 3) | 1]; };",
    "macros": "#define N 5\n#define DOUBLE(x) ((x) * 2)\n#define FIELD(type, name) type name\n"
    "struct s { FIELD(int, a); char b[N]; FIELD(long, c)[DOUBLE(N)]; };",
    "qualifiers": "struct s { const volatile int a; volatile long *b; const char c[3]; int *restrict d; };",
    "several": "struct s { int a, *b, c[2], **d; char e, f; };",
    "bits in union": "struct s { union { unsigned a:3; unsigned long b:60; struct { char c; int d:5; }; }; char e; };",
}  # fmt: skip


def leaves(type: t.Struct, prefix: str = "") -> list[tuple[str, t.Field, int]]:
    """(path in C, field, offset of the struct that it is in) of all members, not those of arrays."""
    found = []
    for field in type.fields:
        path = f"{prefix}{field.name}"
        if not field.name and isinstance(field.type, t.Struct):
            found += [(p, f, at + field.offset) for p, f, at in leaves(field.type, prefix)]
        elif field.name:
            found.append((path, field, 0))
            if isinstance(field.type, t.Struct) and not field.bit_size:
                found += [(p, f, at + field.offset) for p, f, at in leaves(field.type, path + ".")]
    return found


def is_bits(type: t.Struct, path: str) -> bool:
    return any(p == path and field.bit_size for p, field, _ in leaves(type))


def ask_gcc(folder: Path, text: str, tag: str, found: list[tuple[str, t.Field, int]]) -> dict[str, str]:
    """What gcc says of the members: offset and size, of bit fields the bytes with all their bits set."""
    lines = [f'printf("sizeof %zu\\n", sizeof({tag} s));']
    for path, field, _ in found:
        if field.bit_size:
            lines.append(
                f'{{ {tag} s x; memset(&x, 0, sizeof x); x.{path} = -1; printf("{path} ");'
                ' for (size_t i = 0; i < sizeof x; i++) printf("%02x", ((unsigned char *)&x)[i]); puts(""); }'
            )
        elif isinstance(field.type, t.Array) and not field.type.count:
            lines.append(f'printf("{path} %zu 0\\n", offsetof({tag} s, {path}));')
        else:
            lines.append(f'printf("{path} %zu %zu\\n", offsetof({tag} s, {path}), sizeof((({tag} s *)0)->{path}));')
    source = folder / "layout.c"
    body = "\n".join(lines)
    source.write_text(f"{HEAD}#include <stdio.h>\n#include <string.h>\n{text}\nint main(void) {{ {body} return 0; }}\n")
    program = folder / "layout"
    subprocess.run(["gcc", "-w", "-o", str(program), str(source)], check=True, timeout=60)
    done = subprocess.run([str(program)], check=True, capture_output=True, text=True, timeout=10)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())  # type: ignore[misc]


def parts_of(text: str) -> list[tuple[str, int]]:
    """As the front end gives the C: a line of the preprocessor each, then the rest."""
    parts, rest = [], []
    for line in text.split("\n"):
        (parts if line.startswith("#") else rest).append((line, 0))
    return [*parts, *rest]


@pytest.mark.skipif(not shutil.which("gcc"), reason="apt-get install gcc")
@pytest.mark.parametrize("name", DEFINITIONS)
def test_layout_is_gcc_s(name: str, tmp_path: Path) -> None:
    text = DEFINITIONS[name]
    tag = "union" if text.startswith("union") else "struct"
    definitions = Definitions(parts_of(text))
    type = definitions.find_type(tag, "s")
    assert isinstance(type, t.Struct)
    found = leaves(type)
    said = ask_gcc(tmp_path, text, f"{tag}", found)
    mine = {"sizeof": str(type.size)}
    for path, field, base in found:
        if field.bit_size:
            bits = ((1 << field.bit_size) - 1) << 8 * (base + field.offset) + field.bit_offset
            mine[path] = bits.to_bytes(type.size, "little").hex()
        else:
            mine[path] = f"{base + field.offset} {field.type.size}"
    assert mine == said


@pytest.mark.parametrize("text", [
    "struct s { struct { int m[1] } y; }",
    "struct s { struct { int m[1] } y }",
    "struct s { int a; char b[10] };",
])  # fmt: skip
def test_a_missing_semicolon_before_the_brace_is_forgiven(text: str) -> None:
    assert Definitions([(text, 0)]).find_type("struct", "s") is not None
