"""The preprocessor, and the headers of this machine beside gcc."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from linscope.abi import c_constants
from linscope.errors import SourceError
from linscope.lang import types as t
from linscope.lang.definitions import Definitions, Macro

HEADERS = (
    "sys/socket.h", "netinet/in.h", "netinet/tcp.h", "signal.h", "time.h", "stdio.h", "pthread.h", "netdb.h",
    "linux/bpf.h", "linux/perf_event.h", "sys/stat.h", "linux/fs.h", "linux/tcp.h", "net/if.h", "poll.h",
    "dirent.h", "stdlib.h", "elf.h", "linux/in6.h", "sys/resource.h", "sys/epoll.h", "fcntl.h", "linux/futex.h",
    "linux/sched.h", "arpa/inet.h", "sys/ptrace.h", "sys/uio.h", "linux/if_ether.h", "linux/ip.h", "linux/ipv6.h",
    "linux/udp.h", "sys/mman.h",
)  # fmt: skip
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="apt-get install gcc")


def script(text: str, **options: object) -> Definitions:
    """As the front end gives C: lines of the preprocessor with their continuations, and the rest between them."""
    parts, rest, lines = [], "", text.split("\n")
    while lines:
        line = lines.pop(0)
        if line.lstrip().startswith("#"):
            while line.endswith("\\"):
                line += "\n" + lines.pop(0)
            if rest.strip():
                parts.append((rest, 0))
            rest = ""
            parts.append((line, 0))
        else:
            rest += line + "\n"
    if rest.strip():
        parts.append((rest, 0))
    return Definitions(parts, **options)  # type: ignore[arg-type]


def run_c(folder: Path, text: str) -> list[str]:
    source, program = folder / "t.c", folder / "t"
    source.write_text(text)
    done = subprocess.run(["gcc", "-w", "-o", str(program), str(source)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout.splitlines()


@needs_gcc
@pytest.mark.parametrize("header", HEADERS)
def test_types_of_a_header_are_as_large_as_gcc_s(header: str, tmp_path: Path) -> None:
    """Every struct, union and integer typedef that the header, or one that it includes, defines."""
    if not any(Path(folder, header).exists() for folder in ("/usr/include", "/usr/include/x86_64-linux-gnu")):
        pytest.skip(f"no {header} here")
    definitions = Definitions([(f"#include <{header}>", 0)])
    assert definitions._c is not None
    definitions._c.read_headers()
    sizes = {}
    for (tag, name), type in definitions._c.types.items():
        if isinstance(type, t.Struct | t.Int | t.Enum | t.Array) and type.size:
            sizes[f"{tag} {name}" if tag else name] = type.size
    assert sizes
    lines = "\n".join(f'printf("%zu {name}\\n", sizeof({name}));' for name in sizes)
    said = run_c(tmp_path, f"#include <stdio.h>\n#include <{header}>\nint main(void) {{ {lines} return 0; }}")
    assert {line.partition(" ")[2]: int(line.partition(" ")[0]) for line in said} == sizes


@needs_gcc
def test_built_in_constants_are_those_of_the_headers(tmp_path: Path) -> None:
    headers = (
        "sys/socket.h netinet/in.h netinet/tcp.h linux/if_ether.h net/if.h errno.h signal.h fcntl.h sys/stat.h "
        "sys/mman.h sched.h sys/mount.h unistd.h time.h sys/epoll.h poll.h sys/resource.h sys/prctl.h sys/ptrace.h "
        "linux/futex.h sys/wait.h dirent.h limits.h stdint.h linux/capability.h sys/inotify.h netinet/udp.h"
    )
    names = c_constants.names()
    assert len(names) == len(set(names)) > 1500
    head = "#define _GNU_SOURCE\n#include <stdio.h>\n" + "".join(f"#include <{one}>\n" for one in headers.split())
    # a name that this libc lacks is left out: the table may be newer
    body = "".join(f'#ifdef {one}\nprintf("{one} %llu\\n", (unsigned long long)({one}));\n#endif\n' for one in names)
    said = dict(line.split() for line in run_c(tmp_path, f"{head}int main(void) {{\n{body}return 0; }}"))
    wrong = {
        name: (value, c_constants.find_constant(name)) for name, value in said.items()
        if int(value) != (c_constants.find_constant(name) or 0) & (1 << 64) - 1
    }  # fmt: skip
    assert not wrong
    assert len(said) > 1200


@pytest.mark.parametrize(("text", "name", "value"), [
    ("#define A 5", "A", 5),
    ("#define A (1 << 4) | 3", "A", 19),
    ("#define A B\n#define B 0x1fUL", "A", 31),
    ("#define A (-1)", "A", -1),
    ("#define A ((unsigned char)300)", "A", 44),
    ("#define A sizeof(struct s)\nstruct s { long a; char b; };", "A", 16),
    ("#define SQ(x) ((x) * (x))\n#define A SQ(3 + 1)", "A", 16),
    ("#define CAT(a, b) a ## b\n#define A CAT(1, 2)", "A", 12),
    ("#define A \\\n  7", "A", 7),
    ("#define A 7 /* seven */", "A", 7),
    ("#define A 'x'", "A", 120),
    ("enum e { X = 3, Y };\n#define A (Y + 1)", "A", 5),
    ("#ifdef NOPE\n#define A 1\n#else\n#define A 2\n#endif", "A", 2),
    ("#define N 3\n#if N > 2 && defined(N) && !defined M\n#define A 1\n#elif N\n#define A 2\n#endif", "A", 1),
    ("#if 0\n#define A 1\n#elif 1\n#define A 2\n#elif 1\n#define A 3\n#else\n#define A 4\n#endif", "A", 2),
    ("#if 0\n#if 1\n#define A 1\n#endif\n#else\n#define A 2\n#endif", "A", 2),
    ("#define A 1\n#undef A\n#define A 2", "A", 2),
    ("#define A 18446744073709551615ULL", "A", (1 << 64) - 1),
    ("enum { A = -3, B };", "B", -2),
    ("enum e { A = 1, B = A << 3, C };", "C", 9),
    ("#include <stdbool.h>\n#define A true", "A", 1),
    ("#include <linux/limits.h>", "PATH_MAX", 4096),
])  # fmt: skip
def test_constants(text: str, name: str, value: int) -> None:
    found = script(text).find_constant(name)
    assert isinstance(found, tuple)
    assert found[0] == value


@pytest.mark.parametrize(("text", "name", "expected"), [
    ('#define A "text"', "A", '"text"'),
    ("#define A $x + 1", "A", "$x + 1"),
    ("#define A B->pid\n#define B curtask", "A", "curtask->pid"),
    ("#define A @m[A]", "A", "@m[A]"),
])  # fmt: skip
def test_macros_that_are_no_number_give_their_text(text: str, name: str, expected: str) -> None:
    found = script(text).find_constant(name)
    assert isinstance(found, Macro)
    assert found.text == expected


def test_btf_is_said_to_be_there() -> None:
    text = "#ifndef BPFTRACE_HAVE_BTF\n#include <no/such.h>\nstruct task_struct { int nothing; };\n#endif"
    definitions = script(text)
    if not definitions.has_btf:
        pytest.skip("the kernel has no BTF")
    found = definitions.find_type("struct", "task_struct")
    assert found is not None
    assert found.size > 1000


@pytest.mark.parametrize(("text", "what"), [
    ("#include <lol/no.h>", "definitions.h:2:10: fatal error: 'lol/no.h' file not found"),
    ('#define A 1\n#include "no.h"', "definitions.h:3:10: fatal error: 'no.h' file not found"),
    ("#error not like this", "#error not like this"),
    ("#endif", "#endif without #if"),
    ("#define 5 5", "macro name must be an identifier"),
    ("#frobnicate", "invalid preprocessing directive: #frobnicate"),
    ("struct s { nope_t a; };", "unknown type name 'nope_t'"),
    ("struct s { int a[n]; };", "expected a constant expression"),
    ("struct s { int a:40; };", "40 bits do not fit into the type"),
    ("struct s { int a", "expected ';', found ''"),
    ("struct s { int a; ", "expected '}' at the end of the struct"),
    ("int a;", "no definition: 'int'"),
])  # fmt: skip
def test_what_is_wrong(text: str, what: str) -> None:
    with pytest.raises(SourceError) as caught:
        script(text)
    assert caught.value.diagnostics[0].what == what


def test_places_are_those_of_the_script() -> None:
    text = "#!/usr/bin/bpftrace\n\nstruct s {\n  nope_t a;\n};\nBEGIN { }"
    start = text.index("struct")
    with pytest.raises(SourceError) as caught:
        Definitions([(text[start : text.index("BEGIN")], start)], script=text)
    wrong = caught.value.diagnostics[0]
    assert (wrong.line, wrong.column, wrong.source) == (4, 3, "  nope_t a;")


def test_include_folders_come_first(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "mine.h").write_text('#pragma once\n#include "sub/other.h"\nstruct mine { struct other o[2]; };\n')
    (tmp_path / "sub/other.h").write_text(
        "#ifndef O_H\n#define O_H\nstatic inline int f(int a) { return a; }\nstruct other { long a; };\n#endif\n"
    )
    found = script("#include <mine.h>", include_dirs=[str(tmp_path)]).find_type("struct", "mine")
    assert found is not None
    assert found.size == 16
    again = Definitions([], include_dirs=[str(tmp_path)], includes=["mine.h"])
    assert again.find_type("struct", "other") is not None
