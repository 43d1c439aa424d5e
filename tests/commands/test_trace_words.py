"""The command line of `linscope trace`, which is read without argparse."""

from __future__ import annotations

import pytest

from linscope.commands.trace import scan


def test_options_values_and_words() -> None:
    words = ["-ve", "begin { }", "-o=out", "--usdt-file-activation", "-fjson", "-I", "a", "-I", "b", "one", "--x=2"]
    found = scan(words)
    assert (found.program, found.verbose, found.output, found.form) == ("begin { }", True, "out", "json")
    assert (found.include_dir, found.words, found.wrong) == (["a", "b"], ["one", "--x=2"], "")


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["-Z"], "'-Z': no such option"),
        (["-e"], "-e needs a value"),
        (["-d", "codegen", "-e", "begin { }"], "-d codegen: no such stage; there are ast, ir, asm, verifier"),
    ],
)
def test_what_is_wrong(words: list[str], wrong: str) -> None:
    assert scan(words).wrong == wrong
