"""linscope bpf beside bpftool: what is in the kernel, instruction by instruction; and what goes wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from linscope.bpf.kernel.objects import LoadedObject, load_object
from linscope.bpf.kernel.running import RunningKernel
from linscope.bpf.objects.reader import read_object

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "tests" / "bpf" / "objects" / "programs"
LINSCOPE = [sys.executable, "-m", "linscope", "bpf"]


def bpf(*words: str) -> subprocess.CompletedProcess[str]:
    """Run linscope bpf."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run([*LINSCOPE, *words], capture_output=True, text=True, check=False, env=environment)


def rows(*words: str) -> list[dict[str, object]]:
    """Its rows."""
    done = bpf(*words, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def bpftool(*words: str) -> str:
    """What bpftool prints."""
    return subprocess.run(["bpftool", *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedObject]:
    """An object of the tests in the kernel, not attached."""
    if os.geteuid() != 0:
        pytest.skip("needs CAP_BPF: run the tests as root")
    for tool, package in (("clang", "clang"), ("bpftool", "bpftool")):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}: apt-get install {package}")
    path = tmp_path_factory.mktemp("object") / "callbacks.bpf.o"
    include = f"/usr/include/{os.uname().machine}-linux-gnu"
    words = ["clang", "-O2", "-g", "-target", "bpf", f"-I{include}", "-c", str(SOURCES / "callbacks.bpf.c")]
    subprocess.run([*words, "-o", str(path)], check=True)
    with load_object(read_object(str(path), target=RunningKernel())) as made:
        yield made


pytestmark = [pytest.mark.kernel, pytest.mark.peer]


def instructions(text: str) -> list[str]:
    """The lines that hold an instruction, without blanks."""
    return [re.sub(r"\s+", "", line) for line in text.splitlines() if re.match(r"\s*\d+: ", line)]


def test_programs_are_listed_as_bpftool_lists_them(loaded: LoadedObject) -> None:
    mine = {row["id"]: row for row in rows("list")}
    for program in loaded.programs.values():
        theirs = json.loads(bpftool("-j", "prog", "show", "id", str(program.id)))
        row = mine[program.id]
        assert (row["name"], row["type"], row["tag"]) == (theirs["name"], theirs["type"], theirs["tag"])
        assert row["instructions"] == theirs["bytes_xlated"] // 8
        assert row["jited_bytes"] == theirs["bytes_jited"]
        assert sorted(row["map_ids"]) == sorted(theirs.get("map_ids", []))  # type: ignore[arg-type, type-var]
        holder = {"pid": os.getpid(), "comm": Path("/proc/self/comm").read_text().strip()}
        assert holder in row["holders"]  # type: ignore[operator]


def test_dumps_are_bpftools(loaded: LoadedObject) -> None:
    """Instructions with the kernel's names of functions; the machine code has the size that the kernel says."""
    for program in loaded.programs.values():
        number = str(program.id)
        assert instructions(bpf("dump", number).stdout) == instructions(bpftool("prog", "dump", "xlated", "id", number))
        code = rows("dump", number, "--jited")
        size = json.loads(bpftool("-j", "prog", "show", "id", number))["bytes_jited"]
        assert sum(len(str(row["bytes"])) // 2 for row in code) == size


def test_maps_are_read_and_changed_with_their_types(loaded: LoadedObject) -> None:
    number = str(loaded.maps["numbers"].id)
    assert bpf("map", "update", number, "2", "7000000000").returncode == 0
    entries = [one["formatted"] for one in json.loads(bpftool("-j", "map", "dump", "id", number))]
    theirs = {one["key"]: one["value"] for one in entries}
    assert {row["key"]: row["value"] for row in rows("map", "dump", number)} == theirs
    assert theirs[2] == 7_000_000_000
    assert rows("map", "lookup", number, "2") == [{"key": 2, "value": 7_000_000_000}]
    done = bpf("map", "lookup", number, "99")
    assert (done.returncode, done.stderr) == (2, "linscope: the map has no entry 99\n")
    listed = {row["id"]: row for row in rows("list", "maps")}
    assert listed[int(number)]["name"] == "numbers"


def test_names_that_are_not_there(loaded: LoadedObject) -> None:
    done = bpf("dump", "no_such_program_x")
    assert done.returncode == 2 and "no program in the kernel named" in done.stderr
    done = bpf("dump", "4294967295")
    assert done.returncode == 1 and "none of that id" in done.stderr


def test_the_kernel_and_we_agree(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs CAP_BPF: run the tests as root")
    for example, code in (("counts", 0), ("unchecked", 1)):
        done = bpf("verify", str(ROOT / "examples" / f"{example}.s"), "--kernel")
        assert done.returncode == code, done.stderr
        assert "the running kernel agrees" in done.stdout
    frame = "00 11 22 33 44 55 66 77 88 99 aa bb 88 b5 01 02"
    words = ("run", str(ROOT / "examples" / "counts.s"), "--mem", frame)
    here, there = rows(*words), rows(*words, "--kernel")
    assert here[0]["result"] == there[0]["result"] == 7
