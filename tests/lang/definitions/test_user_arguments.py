"""Arguments of a program's functions by DWARF: of every version, by gcc and clang."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from linscope.binfmt.dwarf import Dwarf
from linscope.binfmt.dwarf_lines import find_line
from linscope.binfmt.elf_view import ElfView
from linscope.errors import FormatError
from linscope.lang import types as t
from linscope.lang.bpftrace.registers import OFFSETS
from linscope.lang.definitions import Definitions
from linscope.lang.definitions.user_arguments import UserProgram, describe_arguments, function_arguments

pytestmark = [
    pytest.mark.skipif(not shutil.which("gcc"), reason="apt-get install gcc"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="registers are those of x86-64"),
]
SOURCE = r"""
#include <stdint.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
enum color { RED, GREEN = 5, BLUE, DARK = -1 };
struct inner { int a; char name[8]; };
struct outer {
  struct inner in; struct outer *next; unsigned f1:3, f2:5; int64_t wide:40;
  union { long l; double d; }; enum color c; uint16_t grid[2][3]; int (*call)(int); char rest[];
};
typedef struct outer outer_t;
typedef struct { int x, y; } point_t;
struct large { long a[5]; };
struct two { long a, b; };
struct mixed { double d; long l; };
#define OUT __attribute__((noinline, noipa))
OUT int uprobeFunction1(int *n, char c) { return *n + c; }
OUT long many(uint8_t a, int16_t b, outer_t *o, const char *s, double d, enum color c, bool flag, float f,
              long long seventh) {
  return a + b + o->f1 + s[0] + d + c + flag + f + seventh;
}
OUT long structs(point_t p, struct large l, struct two t, struct mixed m, int last) {
  return p.x + l.a[0] + t.a + m.l + last;
}
OUT struct large gives(int a) { struct large l = { { a } }; return l; }
OUT void none(void) { puts("none"); }
static OUT unsigned long hidden(const volatile unsigned long *p, void (*f)(int), size_t n) { return *p + n + (f != 0); }
int main(int argc, char **argv) {
  int n = 3; outer_t o = {0}; point_t p = {1, 2}; struct large l = {{1}}; struct two t = {1, 2};
  struct mixed m = {1, 2}; unsigned long u = 1;
  printf("%d\n", uprobeFunction1(&n, 'x'));
  printf("%ld\n", many(1, 2, &o, "s", 1.5, GREEN, true, 2.5f, 7) + structs(p, l, t, m, 5) + gives(argc).a[0]);
  none();
  return hidden(&u, 0, 3) > 100;
}
"""
BUILDS = [f"gcc -gdwarf-{version} {level}" for version in (2, 3, 4, 5) for level in ("-O0", "-O2")]
BUILDS += ["gcc -g -O1 -gz", "gcc -g -O1 -static", "gcc -g3 -O2 -flto", "gcc -g -O1 -fdebug-types-section"]
BUILDS += [f"clang -gdwarf-{version} {level}" for version in (4, 5) for level in ("-O0", "-O2")]


@pytest.fixture(scope="module", params=BUILDS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = str(request.param).split()
    if not shutil.which(words[0]):
        pytest.skip(f"apt-get install {words[0]}")
    folder = tmp_path_factory.mktemp("dwarf")
    (folder / "a.c").write_text(SOURCE)
    done = subprocess.run([*words, "-w", "-o", str(folder / "a"), str(folder / "a.c")], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{request.param}: {done.stderr[:200]}")
    return folder / "a"


def arguments(program: Path, name: str) -> dict[str, t.Field]:
    found = function_arguments(str(program), name)
    assert found is not None
    return {field.name: field for field in found.fields}


def test_plain_arguments(program: Path) -> None:
    found = arguments(program, "uprobeFunction1")
    assert [(name, field.offset) for name, field in found.items()] == [("n", OFFSETS["di"]), ("c", OFFSETS["si"])]
    number = found["n"].type
    assert isinstance(number, t.Pointer)
    assert number.space == t.USER
    assert number.target == t.INT32
    assert found["c"].type == t.INT8
    assert arguments(program, "none") == {}
    assert function_arguments(str(program), "no_such_function") is None


def test_more_arguments_than_registers(program: Path) -> None:
    found = arguments(program, "many")
    places = {name: field.offset for name, field in found.items() if not isinstance(field.type, t.Void)}
    order = ["di", "si", "dx", "cx", "r8", "r9"]
    assert places == dict(zip(["a", "b", "o", "s", "c", "flag"], (OFFSETS[name] for name in order), strict=True))
    assert (found["d"].type.size, found["f"].type.size) == (8, 4)  # fractions: there, without a value
    assert found["a"].type == t.UINT8
    assert found["b"].type == t.INT16
    assert found["flag"].type == t.BOOL
    color = found["c"].type
    assert isinstance(color, t.Enum)
    assert color.values == {0: "RED", 5: "GREEN", 6: "BLUE", -1: "DARK"}


def test_structs_behind_pointers(program: Path) -> None:
    pointer = arguments(program, "many")["o"].type
    assert isinstance(pointer, t.Pointer)
    outer = pointer.target
    assert isinstance(outer, t.Struct)
    assert outer.name == "outer"
    script = Definitions([(SOURCE[SOURCE.index("enum color") : SOURCE.index("typedef struct outer")], 0)])
    mine = script.find_type("struct", "outer")
    assert isinstance(mine, t.Struct)
    assert outer.size == mine.size
    assert [(f.name, f.offset, f.bit_offset, f.bit_size, f.type.size) for f in outer.fields] == [
        (f.name, f.offset, f.bit_offset, f.bit_size, f.type.size) for f in mine.fields
    ]
    following = outer.find("next")
    assert following is not None
    assert isinstance(following.type, t.Pointer)
    assert following.type.target == outer
    name = outer.find("in")
    assert name is not None
    assert isinstance(name.type, t.Struct)
    assert name.type.fields[1].type == t.String(8)
    assert outer.find("l") is not None


def test_structs_as_arguments(program: Path) -> None:
    """8 bytes: one register; 40: on the stack; two longs: two registers; half a fraction: one."""
    found = arguments(program, "structs")
    assert {name: field.offset for name, field in found.items()} == {
        "p": OFFSETS["di"], "m": OFFSETS["cx"], "last": OFFSETS["r8"],
    }  # fmt: skip
    assert arguments(program, "gives")["a"].offset == OFFSETS["si"]  # di: where the result goes


def test_types_by_name(program: Path) -> None:
    known = UserProgram(str(program))
    assert known.returns("uprobeFunction1") == t.INT32
    outer = known.find_type("struct", "outer")
    assert outer is not None
    assert outer.size == known.find_type(None, "outer_t").size  # type: ignore[union-attr]
    assert isinstance(known.find_type("enum", "color"), t.Enum)
    assert known.find_type("struct", "no_such_struct") is None
    assert known.find_type("union", "outer") is None


def test_descriptions(program: Path) -> None:
    assert describe_arguments(str(program), "uprobeFunction1") == ["int * n", "char c"]
    assert describe_arguments(str(program), "uprobeFunction1", result=True) == ["int retval"]
    assert describe_arguments(str(program), "none", result=True) == []


def test_lines(program: Path) -> None:
    """Beside addr2line: the line of what is found is the line that was asked for."""
    lines = SOURCE.splitlines()
    for word in ("return *n + c", 'puts("none")', "return a + b"):
        number = next(place for place, line in enumerate(lines, 1) if word in line)
        with ElfView(str(program)) as elf:
            found = find_line(elf, "a.c", number)
        assert found, word
        done = subprocess.run(["addr2line", "-e", str(program), *map(hex, found)], capture_output=True, text=True)
        for line in done.stdout.splitlines():
            assert line.split(" ")[0].endswith((f"a.c:{number}", f"<artificial>:{number}")), word


def test_without_debug_information(program: Path, tmp_path: Path) -> None:
    stripped = tmp_path / "stripped"
    subprocess.run(["strip", "-g", "-o", str(stripped), str(program)], check=True)
    assert function_arguments(str(stripped), "uprobeFunction1") is None
    assert describe_arguments(str(stripped), "uprobeFunction1") == []
    assert function_arguments(str(tmp_path / "nothing"), "f") is None


def test_damaged_debug_information(program: Path, tmp_path: Path) -> None:
    """Bytes changed anywhere in it: an answer, or that it is not known; never another error."""
    whole = bytearray(program.read_bytes())
    with ElfView(str(program)) as elf:
        sections = [one for one in elf.sections if one.name.startswith(".debug_")]
    random_ = random.Random(7)
    path = tmp_path / "damaged"
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(random_.randint(1, 20)):
            section = random_.choice(sections)
            if section.size:
                data[section.offset + random_.randrange(section.size)] = random_.randrange(256)
        path.write_bytes(data)
        found = function_arguments(str(path), "many")
        try:
            for field in found.fields if found is not None else ():
                target = field.type.target if isinstance(field.type, t.Pointer) else field.type
                assert target.size >= 0
                if isinstance(target, t.Struct):
                    assert all(one.offset >= 0 for one in target.fields)
            with ElfView(str(path)) as elf:
                find_line(elf, "a.c", 20)
                list(Dwarf(elf).units())
        except FormatError:
            pass
