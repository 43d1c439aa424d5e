"""docs/language.md: what it lists is what there is, and its scripts compile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from linscope.lang.bpftrace.aggregations import AGGREGATIONS
from linscope.lang.bpftrace.builtins import BUILTINS
from linscope.lang.bpftrace.calls import CALLS
from linscope.lang.bpftrace.compiler import compile
from linscope.lang.bpftrace.options import Options
from linscope.lang.probes import parse_attach_point
from linscope.lang.probes.kinds import ALIASES

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "language.md").read_text()


def cells(heading: str, column: int = 0) -> list[str]:
    """The code in a column of the table under a heading, without that of its first line."""
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in part.splitlines() if line.startswith("| `")]
    return [code for row in rows for code in re.findall(r"`([^`]+)`", row.split("|")[column + 1])]


def names(heading: str) -> set[str]:
    return {re.split(r"\W", code)[0] for code in cells(heading)}


def test_functions_builtins_and_aggregations() -> None:
    builtins = set(BUILTINS)
    assert names("Builtins") - {"arg0", "arg9"} == builtins
    assert names("Functions") == set(CALLS) - builtins
    assert names("Aggregations") == set(AGGREGATIONS)


def test_probes() -> None:
    assert names("Probes") == set(ALIASES)
    assert names("Probes") | set(cells("Probes", 1)) == {*ALIASES, *(one for some in ALIASES.values() for one in some)}


@pytest.mark.parametrize("probe", [code for code in cells("Probes") if "address:" not in code])
def test_probes_as_they_are_written(probe: str) -> None:
    parse_attach_point(probe.replace("+offset", "+4").replace("file:offset", "file:0x10").replace(":line", ":7"))


@pytest.mark.parametrize("script", re.findall(r"```bt\n(.*?)```", PAGE, re.DOTALL))
def test_scripts(script: str) -> None:
    assert compile(script, where="page", options=Options(child=1)).programs
