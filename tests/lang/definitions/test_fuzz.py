"""Whatever is written as C: definitions, or SourceError; in little time."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linscope.errors import SourceError
from linscope.lang import types as t
from linscope.lang.definitions import Definitions
from linscope.lang.definitions.c_expressions import evaluate
from linscope.lang.definitions.preprocessor import Preprocessor

WORDS = (
    "struct union enum typedef unsigned int long char short s u e a b c x 1 2 0x10 3UL 'c' { } ( ) [ ] ; , * = : + - "
    "<< ? sizeof __attribute__ ((packed)) ((aligned(8))) const void bool u32 float double _Static_assert inline static "
    '#define #undef #if #ifdef #endif #else #elif defined ## # " ... \n \\\n // /* */ A B A(x) A(1) __VA_ARGS__'
).split(" ")
texts = st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)


def use(text: str) -> None:
    parts = [(part, 0) for part in text.split("\n") if part.strip()]
    with contextlib.suppress(SourceError):
        found = Definitions(parts)
        for name in ("s", "u", "e", "A", "B", "x"):
            type = found._c.find_type("struct", name) if found._c is not None else None
            if isinstance(type, t.Struct):
                assert type.size >= 0
                assert all(field.offset >= 0 for field in type.fields)
            if found._c is not None:
                found._c.find_constant(name)


@settings(max_examples=600)
@given(texts)
def test_words_in_any_order(text: str) -> None:
    use(text)


@settings(max_examples=300)
@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    use("struct s { " + text)
    use("#" + text)
    evaluate(text)


@pytest.mark.parametrize("text", [
    "struct s {" * 2000, "struct s { int " + "(" * 5000, "struct s { int a[" + "(" * 5000,
    "struct s { int a[" + "-" * 5000, "enum e { A = " + "1 + " * 5000 + "1 };", "struct s { int a[" + "1 ? " * 3000,
    "struct s { int " + "*" * 5000 + "a; };", "#if " + "(" * 5000, "#if " + "!" * 5000 + "1",
    "struct s { int a" + "[1]" * 3000 + "; };", "typedef int a; " + "typedef a a; " * 500,
])  # fmt: skip
def test_deep_texts(text: str) -> None:
    use(text)


def test_macros_that_double_each_other() -> None:
    lines = [f"#define A{n} A{n + 1} A{n + 1}" for n in range(40)] + ["#define A40 x"]
    preprocessor = Preprocessor([], have_btf=True)
    for line in lines:
        preprocessor.line(line)
    began = time.monotonic()
    assert preprocessor.expand("A0")
    assert time.monotonic() - began < 20


def test_a_header_that_includes_itself(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "a.h").write_text('#include "b.h"\nstruct a { int x; };\n')
    (folder / "b.h").write_text('#include "a.h"\nstruct b { int y; };\n')
    found = Definitions([('#include "a.h"', 0)], include_dirs=[str(folder)])
    assert found.find_type("struct", "a") is not None
    assert found.find_type("struct", "b") is not None
